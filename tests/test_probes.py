"""What a6_m6 and 06_heads read out of a trained network, against the same done by hand."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from conftest import by_hand, defined_in

from helpers.data import draw_round
from helpers.models import Architecture, build
from helpers.training import Recipe, predict, train

LAYERS = ({"linear": 10},)
all_pairs = defined_in("a6_m6").all_pairs
heads = defined_in("06_heads")


@pytest.fixture
def pairs(digits):
    return dict(zip(("train", "test"), draw_round(digits, 0, 0, 200, test_pairs=30), strict=True))


def untrained(**parts):
    """A network with an answer of its own to every pair."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(Architecture(LAYERS, head=("fixed",), **parts))
        return network.requires_grad_(False)


@pytest.mark.parametrize("question", ["less than or equal", "less than", "equal"])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_all_pairs_are_all_ordered_pairs_of_distinct_digits(pairs, question, shift):
    network, test = untrained(question=question, tta_shift=shift), replace(pairs["test"], question=question)
    pictures, classes = test.images.flatten(0, 1), test.digits.flatten()
    first, second = torch.tensor(list(permutations(range(60), 2))).T
    answers = predict(network, torch.stack([pictures[first], pictures[second]], dim=1))[0].argmax(dim=1)
    truth = torch.tensor(
        [by_hand(question, pair) for pair in torch.stack([classes[first], classes[second]], 1).tolist()]
    )
    share = (answers == truth).double().mean().item()
    assert 0.05 < share < 0.95
    assert all_pairs(network, test) == pytest.approx(share, abs=1.5 / len(first))  # but for a tie


def test_all_pairs_of_more_than_a_thousand_digits(pairs):
    """They are compared in parts. Of 40 copies of each digit all pairs are known from the pairs of single digits."""
    network, test = untrained(), pairs["test"]
    pictures, classes = test.images.flatten(0, 1), test.digits.flatten()
    first, second = torch.cartesian_prod(torch.arange(60), torch.arange(60)).T
    answers = predict(network, torch.stack([pictures[first], pictures[second]], dim=1))[0].argmax(dim=1)
    right = answers == (classes[first] <= classes[second])
    count = 40 * 40 * right.sum() - 40 * right[first == second].sum()  # but no digit with itself
    copies = test[torch.arange(30 * 40) % 30]
    assert all_pairs(network, copies) == pytest.approx(count.item() / (2400 * 2399), abs=1.5 * 1600 / 2400**2)


def test_probes_take_what_is_in_the_logits_apart_from_the_networks_own_answer(digits):
    """With a head that is broken on purpose the network always gives one answer, and the probes their own as before."""
    drawn = dict(zip(("train", "test"), draw_round(digits, 0, 0, 200, test_pairs=200), strict=True))
    recipe = Recipe(optimizer="adam", learning_rate=0.003, batch_size=25, epochs=3, auxiliary=1.0)
    _, network = train(Architecture(LAYERS), recipe, drawn, seed=0)
    before = heads.probe(network, drawn).set_index(["transformation", "probe"]).accuracy
    for parameter in network.head.parameters():
        torch.nn.init.zeros_(parameter)
    found = heads.probe(network, drawn).set_index(["transformation", "probe"]).accuracy
    assert found.equals(before)
    assert len(found) == 3 * len(heads.TRANSFORMATIONS)
    assert found.min() > 0.6
    assert found["one-hot"].min() > 0.8
    unlearned = drawn | {"test": replace(drawn["test"], labels=1 - drawn["test"].labels)}
    assert heads.probe(network, unlearned).accuracy.max() < 0.4  # it is judged on the test pairs' labels


def test_transformations_of_logits():
    x = torch.tensor([[[3.0, -1.0, 0.0, 1.0, -3.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])
    found = {name: transformed(x)[0, 0] for name, transformed in heads.TRANSFORMATIONS.items()}
    assert found["centered"].sum() == pytest.approx(0)
    assert found["normalized"].square().mean() == pytest.approx(1, abs=1e-4)
    assert found["ReLU"].tolist() == [3, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert found["largest only"].tolist() == [3] + [0] * 9
    assert found["one-hot"].tolist() == [1] + [0] * 9
    weights = x[0, 0].exp() / x.exp().sum()
    assert found["expected digit"].item() == pytest.approx((weights * torch.arange(10)).sum().item(), rel=1e-5)
    assert found["log-probabilities"].exp().tolist() == pytest.approx(weights.tolist(), rel=1e-5)
