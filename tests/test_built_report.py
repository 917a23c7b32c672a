"""A whole report, built once: what it holds, and how its readers meet it in a real browser."""

import base64
import io
import json
import re
from pathlib import Path

import axe_core_python
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import set_size, write_plan

from helpers import report as builder
from helpers import runs, stats
from helpers.inputs import ROOT

pytestmark = pytest.mark.slow


def committed() -> dict:
    """What only make published may write."""
    files = [ROOT / "README.md", *(p for part in ("data/results", "figures", "docs") for p in (ROOT / part).glob("*"))]
    return {path: path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def committed_before():
    return committed()


@pytest.fixture(scope="module")
def built(tmp_path_factory, made_folder, committed_before):
    """Folders of two reports on made digits: the quick plan, and some of it twice again, with nothing to train."""
    plan = yaml.safe_load((ROOT / "notebooks" / "plans" / "quick.yaml").read_text())
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        for turn in ("first", "second"):
            folder = tmp_path_factory.mktemp(turn)
            patch.setenv(runs.STORE_VARIABLE, str((folders or [folder])[0] / "runs"))
            plan["parameters"] |= {"source": str(made_folder), "jobs": 1}  # workers take longer to start
            if turn == "second":
                plan["notebooks"] = [entry for entry in plan["notebooks"] if "M1 to M4" in str(entry)] * 2
            builder.build_report(write_plan(folder / "quick.yaml", **plan), folder / "report")
            folders.append(folder)
    return folders


@pytest.fixture
def page(built):
    return BeautifulSoup((built[0] / "report" / "report.html").read_text(), "html.parser")


def test_two_reports_have_identical_tables_and_figures(built):
    first, second = (
        {path.relative_to(folder): path.read_bytes() for part in ("tables", "figures")
         for path in (folder / "report" / part).glob("*.*")}
        for folder in built
    )  # fmt: skip
    assert {path.suffix for path in second} == {".csv", ".png", ".svg"}
    assert second.items() <= first.items()


def ends(tables, name):
    """Of every run of a table the mean test accuracy of its last five epochs, reckoned without helpers.effects."""
    table = tables(name).sort_values("epoch")
    keys = ["model", "round", "sharing", "auxiliary"] + [k for k in ("head", "network", "recipe") if k in table]
    return table.groupby(["model", "round"]).tail(5).groupby(keys, dropna=False).test_accuracy.mean().reset_index()


def of_model(rows, name):
    return rows[rows.model == name].set_index("round").test_accuracy


def reckoned(tables) -> dict:
    """Every registered number again, from the tables of runs."""
    m6, decides = ends(tables, "m6_parts"), tables("decides")
    whole = of_model(m6, "M6")
    last = decides.sort_values("epoch").groupby("run").tail(5).groupby(
        ["network", "round", "relu", "dropout"]).test_accuracy.mean().unstack("network")  # fmt: skip
    level, gain = last.mean(axis=1), (last.M3 + last.M4 - last.M1 - last.M2) / 2

    def moved(values, choice):
        halves = values.groupby(["round", choice]).mean().unstack(choice)
        return halves[True] - halves[False]

    first = pd.concat([tables("ablation_convnet"), tables("m5")]).sort_values("epoch").groupby(["model", "round"])
    first = first.tail(5).groupby(["round", "model"]).test_accuracy.mean().unstack()
    theirs = {"M1": 0.7351, "M2": 0.8004, "M3": 0.7766, "M4": 0.7998, "M5": 0.8429}  # Table I

    def of_heads(name):
        rows = tables(name).sort_values("epoch").groupby("run").tail(5)
        return rows.groupby(["reader", "recipe", "auxiliary", "head", "round"]).test_accuracy.mean()

    heads, apart, long = of_heads("heads"), of_heads("heads_apart"), of_heads("heads_long")
    answers = heads.xs(1.0, level="auxiliary").groupby(["round", "head"]).mean().unstack()
    common = heads.xs(("common", 1.0, "fixed comparison"), level=["recipe", "auxiliary", "head"])
    without = heads.xs(0.0, level="auxiliary").unstack("round")
    best = {name: part.loc[part.mean(axis=1).idxmax()] for name, part in without.groupby(level="reader")}
    fixed = heads.xs((1.0, "fixed comparison"), level=["auxiliary", "head"]).groupby(["reader", "round"]).mean()
    asked = tables("questions").sort_values("epoch").groupby("run").tail(5)
    asked = asked.groupby(["question", "head", "auxiliary", "round"]).test_accuracy.mean()
    gain_of = asked.xs(("fixed", 1.0), level=["head", "auxiliary"]) - asked.xs(
        ("fixed", 0.0), level=["head", "auxiliary"]
    )
    second = {
        head: ends(tables, f"ablation_mlp{head}-less-than").set_index(["round", "sharing", "auxiliary"]).test_accuracy
        for head in ("", "-softmax")
    }
    worth = {head: values.unstack().diff(axis=1)[1.0].groupby("round").mean() for head, values in second.items()}
    slow = long.groupby(["round", "head"]).mean().unstack()
    return {
        "table-1": (first - pd.Series(theirs)).mean(axis=1),
        "sharing-first": (first.M2 + first.M4 - first.M1 - first.M3) / 2,
        "auxiliary-first": (first.M3 + first.M4 - first.M1 - first.M2) / 2,
        "interaction-first": first.M4 - first.M3 - first.M2 + first.M1,
        "fixed-linear": answers["fixed comparison"] - answers["linear"],
        "relu-linear": answers["ReLU"] - answers["linear"],
        "hidden-linear": answers["hidden layer"] - answers["linear"],
        "ramp-fixed": answers["expected digit"] - answers["fixed comparison"],
        "normalized-linear": answers["normalized"] - answers["linear"],
        "undertrained": slow["fixed comparison"] - slow["linear"],
        "digits-alone": apart.xs("digits alone", level="head").groupby("round").mean() - common.groupby("round").mean(),
        "best-without": fixed.groupby("round").mean() - pd.DataFrame(best).mean(axis=1),
        "told-by-label": gain_of["less than or equal"] - gain_of["sum"],
        "modulo": asked["sum modulo 3", "softmax", 1.0],
        "softmax-second": worth["-softmax"] - worth[""],
        "sharing-m6": whole - of_model(m6, "no sharing"),
        "auxiliary-m6": whole - of_model(m6, "no auxiliary loss"),
        "layers-m6": whole - of_model(m6, "M4's layers"),
        "accuracy-m6": of_model(ends(tables, "m6"), "M6"),
        "no-law": gain.xs((False, False), level=("relu", "dropout")),
    } | {
        f"{choice}-{name}": moved(values, choice)
        for choice in ("relu", "dropout") for name, values in (("level", level), ("auxiliary", gain))
    }  # fmt: skip


def test_every_registered_number_follows_from_the_tables_of_runs(built):
    folder = built[0] / "report" / "tables"
    again = reckoned(lambda name: pd.read_csv(folder / f"{name}.csv"))
    registered = pd.concat(map(pd.read_csv, folder.glob("registered_*.csv")))
    assert set(registered.id) == set(again) <= {one["id"] for one in stats.hypotheses()["hypotheses"]}
    for name, values in registered.groupby("id"):
        assert values.set_index("round").value.to_dict() == pytest.approx(again[name].to_dict(), abs=1e-9), name


def test_the_answer_in_short_follows_from_the_tables_of_runs(built):
    folder = built[0] / "report" / "tables"
    both, heads, why = pd.read_csv(folder / "answer.csv").sentence
    first = ends(lambda name: pd.read_csv(folder / f"{name}.csv"), "ablation_convnet")
    one, two, three, four = (of_model(first, f"M{i}").mean() for i in (1, 2, 3, 4))
    of_heads = pd.read_csv(folder / "heads.csv").query("recipe == 'own'").sort_values("epoch")
    of_heads = of_heads.groupby(["run", "head", "auxiliary"]).tail(5).groupby(["head", "auxiliary"])
    of_heads = of_heads.test_accuracy.mean().unstack()  # a column for each weight of the loss
    worth = 100 * (of_heads[of_heads.columns.max()] - of_heads[0.0])
    probes = pd.read_csv(folder / "heads_probes.csv").query("probe == 'linear'")
    probes = probes[probes.model.str.contains(", linear, ")].groupby("transformation").accuracy.mean()
    solutions = pd.read_csv(folder / "census.csv").solution.nunique()
    said = [
        (both, f"Weight sharing is worth {100 * (two + four - one - three) / 2:+.1f} points"),
        (both, f"The auxiliary loss is worth {100 * (three + four - one - two) / 2:+.1f} points"),
        (both, f"of {solutions} public solutions"),
        (heads, f"{worth['linear']:+.1f} points under a *linear head*"),
        (heads, f"sets negative logits to zero, it is worth {worth['ReLU']:+.1f} points"),
        (heads, f"all “yes” pairs, it is worth {worth['fixed comparison']:+.1f} points"),
        (why, f"it gains {100 * abs(probes['largest only'] - probes['logits']):.1f} points"),
    ]
    for sentence, part in said:
        assert part.replace("-", "−") in sentence
    page = BeautifulSoup((built[0] / "report" / "report.html").read_text(), "html.parser").get_text()
    assert f"A linear probe reaches {100 * probes['logits']:.1f} % on the logits" in " ".join(page.split())


def test_the_demo_and_the_dissector_open_with_one_pair_and_its_sum_is_told(page):
    demo, dissector = (json.loads(page.select_one(part).string) for part in (".demo-data", ".dis-data"))
    number = demo["numbers"][demo["first"]]
    assert number == dissector["shown"][0]
    one, (first, second) = dissector["networks"][0], demo["digits"][demo["first"]]
    logits = np.frombuffer(base64.b64decode(one["test"]), "<f2").reshape(-1, 20)[number].astype(float)
    terms = logits * one["head"][:20]
    recognized = terms[first] + terms[10 + second]
    told = r"The two recognized digits. logits add (\S+) to the sum. The eighteen others add (\S+), a constant (\S+)\. "
    (numbers,) = re.findall(told, " ".join(page.get_text().split()))
    numbers = [float(number.replace("−", "-")) for number in numbers]
    assert numbers == pytest.approx([recognized, terms.sum() - recognized, one["head"][20]], abs=0.07)


def downloaded(page, name, **options):
    address = page.select_one(f'a[download="{name}.csv"]')["href"]
    return pd.read_csv(io.BytesIO(base64.b64decode(address.partition(",")[2])), **options)


def test_the_figure_of_the_probes_shows_networks_with_a_linear_head(built, page):
    table = pd.read_csv(built[0] / "report" / "tables" / "heads_probes.csv")
    table = table[table.model.str.contains(", linear, ")]
    means = table.groupby(["round", "transformation", "probe"]).accuracy.mean().unstack([1, 2])
    drawn = downloaded(page, "heads_probes", header=[0, 1], index_col=0)
    assert len(means.columns) == 30
    pd.testing.assert_frame_equal(drawn[means.columns], means, check_names=False)


def test_the_census_says_what_fails_and_what_is_given_probabilities(built, page):
    table = pd.read_csv(built[0] / "report" / "tables" / "census.csv").sort_values("epoch")
    final = table.groupby(["run", "solution", "head", "recipe", "sharing", "auxiliary", "round"]).tail(5)
    own = final[(final["head"] == "own") & (final.recipe == "own") & (final.auxiliary == 0)]
    untaught = own.groupby(["solution", "sharing", "round"]).test_accuracy.mean()
    lowest = untaught.groupby(["solution", "sharing"]).median().groupby("solution").min()
    text = " ".join(page.get_text().split())
    failed = sorted(lowest[lowest < 0.6].index)
    assert failed
    assert f"In {len(failed)} solutions a network without the auxiliary loss hardly learns" in text
    assert f"below 60 % in most rounds ({', '.join(failed)})" in text
    shared = final[final.sharing & (final.recipe == "own") & (final.auxiliary > 0)]
    reached = shared.groupby(["solution", "head"]).test_accuracy.mean().unstack()
    lead = 100 * (reached["fixed"] - reached["own"])
    of_all, of_others = (f"{x.mean():+.1f}".replace("-", "−") for x in (lead, lead.drop("diegocantonr")))
    said = f"by {of_all} points on average (without diegocantonr, whose sub-network ends in a softmax, so that this "
    assert said + f"head is given probabilities instead of logits, by {of_others} points)" in text


def test_a_second_run_of_a_notebook_has_a_folder_and_ids_of_its_own(built):
    again = built[1] / "report" / "tables" / "03_ablation-2" / "tables"
    assert {path.name for path in again.glob("*.csv")} == {
        "ablation_convnet.csv", "effects_convnet.csv", "registered_03_ablation_convnet.csv"
    }  # fmt: skip
    for path in again.glob("*.csv"):
        assert path.read_bytes() == (built[1] / "report" / "tables" / path.name).read_bytes()
    page = BeautifulSoup((built[1] / "report" / "report.html").read_text(), "html.parser")
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))


def test_the_dictionary_explains_every_column_of_every_table(built):
    known = set(pd.read_csv(ROOT / "data" / "dictionary.csv").column)
    for path in (built[0] / "report" / "tables").glob("*.csv"):
        assert set(pd.read_csv(path, nrows=1).columns) <= known, path.name


def test_a_report_writes_into_its_own_folder_and_changes_no_committed_file(built, committed_before):
    for folder in built:
        assert {path.name for path in (folder / "report").iterdir()} == {
            "notebooks",
            "tables",
            "figures",
            "report.html",
        }
    assert committed() == committed_before


def test_the_page_stands_alone(page):
    """A reader may follow links, such as those of the references; nothing else leads out of the file."""
    elements = page.find_all(True)
    addresses = [tag[name] for tag in elements for name in ("src", "href", "srcset", "data", "poster") if tag.get(name)]
    followed = [link["href"] for link in page.select("main a[href^='https://']")]
    assert followed
    assert all(address.startswith(("data:", "#")) or address in followed for address in addresses)
    for download in page.select("a[download]"):
        assert base64.b64decode(download["href"].removeprefix("data:text/csv;base64,")).count(b"\n") > 1
    assert "@import" not in str(page.style)
    assert "url(" not in str(page.style)


def test_the_page_is_navigable_and_described(page):
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.select("a[href^='#']")} <= set(ids)
    assert len(page.select("nav > details > ol > li")) <= 15
    captions = page.select("figure.picture > figcaption, figure.table > figcaption")
    assert all(caption.b.get_text().startswith(("Figure ", "Table ")) for caption in captions)
    images = page.select("figure.picture img")
    assert len(images) >= 10
    assert all(len(image["alt"]) > 20 and image.find_parent("figure").figcaption.get_text() for image in images)
    assert len(page.find_all("h1")) == 1
    assert all(not details.has_attr("open") for details in page.find_all("details"))


def test_the_page_says_what_made_it(page):
    foot = page.select_one(".foot").get_text()
    for part in ("Plan: quick", "(2,000 + 2,000 digits)", "torch", "Python"):
        assert part in foot
    assert page.select_one(".byline").get_text().startswith("The digit-comparison authors. Commit ")
    text = page.get_text()
    for count in ("66,934", "33,504", "66,344"):
        assert count in text
    origins = [line.get_text() for line in page.select(".foot li")]
    assert len(origins) == len(page.select("section"))
    assert all("(2,000 + 2,000 digits); plan: quick; seed " in line for line in origins)
    assert "Traceback" not in text


@pytest.fixture(scope="module")
def report(built):
    return f"file://{built[0]}/report/report.html"


def show(browser, report, width, theme):
    set_size(browser, width)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    browser.get(report)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_report_fits_and_is_silent(browser, report, width, theme):
    show(browser, report, width, theme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut = """return [...document.querySelectorAll("figure.table .cards, figure.table .cards td")].filter(
        e => e.getBoundingClientRect().right > innerWidth).map(e => e.textContent.trim().slice(0, 80))"""
    assert width > 400 or browser.execute_script(cut) == []
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert browser.execute_script("return [...document.images].every(i => i.alt && i.naturalWidth > 0)")


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1440, "light")])
def test_the_report_is_accessible(browser, report, width, theme):
    show(browser, report, width, theme)
    browser.execute_script(Path(axe_core_python.__file__).with_name("axe.min.js").read_text())
    browser.set_script_timeout(180)
    violations = "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(r => done(r.violations))"
    found = browser.execute_async_script(violations)
    serious = [(v["id"], v["nodes"][0]["html"][:150]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_the_contents_follow_the_scroll_and_tables_sort(browser, report):
    set_size(browser, 1440)
    browser.get(report)
    links = browser.find_elements("css selector", "nav > details > ol > li > a")
    target = links[len(links) // 2]
    target.click()
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 10).until(lambda _: target.get_attribute("aria-current"))
    assert len(browser.find_elements("css selector", "[aria-current]")) == 1
    button = next(b for b in browser.find_elements("css selector", "th button") if b.text == "parameters")
    browser.execute_script("arguments[0].scrollIntoView()", button)
    cells = """const column = arguments[0].closest("th").cellIndex;
        return [...arguments[0].closest("table").tBodies[0].rows].map(row => row.cells[column].textContent)"""
    for order in (1, -1):
        browser.execute_script("arguments[0].click()", button)
        values = [int(text.replace(",", "")) for text in browser.execute_script(cells, button)]
        assert values == sorted(values, reverse=order < 0)


def test_one_switch_shows_the_code_and_the_notes_on_it(browser, report):
    browser.get(report)
    shown = """return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).length"""
    assert browser.execute_script(shown, "details.code, .text.note") == 0
    browser.find_element("css selector", "nav label input").click()
    assert browser.execute_script(shown, "details.code") > 50
    assert browser.execute_script(shown, ".text.note") > 10


def test_the_report_prints(browser, report, tmp_path):
    browser.get(report)
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert len(pdf) > 100_000
