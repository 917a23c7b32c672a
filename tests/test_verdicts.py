"""Hypotheses and claims are judged by the numbers, whatever these turn out to be, and noise decides nothing."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from conftest import defined_in

from helpers import stats
from helpers.architectures import read_models
from helpers.inputs import ROOT
from helpers.stats import NO, OPEN, YES, judge

RULES = [{"above": 0.01}, {"below": 0.01}, {"within": 0.01}, {"equals": 0.05, "within": 0.02}]
REGISTERED, SEED = stats.hypotheses()["hypotheses"], stats.hypotheses()["seed"]
SPREAD = np.array([-1.5, -0.5, -0.2, 0.2, 0.5, 1.5])


@pytest.mark.parametrize(
    ("rule", "center", "verdict"),
    [
        ({"above": 0.02}, 0.03, YES),
        ({"above": 0.02}, 0.01, NO),
        ({"above": 0.02}, 0.0205, OPEN),
        ({"below": 0.02}, 0.01, YES),
        ({"below": 0.02}, 0.03, NO),
        ({"below": 0.02}, 0.0195, OPEN),
        ({"within": 0.01}, 0.0, YES),
        ({"within": 0.01}, 0.02, NO),
        ({"within": 0.01}, -0.02, NO),
        ({"within": 0.01}, 0.0095, OPEN),
        ({"equals": 0.1, "within": 0.01}, 0.1, YES),
        ({"equals": 0.1, "within": 0.01}, 0.0, NO),
        ({"equals": -0.1, "within": 0.01}, -0.1095, OPEN),
    ],
)
def test_a_rule_is_judged_by_the_place_of_the_interval(rule, center, verdict):
    assert judge(center + 0.001 * SPREAD, rule) == verdict


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_noisier_sample_decides_nothing_that_was_undecided(rule):
    met = set()
    for mean in np.linspace(-0.1, 0.1, 41):
        found = [judge(mean + noise * SPREAD, rule) for noise in np.geomspace(1e-4, 1, 15)]
        first = found.index(OPEN)
        assert set(found[first:]) == {OPEN}
        assert len(set(found[:first])) <= 1
        met |= set(found)
    assert met == {YES, NO, OPEN}


def test_equivalence_is_two_one_sided_t_tests():
    generator, met = np.random.default_rng(0), set()
    for _ in range(300):
        values = generator.normal(generator.uniform(-0.02, 0.03), 0.01, 8)
        over = scipy.stats.ttest_1samp(values, 0.005 - 0.015, alternative="greater").pvalue
        under = scipy.stats.ttest_1samp(values, 0.005 + 0.015, alternative="less").pvalue
        both = max(over, under) < 0.025 / 3
        assert (judge(values, {"equals": 0.005, "within": 0.015}, comparisons=3) == YES) == both
        met.add(both)
    assert met == {True, False}


@pytest.mark.parametrize("rule", [{"above": 0.0}, {"below": 0.0}, {"within": 0.01}], ids=str)
def test_on_the_boundary_a_rule_errs_at_its_nominal_rate(rule):
    """Where the truth is the boundary itself, each side is wrongly left in 2.5 % of the samples."""
    values = rule.get("within", 0.0) + np.random.default_rng(1).normal(0, 0.001, (2000, 6))
    found = np.array([judge(row, rule) for row in values])
    for verdict in (YES, NO):
        assert abs((found == verdict).mean() - 0.025) < 3 * (0.025 * 0.975 / 2000) ** 0.5


def test_too_few_rounds_and_missing_numbers_decide_nothing():
    for rule in RULES:
        assert judge([5.0, 5.0, 5.0, 5.0], rule) == OPEN
        assert judge([5.0, 5.0, 5.0, 5.0, float("nan")], rule) == OPEN
        assert judge([5.0, 5.0, 5.0, 5.0, 5.0], rule) != OPEN


def test_more_comparisons_ask_for_more():
    values = 0.001 * (SPREAD + 1.2)
    assert judge(values, {"above": 0.0}) == YES
    assert judge(values, {"above": 0.0}, comparisons=20) == OPEN


def rounds(center):
    return pd.Series(center + 0.001 * SPREAD)


def of_hypotheses(values, seed=SEED, **given):
    by_seed = {name: {seed: numbers} for name, numbers in values.items()}
    return defined_in("10_verdicts").of_hypotheses(by_seed, **given).set_index("id")


def test_hypotheses_are_judged_together_on_the_registered_seed_and_rounds():
    """`barely` holds on its own, but not with as many hypotheses as are registered."""
    count = {one["id"]: one["rounds"] for one in REGISTERED}

    def rounds(name, center):
        return pd.Series(center + 0.001 * np.resize(SPREAD, count[name]))

    barely = rounds("hidden-linear", 0.001)
    assert judge(barely, {"above": 0.0}) == YES
    values = {name: rounds(name, center) for name, center in
              {"relu-level": 0.03, "sharing-first": -0.03, "modulo": 0.4, "order-level": 0.001}.items()}  # fmt: skip
    values |= {"hidden-linear": barely, "relu-auxiliary": rounds("relu-auxiliary", 0.03)[:-1]}
    table = of_hypotheses(values)
    assert table.index.tolist() == list(count)
    assert table.verdict[[*values, "no-law"]].tolist() == [
        "confirmed", "refuted", "confirmed", "confirmed", "undecided", "open: 9 of 10 rounds", "not run"
    ]  # fmt: skip
    assert table.found["relu-level"].startswith("+3.0")
    assert table.found["modulo"].startswith("39.98 ± ")
    assert set(of_hypotheses(values, seed=0).verdict) == {"not run"}
    assert of_hypotheses(values, full=False).verdict["relu-level"] == "open: not all of MNIST"
    assert of_hypotheses(values, full=False).verdict["relu-auxiliary"] == "open: 9 of 10 rounds"
    diverged = values["relu-level"].where(values["relu-level"].index > 0)
    assert of_hypotheses({"relu-level": diverged}).verdict["relu-level"] == "undecided"


def test_a_claim_is_judged_for_each_of_its_families():
    values = {"mlp accuracy sharing": rounds(0.03), "conv accuracy sharing": rounds(-0.03)}
    table = (
        defined_in("a2_claims").of_claims(values | {"M5 minus M4 loss": rounds(-0.0945)}).set_index(["report", "claim"])
    )
    verdict = table.xs("second").verdict
    assert verdict["mlp: weight sharing improves accuracy"] == "reproduced"
    assert verdict["conv: weight sharing improves accuracy"] == "not reproduced"
    assert verdict["mlp: weight sharing brings almost 10 points"] == "not reproduced"
    assert verdict["mlp: the auxiliary loss improves accuracy"] == "not run"
    assert table.ours[("second", "mlp: weight sharing improves accuracy")].startswith("+3.0 ± ")
    assert table.loc[("first", "M5 reduces the test loss by 0.0945"), "verdict"] == "reproduced"
    assert table.ours[("first", "M5 reduces the test loss by 0.0945")].endswith(" nats")


@pytest.mark.parametrize("one", [*REGISTERED, *stats.reports()["claims"]], ids=lambda one: one.get("id", ""))
def test_every_rule_can_be_met_and_failed(one):
    goal = one.get("above", one.get("below", one.get("equals", 0.0)))
    assert {judge(goal + far + 1e-6 * SPREAD, one) for far in (-1e3, 0.001, -0.001, 1e3)} == {YES, NO}


def test_hypotheses_have_ids_of_their_own():
    assert len({one["id"] for one in REGISTERED}) == len(REGISTERED)


def test_the_reports_numbers_are_consistent_with_the_claims_made_of_them():
    """The effects that claims quote from Table I are those that its accuracies give."""
    table = stats.reports()["first"]["table_1"]
    assert [row["parameters"] for row in table.values()] == [66934, 33504, 66934, 33504, 66344]
    m1, m2, m3, m4, m5 = (row["test_accuracy"] for row in table.values())
    theirs = {
        "first accuracy sharing": (m2 + m4 - m1 - m3) / 2,
        "first accuracy auxiliary": (m3 + m4 - m1 - m2) / 2,
        "first accuracy interaction": m1 + m4 - m2 - m3,
        "M5 minus M4": m5 - m4,
        "M5 minus M4 loss": table["M5"]["test_loss"] - table["M4"]["test_loss"],
    }
    quoted = [one for one in stats.reports()["claims"] if one["where"] == "Table I" and "equals" in one]
    assert len(quoted) == len(theirs)
    for one in quoted:
        assert one["equals"] == pytest.approx(theirs[one["of"]], abs=6e-5), one["claim"]


def test_the_first_reports_curves_end_in_its_table():
    """As they were read off the figures: 25 epochs of five models, whose last points are Table I."""
    curves = pd.read_csv(ROOT / "data" / stats.reports()["first"]["curves"])
    assert curves.groupby("model").epoch.agg(list).map(lambda epochs: epochs == list(range(1, 26))).all()
    last = curves[curves.epoch == 25].set_index("model")
    for name, row in stats.reports()["first"]["table_1"].items():
        for measure in ("train_accuracy", "test_accuracy", "train_loss", "test_loss"):
            read = last.loc[name, measure]
            assert np.isnan(read) or read == pytest.approx(row[measure], abs=0.001), (name, measure)
    assert last.isna().sum().sum() == 2  # M4's accuracies are hidden behind M2's


def test_the_models_have_the_recipes_of_table_two():
    for model in (*read_models("convnet"), *read_models("m5")):
        theirs, recipe = stats.reports()["first"]["table_2"][model.name], model.recipe
        assert recipe.optimizer == "sgd"
        assert (recipe.learning_rate, recipe.batch_size, recipe.epochs) == (
            theirs["learning_rate"], theirs["batch_size"], theirs["epochs"]
        )  # fmt: skip
        assert recipe.settings == {"momentum": theirs["momentum"]}
