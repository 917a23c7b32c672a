import base64
import io
import os
import re
import signal
import subprocess
import sys
import time

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from conftest import shipped, write_plan
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers import article as rendering
from helpers import pages, report, sources
from helpers.inputs import ROOT, InputError

PLANS = ROOT / "notebooks" / "plans"


def notebook(name, *arguments, folder=ROOT / "notebooks", **environment):
    """Run one notebook as its user does, from inside notebooks/ or another folder."""
    path = ROOT / "notebooks" / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(path), os.devnull, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize("plan", shipped("notebooks/plans", "*.yaml"), ids=lambda path: path.stem)
def test_the_plans_declare_only_what_the_notebooks_know(plan):
    _, runs = report.read_plan(plan)
    assert runs
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            {"notebooks": [{"notebook": "03_ablation", "parameters": {"epoch": 3}}]},
            "plan: parameters of 03_ablation: 'epoch' was given, allowed is one of architecture",
        ),
        ({"notebooks": ["01_data"], "parameters": {"rouds": 3}}, "plan: parameters: 'rouds' was given, allowed is"),
        ({"notebooks": ["07_more"]}, "notebook: '07_more' was given, allowed is one of .*01_data"),
        ({"notebook": ["01_data"]}, "plan: 'notebook' was given, allowed is one of title, description, param"),
        ({"notebooks": [{"name": "01_data"}]}, "plan: notebooks: 'name' was given, allowed is one of notebook, param"),
        ({"notebooks": []}, "plan: notebooks: .* was given, allowed is a list of notebooks"),
    ],
)
def test_a_misspelt_plan_is_refused_before_anything_runs(tmp_path, plan, sentence):
    with pytest.raises(InputError, match=sentence):
        report.build_report(write_plan(tmp_path / "plan.yaml", **plan), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_plan_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file .*no.yaml; allowed is one of .*quick, .*path of a YAML"):
        report.read_plan(tmp_path / "no.yaml")


def test_two_runs_of_a_notebook_have_names_of_their_own(tmp_path):
    entries = ["01_data", "01_data", {"notebook": "03_ablation", "parameters": {"question": "less than", "images": 3}}]
    _, runs = report.read_plan(write_plan(tmp_path / "plan.yaml", notebooks=entries))
    assert [run.name for run in runs] == ["01_data", "01_data-2", "03_ablation-less-than-3-images"]


def test_the_order_of_the_article_is_not_that_of_the_work(tmp_path, made_folder, monkeypatch):
    turns = []

    def execute(runs, *_):
        turns.append([run.name for run in runs])
        return [(run, new_notebook(cells=[new_markdown_cell(f"# {run.name}")])) for run in reversed(runs)]

    monkeypatch.setattr(report, "_execute", execute)
    monkeypatch.setattr(report.published, "state", str)
    entries = [
        "a1_networks",
        {"notebook": "04_m5", "waits_for": ["02_learning_rate"], "title": "The larger one"},
        "02_learning_rate",
        {"notebook": "00_summary", "waits_for": ["04_m5", "a1_networks"]},
        {"notebook": "01_data", "appendix": True},
    ]
    plan = write_plan(tmp_path / "plan.yaml", notebooks=entries, parameters={"source": str(made_folder)}, title="Why?")
    page = BeautifulSoup(report.build_report(plan, tmp_path / "report").read_text(), "html.parser")
    assert turns == [["02_learning_rate", "01_data", "a1_networks"], ["04_m5"], ["00_summary"]]
    chapters = ["00_summary", "02_learning_rate", "04_m5", "01_data", "a1_networks"]
    assert [section["id"] for section in page.select("section")] == chapters
    assert [heading.get_text() for heading in page.find_all(["h1", "h2"])] == [
        "Why?",  # over the first chapter, whose own title is not said again
        "02_learning_rate",
        "The larger one",
        "Appendix",
        "01_data",
        "a1_networks",
    ]
    links = [link["href"] for link in page.select("nav > details > ol > li > a")]
    assert links == [f"#{name}" for name in chapters[:3]]
    assert [link["href"] for link in page.select("nav details details a")] == ["#01_data", "#a1_networks"]


@pytest.fixture
def article(tmp_path, monkeypatch, setting):
    """Make an article of chapters: (name, Markdown, what its one cell shows on a page)."""
    shown = []
    monkeypatch.setattr(pages, "display", shown.append)
    monkeypatch.setattr(report.published, "state", str)

    def make(*chapters):
        sections = []
        for name, text, show in chapters:
            shown.clear()
            show(pages.begin(setting, "made", str(tmp_path), "2 rounds", chapter=name))
            outputs = [new_output("display_data", {"text/html": part.data}) for part in shown]
            cells = [new_markdown_cell(text), new_code_cell("# Is 1 < 2?\nx", outputs=outputs), new_code_cell("y")]
            sections.append(rendering.section(name, "", new_notebook(cells=cells), name.startswith("a")))
        return rendering.page({}, "made", "made digits", "abc", sections)

    return make


DATA = pd.DataFrame({"epoch": [1, 2], "gain": [0.5, 0.75]})


def both(page):
    page.figure(plt.figure(figsize=(2, 1)), "curve", "A `curve` of {n}, see [Table](#counts).", "A curve", DATA, n=3)
    page.table(DATA.set_index("epoch").map("{:.0%}".format), "counts", "Counts.")


def test_on_a_phone_each_row_of_a_table_says_its_columns(article):
    page = BeautifulSoup(article(("b", "# B", both)), "html.parser")
    cells = [(cell["data-label"], cell.get_text()) for cell in page.select("table.cards tbody td")]
    assert cells == [("gain", "50%"), ("gain", "75%")]


def test_a_notebook_that_is_run_twice_says_its_text_once(article):
    text = "# One\n\nThe same.\n\n## Below\n\n- a list\n\n{}"
    chapters = [(name, text.format(name), lambda page: page.say("Found.")) for name in ("b", "b-mlp", "c")]
    page = BeautifulSoup(article(*chapters), "html.parser")
    for name, count in (("b", 1), ("b-mlp", 0), ("c", 1)):
        told = page.find(id=name).get_text()
        assert (told.count("The same."), told.count("a list")) == (count, count)
        assert "Below" in told
        assert name in told
        assert "Found." in told


def test_figures_and_tables_are_numbered_and_links_say_the_numbers(article):
    text = (
        "# {0}\n\n[Figure](#curve), [Table](#counts), [`why`](#c), [notebook](a.ipynb), [Figure](#left_out), [x](#d)."
    )
    chapters = [(name, text.format(name), both) for name in "bca"]  # of which a is in the appendix
    chapters.insert(2, ("c2", "## Below\n\nSee [Figure](#curve).", lambda page: None))
    page = BeautifulSoup(article(*chapters), "html.parser")
    numbers = [bold.get_text() for bold in page.select("figcaption > b:first-child")]
    assert numbers == ["Figure 1.", "Table 1.", "Figure 2.", "Table 2.", "Figure A1.", "Table A1."]
    assert page.select("figcaption")[2].get_text().startswith("Figure 2. A curve of 3, see Table 2. ")
    for name, number in zip("bca", ("1", "2", "A1"), strict=True):
        said = page.find(id=name).select_one(".text p")
        assert said.get_text() == f"Figure {number}, Table {number}, why, notebook, Figure, x."
        assert [link["href"] for link in said.find_all("a")] == [f"#{name}-curve", f"#{name}-counts", "#c", "#a"]
    elsewhere = page.find(id="c2")
    assert elsewhere.p.decode_contents() == 'See <a href="#b-curve">Figure 1</a>.'
    assert elsewhere.h3.get_text() == "Below"
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.select("a[href^='#']")} <= set(ids)


def test_what_figures_and_tables_show_can_be_taken_along(article):
    page = BeautifulSoup(article(("b", "# B", both)), "html.parser")
    links = page.select("figcaption a[download]")
    assert [link["download"] for link in links] == ["curve.csv", "counts.csv"]
    read = [pd.read_csv(io.BytesIO(base64.b64decode(link["href"].partition(",")[2]))) for link in links]
    pd.testing.assert_frame_equal(read[0], DATA)
    assert read[1].to_dict("list") == {"epoch": [1, 2], "gain": ["50%", "75%"]}


def test_code_says_what_it_does_and_the_page_ends_with_what_chapters_were_computed_from(article):
    page = BeautifulSoup(article(("b", "# B", both)), "html.parser")
    assert [summary.get_text() for summary in page.select("details.code > summary")] == ["Is 1 < 2?", "code"]
    assert page.select_one(".foot li").get_text() == (
        "B: made digits (2,000 + 2,000 digits); plan: made; seed 0; 2 rounds."
    )
    assert not page.select(".origin")


def test_a_demonstration_comes_through_unharmed(article):
    inside = """ if (1 < 2 && 3 > 2) { x = "</p><h2 id='y'>&amp;</h2>" + `<figure id="z">`; } """
    styled = '<style>#demo > b { color: red; }</style><a href="#said">b</a><b id="said"></b>'
    demo = f'<div id="demo">{styled}<script>{inside}</script></div>'
    assert demo in article(("a", "# A", lambda page: pages.display(pages.HTML(demo))))


def test_registered_values_are_kept_by_hypothesis_and_round(tmp_path, setting, monkeypatch):
    monkeypatch.setattr(pages, "display", str)
    rounds = pd.Series([0.5, 0.25], index=[0, 1])
    pages.begin(setting, "made", str(tmp_path), "2 rounds", chapter="heads").registered({"H1": rounds, "H2": -rounds})
    table = pd.read_csv(tmp_path / "tables" / "registered_heads.csv")
    assert list(table.columns[:3]) == ["id", "round", "value"]
    assert table.id.tolist() == ["H1", "H1", "H2", "H2"]
    assert table["round"].tolist() == [0, 1, 0, 1]
    assert table.value.tolist() == [0.5, 0.25, -0.5, -0.25]


def test_an_unwritable_folder_is_refused(tmp_path, made_folder):
    (tmp_path / "report").write_text("a file where the folder should be")
    plan = write_plan(tmp_path / "plan.yaml", notebooks=["01_data"], parameters={"source": str(made_folder)})
    with pytest.raises(InputError, match="report: .* allowed is a folder that can be written to"):
        report.build_report(plan, tmp_path / "report")


@pytest.mark.slow
def test_a_failed_notebook_keeps_the_last_good_report(tmp_path, made_folder, capsys):
    target = tmp_path / "report"
    target.mkdir()
    last_good = f"{report.MARK} the last good one"
    (target / "report.html").write_text(last_good)
    plan = write_plan(
        tmp_path / "plan.yaml",
        notebooks=[{"notebook": "03_ablation", "parameters": {"epochs": -1}}],
        parameters={"source": str(made_folder)},
    )
    assert report.main([str(plan), str(target)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("The report was not built. 03_ablation, cell 3: epochs: -1 was given, allowed is a whole")
    assert [path.name for path in target.iterdir()] == ["report.html"]
    assert (target / "report.html").read_text() == last_good


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("03_ablation", ("-p", "epoch", "3"), "parameters: 'epoch' was given, allowed is one of arch.*epochs"),
        ("03_ablation", ("-p", "architecture", "mine.yaml"), "there is no file {folder}/mine.yaml; allowed is one of"),
        ("02_learning_rate", ("-p", "rates", "[0.01]"), "rates: '\\[0.01\\]' was given, allowed is a list; .* -y"),
        ("01_data", ("-p", "output", "a_file"), "output: '{folder}/a_file' was given, allowed is a folder that can be"),
    ],
)
def test_bad_parameters_by_hand_give_one_sentence_and_a_failure(name, arguments, sentence, made_folder, tmp_path):
    """Relative paths are from the folder that the command is run in."""
    (tmp_path / "a_file").touch()
    options = {"folder": tmp_path, sources.FOLDER_VARIABLE: str(made_folder)}
    result = notebook(name, *arguments, **options)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("InputError: ")
    assert re.search(sentence.replace("{folder}", str(tmp_path)), last), last


def processes_with(word: str) -> list[int]:
    """The processes whose environment holds a word."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/environ", "rb") as file:
                found += [int(number)] * (word.encode() in file.read())
        except OSError:  # it has ended, or is another user's
            pass
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_report_leaves_no_kernel(tmp_path, made_folder):
    plan = write_plan(tmp_path / "plan.yaml", parameters={"source": str(made_folder)}, notebooks=["01_data"] * 40)
    mark = f"MARK_{os.getpid()}_{time.time_ns()}"
    command = [sys.executable, "-m", "helpers.report", str(plan), str(tmp_path / "report")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {mark: ""}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert any(line.startswith("[2/40]") for line in process.stdout)  # kernels are under way
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 60
    while processes_with(mark):
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_a_kernel_that_dies_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "NOTEBOOKS", tmp_path)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(
        new_notebook(cells=[new_code_cell("import os; os._exit(3)")], metadata=kernel), tmp_path / "dies.ipynb"
    )
    with pytest.raises(
        InputError, match=r"^dies: its kernel died, perhaps for want of memory; all finished runs are kept"
    ):
        report._run_notebook(report.NotebookRun("dies", name="dies"), {}, tmp_path)


def test_a_sentence_says_where_a_run_does_not_bear_it_out(tmp_path, setting, monkeypatch):
    shown = []
    monkeypatch.setattr(pages, "display", shown.append)
    page = pages.begin(setting, "made", str(tmp_path), "2 rounds")
    shown.clear()
    for holds in (True, False, None):
        page.say("1 rounds of\n    {it}.", holds)
    page.say("")
    marks = ("", f" {pages.NOT_HERE}", f" {pages.LEFT_OPEN}")
    assert [part.data for part in shown] == [f"1 round of\n{{it}}.{mark}" for mark in marks]
