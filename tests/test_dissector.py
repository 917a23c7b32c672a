"""The dissector in the article: a head that is trained in the page is the one that scikit-learn fits."""

from dataclasses import replace

import pytest
import torch
from conftest import bare_page, set_size
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from helpers.architectures import read_models
from helpers.data import draw_round
from helpers.demo import dissector
from helpers.inputs import InputError
from helpers.models import build
from helpers.training import predict, train

GIVEN = {
    "logits": lambda z: z,
    "relu": lambda z: z.relu(),
    "softmax": lambda z: z.softmax(dim=-1),
    "temperature": lambda z: (z / 4).softmax(dim=-1),
    "largest": lambda z: z * (z == z.amax(dim=-1, keepdim=True)),
}
GIVEN_IN_THE_PAGE = {"temperature": ("softmax", 4)}
FIRST = 150  # the test pair that it opens with
LINEAR = {"layers": [{"linear": 16}, "relu", {"linear": 10}], "head": [{"linear": "answers"}]}
RECIPE = {"optimizer": "adam", "learning_rate": 0.01, "epochs": 3, "batch_size": 20}


@pytest.fixture(scope="module")
def pairs(digits):
    return dict(zip(("train", "test"), draw_round(digits, 0, 0, 300, test_pairs=200), strict=True))


@pytest.fixture(scope="module")
def networks(pairs):
    models = {"with it": 1.0, "without it": 0.0}
    described = {
        name: read_models(LINEAR | {"models": {"one": {}}}, auxiliary=weight, **RECIPE)[0]
        for name, weight in models.items()
    }
    return {name: train(one.architecture, one.recipe, pairs, 0)[1].eval() for name, one in described.items()}


@pytest.fixture(scope="module")
def page(networks, pairs, tmp_path_factory):
    return bare_page(tmp_path_factory.mktemp("dissector"), dissector(networks, pairs, FIRST))


@pytest.fixture
def opened(browser, page):
    set_size(browser, 1440)
    browser.get(page)
    return browser


def features(network, part, name):
    """What the head is given of 16-bit logits, [B, 20]."""
    return GIVEN[name](predict(network, part.images)[1].half().double()).flatten(1).numpy()


@pytest.mark.parametrize("given", GIVEN)
def test_the_page_trains_the_head_that_scikit_learn_fits(opened, networks, pairs, given):
    for position, network in enumerate(networks.values()):
        script = "return document.querySelector('.dissector').trained(...arguments)"
        here = opened.execute_script(script, position, *GIVEN_IN_THE_PAGE.get(given, (given,)))
        scaler = StandardScaler().fit(features(network, pairs["train"], given))
        known, asked = (scaler.transform(features(network, pairs[part], given)) for part in ("train", "test"))
        fitted = LogisticRegression(C=5, solver="newton-cholesky", tol=1e-8).fit(known, pairs["train"].labels)
        right = (fitted.predict(asked) == pairs["test"].labels.numpy()).mean()
        assert here["accuracy"] == pytest.approx(right, abs=0.0051)  # one pair on the edge
        weights = torch.tensor(here["weights"][:20]) * torch.tensor(scaler.scale_)
        assert torch.allclose(weights, torch.tensor(fitted.coef_[0]), atol=1e-3 * float(abs(fitted.coef_).max()))


def test_the_page_compares_by_all_pairs_of_digits(opened, networks, pairs):
    here = opened.execute_script("return document.querySelector('.dissector').trained(0, 'fixed')")
    digits = predict(networks["with it"], pairs["test"].images)[1].softmax(dim=-1)
    yes = (digits[:, 0].unsqueeze(2) * digits[:, 1].unsqueeze(1)).triu().sum(dim=(1, 2)) > 0.5
    assert here["accuracy"] == pytest.approx((yes == pairs["test"].labels).float().mean().item(), abs=0.0051)


def text(browser, selector):
    return browser.find_element("css selector", f".dissector {selector}").text


def test_the_contributions_add_up_to_the_answer(opened):
    for given in ("logits", "softmax"):
        opened.execute_script("document.querySelector('.dissector').trained(0, arguments[0])", given)
        labels = [node.text for node in opened.find_elements("css selector", ".dis-line text")][1:]
        total = sum(float(label.split()[-1].replace("−", "-")) for label in labels)
        answer = text(opened, ".dis-said").split(": ")[-1]
        assert abs(total) < 0.25 or (total > 0) == answer.startswith("yes")
        assert len(opened.find_elements("css selector", ".dis-bars rect")) == 20


def test_the_bars_are_each_class_times_its_weight(opened, networks, pairs):
    weights = opened.execute_script("return document.querySelector('.dissector').trained(0, 'logits')")["weights"]
    number = int(text(opened, "option:checked").split(":")[0])
    assert number == FIRST
    logits = predict(networks["with it"], pairs["test"].images[number : number + 1])[1].half().double().flatten()
    products = logits * torch.tensor(weights[:20])
    bars = opened.find_elements("css selector", ".dis-bars rect")
    heights = torch.tensor([float(bar.get_attribute("height")) for bar in bars])
    assert torch.allclose(heights / heights.max(), (products.abs() / products.abs().max()).float(), atol=1e-3)
    assert [bar.get_attribute("class").split()[0] for bar in bars] == ["first"] * 10 + ["second"] * 10
    bright = [place % 10 for place, bar in enumerate(bars) if "faint" not in bar.get_attribute("class")]
    assert bright == logits.view(2, 10).argmax(dim=1).tolist()


def test_it_is_used_by_keyboard_and_says_what_to_do(opened):
    before = opened.find_elements("css selector", ".dis-before input[type=radio]")
    assert text(opened, ".dis-accuracy").startswith("The network's own head")
    before[0].send_keys("\ue015")  # arrow down
    assert "press the button" in text(opened, ".dis-said")
    opened.find_element("css selector", ".dis-train").send_keys("\ue007")  # enter
    assert text(opened, ".dis-accuracy").startswith("Trained here")
    assert len(opened.find_elements("css selector", ".dis-map td.here")) == 1
    assert not opened.find_element("css selector", ".dis-temperature").is_displayed()


@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_is_silent(browser, page, width):
    set_size(browser, width)
    browser.get(page)
    browser.execute_script("document.querySelector('.dissector').trained(0, 'softmax')")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def test_another_head_is_refused(networks, pairs):
    (relu,) = read_models(LINEAR | {"head": ["relu", {"linear": "answers"}], "models": {"one": {}}})
    network = train(relu.architecture, replace(relu.recipe, epochs=1), pairs, 0)[1]
    with pytest.raises(InputError, match="one linear layer on two digits' logits"):
        dissector({"other": network}, pairs)
    (aside,) = read_models(LINEAR | {"digits": [{"linear": 10}], "models": {"one": {}}})
    with pytest.raises(InputError, match="one linear layer on two digits' logits"):
        dissector({"features": build(aside.architecture)}, pairs)
