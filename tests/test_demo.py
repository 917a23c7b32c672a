"""The demo in the article: what its JavaScript computes is what torch computes, and it serves who draws or picks."""

import json
import re
from dataclasses import replace

import pytest
import torch
from bs4 import BeautifulSoup
from conftest import bare_page, set_size

from helpers.architectures import read_models
from helpers.data import draw_round
from helpers.demo import MISSED, OFFERED, demo, mistakes
from helpers.inputs import InputError
from helpers.models import Architecture, build
from helpers.training import predict

MEAN, DEVIATION = 40.0, 70.0  # of the made digits, about
OTHER = Architecture(  # what M5 and M6 leave out
    ("relu", {"conv2d": {"channels": 6, "kernel": 3}}, {"max_pool": {"kernel": 3, "stride": 2}}, "global_average_pool",
     {"linear": 12}, "batch_norm", "relu", {"dropout": 0.2}, {"linear": 10}),
    head=("softmax", {"linear": 2}),
    tta_shift=0.4,
)  # fmt: skip


@pytest.fixture(scope="module")
def pairs(digits):
    test = draw_round(digits, 0, 0, 100, standardize=False, test_pairs=200)[1]
    return replace(test, images=(test.images - MEAN) / DEVIATION)


@pytest.fixture(scope="module")
def networks(pairs):
    """Untrained, with statistics and factors of batch normalisation that change something, some of them negative."""
    described = {name: read_models(name.lower())[0].architecture for name in ("M5", "M6")} | {"other": OTHER}
    built = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, architecture in described.items():
            built[name] = build(architecture).train()
            for module in built[name].modules():
                if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                    torch.nn.init.normal_(module.weight, 0.7, 0.7)
                    torch.nn.init.normal_(module.bias)
            with torch.no_grad():
                for _ in range(5):
                    built[name](pairs.images)
                spread = built[name].eval().read(pairs.images)[1].flatten(0, 1).std(dim=0)
                for parameter in built[name].branches[0][-1].parameters():  # surer answers have fewer near-ties
                    parameter *= (3 / spread).view(-1, *[1] * (parameter.dim() - 1))
    return built


@pytest.fixture(scope="module")
def fragment(networks, pairs):
    first, *_ = predict(networks["M5"], pairs.images)
    named = predict(networks["M5"], pairs.images)[1].argmax(dim=2)
    labels = torch.where(torch.arange(len(pairs)) < 150, first.argmax(dim=1), 1 - first.argmax(dim=1))
    return demo(networks, replace(pairs, digits=named, labels=labels), MEAN, DEVIATION)


@pytest.fixture(scope="module")
def page(fragment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    (folder / "empty.html").write_text("<!DOCTYPE html><title>empty</title>")
    return bare_page(folder, fragment)


@pytest.fixture
def opened(browser, page):
    set_size(browser, 1440)
    browser.get(page)
    return browser


def shown(browser, selector):
    return [element.text for element in browser.find_elements("css selector", f".demo {selector}")]


def test_the_page_computes_what_torch_computes(opened, networks, pairs):
    some = pairs[:100]
    pictures = (some.images * DEVIATION + MEAN).flatten(2).tolist()
    script = "return arguments[0].map(document.querySelector('.demo').answer)"
    said = opened.execute_script(script, pictures)
    for position, (name, network) in enumerate(networks.items()):
        comparison, digits = (logits.softmax(dim=-1) for logits in predict(network, some.images))
        here = [of_pair[position] for of_pair in said]
        assert {entry["name"] for entry in here} == {name}
        probabilities = torch.tensor([entry["digits"] for entry in here])
        answers = torch.tensor([entry["answer"] for entry in here])
        assert (probabilities - digits).abs().max() < 0.01
        assert (answers - comparison[:, 1]).abs().max() < 0.01
        top = digits.topk(2, dim=2).values
        clear = top[..., 0] - top[..., 1] > 0.01
        assert clear.float().mean() > 0.8
        assert (probabilities.argmax(dim=2) == digits.argmax(dim=2))[clear].all()
        computed = (digits[:, 0].unsqueeze(2) * digits[:, 1].unsqueeze(1)).triu().sum(dim=(1, 2))
        assert (torch.tensor([entry["computed"] for entry in here]) - computed).abs().max() < 0.01


def test_a_learned_heads_mistakes_are_on_recognized_digits(networks, pairs):
    for name, network in networks.items():
        answers, digits = predict(network, pairs.images)
        wrong = answers.argmax(dim=1) != pairs.labels
        if name != "M6":  # it compares what it recognizes, rightly or not
            wrong &= (digits.argmax(dim=2) == pairs.digits).all(dim=1)
        assert sorted(mistakes(network, pairs)) == wrong.nonzero().flatten().tolist()


def test_the_offered_pairs_show_the_point(fragment, opened, networks, pairs):
    data = json.loads(BeautifulSoup(fragment, "html.parser").select_one(".demo-data").string)
    assert len(data["numbers"]) == len(data["digits"]) == OFFERED
    assert data["numbers"][:5] == [0, 1, 2, 3, 4]
    assert len(data["missed"]["M5"]) == MISSED
    assert len(data["missed"]["M6"]) > 0  # what M6 gets wrong is offered as well
    for index in data["missed"]["M5"]:
        assert data["numbers"][index] >= 150
    sure = predict(networks["M5"], pairs.images)[1].softmax(dim=2).amax(dim=2).amin(dim=1)
    offered = sure[[data["numbers"][index] for index in data["missed"]["M5"]]]
    assert offered.tolist() == sorted(offered.tolist(), reverse=True)
    others = set(range(150, len(pairs))) - {data["numbers"][index] for index in data["missed"]["M5"]}
    assert offered.min() >= sure[sorted(others)].max()
    pick = opened.find_element("css selector", ".demo-pick")
    assert data["first"] == data["missed"]["M5"][0] == int(pick.get_property("value"))  # as it opens
    opened.execute_script("document.querySelector('.demo-pick').value = ''")
    opened.find_element("css selector", ".demo-missed[value=M5]").click()
    picked = opened.find_element("css selector", ".demo-pick").get_property("value")
    assert int(picked) in data["missed"]["M5"]
    first, second = data["digits"][int(picked)]
    assert re.findall(r"(\d) \(", shown(opened, ".demo-read")[0]) == [str(first), str(second)]
    assert len(shown(opened, ".demo-computed")) == 2  # M6 has no other head to compare with


def test_the_bars_are_what_each_digit_gives_the_head(opened, fragment, networks, pairs):
    """M6's head compares probabilities: the bars are theirs, the first digit's left of the second's."""
    data = json.loads(BeautifulSoup(fragment, "html.parser").select_one(".demo-data").string)
    picked = int(opened.find_element("css selector", ".demo-pick").get_property("value"))
    image = pairs.images[data["numbers"][picked]].unsqueeze(0)
    position = list(networks).index("M6")
    bars = opened.execute_script(
        """return [...document.querySelectorAll(".demo-network")[arguments[0]].querySelectorAll(".demo-bars")].map(
        bars => [...bars.children].map(bar => parseFloat(bar.style.height) / 100))""",
        position,
    )
    expected = predict(networks["M6"], image)[1].softmax(dim=2)[0].T
    assert (torch.tensor(bars) - expected).abs().max() < 0.02


def test_the_first_digit_moves_into_the_second(opened):
    """Each network's line ends with its answer for the second digit twice."""
    from selenium.webdriver.common.keys import Keys

    slider = opened.find_element("css selector", ".demo-morph input")
    slider.send_keys(Keys.END)
    given = "return [...document.querySelectorAll('.demo-given')].map(c => c.toDataURL())"
    assert len(set(opened.execute_script(given))) == 1
    lines = opened.find_elements("css selector", ".demo-morph polyline")
    ends = [float(line.get_attribute("points").split(",")[-1]) for line in lines]
    for at, text in zip(ends, shown(opened, ".demo-answer"), strict=True):
        sure = int(re.search(r"(\d+) %", text)[1]) / 100
        assert (100 - at) / 95 == pytest.approx(sure if "yes" in text else 1 - sure, abs=0.006)


def test_it_answers_while_one_draws(opened):
    from selenium.webdriver.common.action_chains import ActionChains

    board = opened.find_element("css selector", ".demo-board")
    opened.execute_script("""const board = document.querySelector(".demo-board");
        const given = document.querySelector(".demo-given"), seen = board.seen = [];
        setInterval(() => board.hasPointerCapture(1) && seen.push(given.toDataURL()), 20);
    """)
    chain = ActionChains(opened, duration=20).move_to_element_with_offset(board, -40, -60).click_and_hold()
    for move in ((10, 60), (40, -60), (20, 90)):
        chain.move_by_offset(*move).pause(0.2)
    chain.release().perform()
    seen = opened.execute_script("return document.querySelector('.demo-board').seen")
    assert len(set(seen)) >= 3  # more and more of the stroke, before the pen is lifted


def test_what_is_drawn_is_prepared_as_mnist_is(opened):
    from selenium.webdriver.common.action_chains import ActionChains

    boards = opened.find_elements("css selector", ".demo-board")
    for board in boards:
        for start, moves in (((-70, -60), ((30, 5), (5, 40))), ((-20, -70), ((0, 60), (0, 30)))):
            chain = ActionChains(opened, duration=20).move_to_element_with_offset(board, *start).click_and_hold()
            for move in moves:
                chain.move_by_offset(*move)
            chain.release().perform()
    reads = """return [...document.querySelectorAll(".demo-given")].map(c => {
        const paper = parseInt(getComputedStyle(c).backgroundColor.match(/\\d+/)[0]);
        return [...c.getContext("2d").getImageData(0, 0, 14, 14).data].filter((_, i) => i % 4 == 0).map(v => paper - v)
    })"""
    for picture in opened.execute_script(reads):
        ink = torch.tensor(picture).view(14, 14).double()
        center = torch.arange(14).double() - 6.5
        assert (ink > 0).sum() > 10
        assert abs((ink.sum(0) * center).sum() / ink.sum()) < 0.25
        assert abs((ink.sum(1) * center).sum() / ink.sum()) < 0.25
        rows = (ink > 0).any(dim=1).nonzero()
        assert 10 <= rows.max() - rows.min() + 1 <= 12  # 20 of 28 pixels, and what the grid cuts
    assert all(text.startswith("first ≤ second: ") and "correct" not in text for text in shown(opened, ".demo-answer"))
    for button in opened.find_elements("css selector", ".demo-clear"):
        button.click()
    assert shown(opened, ".demo-read") == ["nothing to recognize yet"] * 3


def test_it_stands_alone_and_is_labelled(opened, page, fragment):
    soup = BeautifulSoup(fragment, "html.parser")
    classes = {name for tag in soup.find_all(class_=True) for name in tag["class"]}
    assert {name for name in classes if not name.startswith("demo-")} == {"demo"}
    assert not soup.find_all(id=True)
    (still,) = soup.find_all(src=True)
    assert still["src"].startswith("data:image/png;base64,")
    assert still["alt"] == "Two digits: " + " and ".join(re.findall(r"pair, (\d) and (\d)", soup.noscript.text)[0])
    assert "M5 recognizes" in soup.noscript.text
    assert all(tag.get("aria-label") for tag in soup.find_all("canvas"))
    assert all(button.get_text(strip=True) for button in soup.find_all("button"))
    assert soup.select_one("label select")
    assert soup.select("[aria-live]")
    here = set(opened.execute_script("return Object.keys(window)"))
    opened.get(page.replace("page.html", "empty.html"))
    assert here <= set(opened.execute_script("return Object.keys(window)"))


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_is_silent(browser, page, width):
    set_size(browser, width)
    browser.get(page)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sharing": False}, "one sub-network for both"),
        ({"head": ("outer_product", {"linear": 2})}, "one sub-network for both"),
        ({"head": ({"linear": 1},)}, "one sub-network for both"),
        ({"digits": ({"linear": 10},)}, "one sub-network for both"),
        ({"layers": ("tanh", {"linear": 10})}, "Tanh"),
        ({"layers": ({"conv2d": {"channels": 2, "kernel": 3, "stride": 2}}, {"linear": 10})}, "Conv2d"),
    ],
)
def test_what_the_page_cannot_compute_is_refused(pairs, settings, said):
    network = build(replace(Architecture(({"linear": 10},)), **settings))
    with pytest.raises(InputError, match=said):
        demo({"mine": network}, pairs, MEAN, DEVIATION)
