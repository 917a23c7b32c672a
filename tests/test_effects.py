"""Simulated data with known effects goes through the functions that the notebooks use."""

import numpy as np
import pandas as pd
import pytest

from helpers import statistics

CELLS = [(s, a) for s in (False, True) for a in (0.0, 1.0)]


def simulate(rounds, sharing=0.0, auxiliary=0.0, interaction=0.0, noise=0.01, seed=0):
    """One row per model and round: a round's own level, the planted effects, and noise of each run."""
    generator = np.random.default_rng(seed)
    rows = []
    for r in range(rounds):
        level = generator.normal(0.8, 0.03)
        for s, a in CELLS:
            value = level + sharing * s + auxiliary * a + interaction * s * a + generator.normal(0, noise)
            rows.append(
                {"model": f"{s}{a}", "sharing": s, "auxiliary": a, "round": r, "epoch": 1, "test_accuracy": value}
            )
    return pd.DataFrame(rows)


TRUE = {"weight sharing": 0.02 + 0.5 * 0.01, "auxiliary loss": -0.01 + 0.5 * 0.01, "interaction": 0.01}


@pytest.fixture(scope="module")
def simulations():
    """Effects of 1,000 simulated studies of ten rounds, without their (slow) permutation tests."""
    found = {name: [] for name in TRUE}
    for seed in range(1000):
        contrasts = statistics.contrasts(simulate(10, 0.02, -0.01, 0.01, seed=seed), "test_accuracy")
        for name in TRUE:
            found[name].append(statistics.mean_interval(contrasts[name]))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("effect", TRUE)
def test_intervals_cover_at_their_nominal_rate(simulations, effect):
    mean, half = simulations[effect].T
    covered = (np.abs(mean - TRUE[effect]) <= half).mean()
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / 1000) ** 0.5


@pytest.mark.parametrize("effect", TRUE)
def test_planted_effects_are_found_with_sign_and_size(simulations, effect):
    mean, _ = simulations[effect].T
    assert mean.mean() == pytest.approx(TRUE[effect], abs=0.0006)


def test_pairing_by_round_takes_the_rounds_own_level_out(simulations):
    """The rounds differ by 3 points, the runs by 1: the half-widths must be those of 1 point."""
    assert simulations["weight sharing"][:, 1].mean() == pytest.approx(2.26 * 0.01 / 10**0.5, rel=0.1)


@pytest.mark.usefixtures("no_collection")
def test_a_zero_interaction_is_seldom_found():
    found = 0
    for seed in range(300):
        table = statistics.effects(simulate(8, 0.02, 0.01, 0.0, seed=seed), "test_accuracy").set_index("effect")
        row = table.loc["interaction"]
        found += statistics.verdict(row["mean"], row.half_width, row.p_holm) != "is not told apart from zero"
    assert found / 300 <= 0.05


def test_a_planted_interaction_is_found():
    for planted, word in ((0.03, "helps"), (-0.03, "harms")):
        table = statistics.effects(simulate(10, 0.02, 0.01, planted, seed=1), "test_accuracy").set_index("effect")
        row = table.loc["interaction"]
        assert statistics.verdict(row["mean"], row.half_width, row.p_holm) == word
        assert abs(row["mean"] - planted) < row.half_width * 1.5


def test_permutation_p_is_uniform_where_nothing_is():
    generator = np.random.default_rng(0)
    p = np.array([statistics.permutation_p(generator.normal(size=8)) for _ in range(300)])
    assert abs((p <= 0.05).mean() - 0.05) < 3 * (0.05 * 0.95 / 300) ** 0.5
    assert statistics.permutation_p(np.full(10, 0.3) + generator.normal(size=10) / 100) == pytest.approx(2 / 1024)


def test_the_t_interval_is_students():
    mean, half = statistics.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert (mean, half) == (2.5, pytest.approx(3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2))
    assert np.isnan(statistics.mean_interval([1.0])[1])


def test_the_sentence_follows_the_numbers():
    clear = statistics.effects(simulate(10, 0.05, 0.0, 0.0, noise=0.001), "test_accuracy")
    assert "weight sharing helps (+5.0 ± " in statistics.answer(clear, "it")
    assert "the auxiliary loss is not told apart from zero" in statistics.answer(clear, "it")
    harmful = statistics.effects(simulate(10, -0.05, 0.02, -0.03, noise=0.001), "test_accuracy")
    assert "weight sharing harms (−6.5" in statistics.answer(harmful, "it")
    assert "together they bring less than the sum of both (−3.0" in statistics.answer(harmful, "it")


def test_the_sentences_across_families_follow_the_numbers():
    tables = {
        "a": statistics.effects(simulate(10, 0.05, 0.0, 0.0, noise=0.001), "test_accuracy"),
        "b": statistics.effects(simulate(10, -0.05, 0.02, -0.03, noise=0.001), "test_accuracy"),
    }
    sharing, auxiliary, both = statistics.answer_across(tables, {"a": "one", "b": "another"})
    assert sharing.startswith("Weight sharing helps one (+5.0 ± ")
    assert ", and harms another (−6.5 ± " in sharing
    assert "does nothing for one (" in auxiliary
    assert "brings another (−3.0" in both
    assert "less than the sum of each" in both


def test_too_few_rounds_are_said_to_be_too_few():
    """With a round less than FEWEST_ROUNDS even the clearest effect fails the corrected test; with them it can pass."""
    few, enough = (
        statistics.effects(simulate(rounds, 0.05, noise=0.0001), "test_accuracy")
        for rounds in (statistics.FEWEST_ROUNDS - 1, statistics.FEWEST_ROUNDS)
    )
    assert few.p.min() * len(few) > 0.05 > enough.p.min() * len(enough)
    assert "6 rounds are too few to tell an effect from zero: weight sharing +5.0" in statistics.answer(few, "it")
    assert "weight sharing helps (+5.0" in statistics.answer(enough, "it")
    sharing, *_ = statistics.answer_across({"a": enough, "b": few}, {"a": "one", "b": "another"})
    assert "helps one (+5.0" in sharing
    assert "cannot be judged, in 6 rounds, for another (+5.0" in sharing


def test_epochs_to_a_share_of_the_final_accuracy():
    table = pd.DataFrame({"model": "a", "round": 0, "epoch": range(1, 6), "test_accuracy": [0.5, 0.7, 0.77, 0.7, 0.8]})
    assert statistics.epochs_to_share(table).epochs_needed.tolist() == [3]
    assert statistics.epochs_to_share(table, 0.99).epochs_needed.tolist() == [5]


def test_the_rate_is_chosen_on_validation_pairs_alone():
    table = pd.DataFrame({"model": ["a", "b"], "round": 0, "epoch": 1, "learning_rate": [0.1, 0.2]})
    table = table.assign(validation_accuracy=[0.9, 0.8], validation_loss=[0.3, 0.2], test_accuracy=[0.5, 0.99])
    assert statistics.best_validation(table, "learning_rate") == 0.1
