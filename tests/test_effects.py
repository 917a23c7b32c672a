"""Simulated data with known effects goes through the functions that the notebooks use."""

import numpy as np
import pandas as pd
import pytest

from helpers import effects

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


def effects_of(final, metric):
    return effects.tested(effects.contrasts(final, metric))


TRUE = {"weight sharing": 0.02 + 0.5 * 0.01, "auxiliary loss": -0.01 + 0.5 * 0.01, "interaction": 0.01}


@pytest.fixture(scope="module")
def simulations():
    """Effects of 1,000 simulated studies of ten rounds, without their (slow) permutation tests."""
    found = {name: [] for name in TRUE}
    for seed in range(1000):
        contrasts = effects.contrasts(simulate(10, 0.02, -0.01, 0.01, seed=seed), "test_accuracy")
        for name in TRUE:
            found[name].append(effects.mean_interval(contrasts[name]))
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
        table = effects_of(simulate(8, 0.02, 0.01, 0.0, seed=seed), "test_accuracy")
        found += effects.estimates(table)["interaction"].sign != 0
    assert found / 300 <= 0.05


@pytest.mark.parametrize("planted", [0.03, -0.03])
def test_a_planted_interaction_is_found(planted):
    found = effects.estimates(effects_of(simulate(10, 0.02, 0.01, planted, seed=1), "test_accuracy"))["interaction"]
    assert found.sign == np.sign(planted)
    assert abs(found.mean - planted) < found.half_width * 1.5


def test_permutation_p_is_uniform_where_nothing_is():
    generator = np.random.default_rng(0)
    p = np.array([effects.permutation_p(generator.normal(size=8)) for _ in range(300)])
    assert abs((p <= 0.05).mean() - 0.05) < 3 * (0.05 * 0.95 / 300) ** 0.5
    assert effects.permutation_p(np.full(10, 0.3) + generator.normal(size=10) / 100) == pytest.approx(2 / 1024)


def test_the_t_interval_is_students():
    mean, half = effects.mean_interval([1.0, 2.0, 3.0, 4.0])
    assert (mean, half) == (2.5, pytest.approx(3.182446 * np.std([1, 2, 3, 4], ddof=1) / 2))
    assert np.isnan(effects.mean_interval([1.0])[1])


def test_an_estimate_reads_as_a_person_would_write_it():
    assert str(effects.Estimate(0.024, 0.009)) == "+2.4 ± 0.9 points"
    assert str(effects.Estimate(-0.024, float("nan"))) == "−2.4 points"
    assert str(effects.share([0.84, 0.85, 0.86])) == "85.0 ± 2.5 %"
    assert f"in {effects.gain([0.01, 0.01])}" == "in +1.0 ± 0.0 points"


def test_an_effect_is_there_where_interval_and_test_agree():
    assert effects.Estimate(0.02, 0.01, p=0.01).sign == 1
    assert effects.Estimate(-0.02, 0.01, p=0.01).sign == -1
    assert effects.Estimate(0.02, 0.01, p=0.06).sign == 0
    assert effects.Estimate(0.01, 0.02, p=0.01).sign == 0
    assert effects.Estimate(0.01, float("nan"), p=0.01).sign == 0


def test_the_sentences_follow_the_numbers():
    tables = {
        "a": effects_of(simulate(10, 0.05, 0.0, 0.0, noise=0.001), "test_accuracy"),
        "b": effects_of(simulate(10, -0.05, 0.02, -0.03, noise=0.001), "test_accuracy"),
    }
    sharing, auxiliary, both = effects.answer(tables, {"a": "one", "b": "another"})
    assert sharing.startswith("Weight sharing helps one (+5.0 ± ")
    assert ", and harms another (−6.5 ± " in sharing
    assert "does nothing for one (" in auxiliary
    assert "brings another (−3.0" in both
    assert "less than the sum of each" in both


def test_too_few_rounds_are_said_to_be_too_few():
    """With a round less than FEWEST_ROUNDS even the clearest effect fails the corrected test; with them it can pass."""
    few, enough = (
        effects_of(simulate(rounds, 0.05, noise=0.0001), "test_accuracy")
        for rounds in (effects.FEWEST_ROUNDS - 1, effects.FEWEST_ROUNDS)
    )
    assert few.p.min() * len(few) > 0.05 > enough.p.min() * len(enough)
    sharing, *_ = effects.answer({"a": enough, "b": few}, {"a": "one", "b": "another"})
    assert "helps one (+5.0" in sharing
    assert "cannot be judged, in 6 rounds, for another (+5.0" in sharing


@pytest.mark.usefixtures("no_collection")
def test_models_are_compared_two_by_two():
    noise = np.random.default_rng(0).normal(0, 0.004, (3, 12))
    rows = [
        {"model": model, "round": r, "test_accuracy": mean + noise[i, r]}
        for i, (model, mean) in enumerate(zip("ABC", (0.8, 0.85, 0.85), strict=True))
        for r in range(12)
    ]
    pairs = effects.pairs_of_models(pd.DataFrame(rows))
    assert pairs[["first", "second", "ahead"]].to_numpy().tolist() == [["A", "B", "B"], ["A", "C", "C"], ["B", "C", ""]]


def test_epochs_to_a_share_of_the_final_accuracy():
    table = pd.DataFrame({"model": "a", "round": 0, "epoch": range(1, 6), "test_accuracy": [0.5, 0.7, 0.77, 0.7, 0.8]})
    assert effects.epochs_to_share(table).epochs_needed.tolist() == [3]
    assert effects.epochs_to_share(table, 0.99).epochs_needed.tolist() == [5]


def test_the_rate_is_chosen_on_validation_pairs_alone():
    table = pd.DataFrame({"model": ["a", "b"], "round": 0, "epoch": 1, "learning_rate": [0.1, 0.2]})
    table = table.assign(validation_accuracy=[0.9, 0.8], validation_loss=[0.3, 0.2], test_accuracy=[0.5, 0.99])
    assert effects.best_validation(table, "learning_rate") == 0.1
