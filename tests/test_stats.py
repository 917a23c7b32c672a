"""Simulated data with known effects goes through the functions that the notebooks use."""

import numpy as np
import pandas as pd
import pytest
from conftest import defined_in

from helpers import stats

ablation = defined_in("03_ablation")
calibration = defined_in("a6_m6").calibration
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
    """Effects of 1,000 simulated studies of ten rounds."""
    found = {name: [] for name in TRUE}
    for seed in range(1000):
        contrasts = stats.contrasts(simulate(10, 0.02, -0.01, 0.01, seed=seed))
        for name in TRUE:
            found[name].append(stats.mean_interval(contrasts[name]))
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


def test_corrected_intervals_hold_together():
    """Where nothing is, about one study in twenty, and no more, finds any of its six columns."""
    studies = np.random.default_rng(0).normal(0, 0.01, (200, 8, 6))
    found = [(ablation.tested(pd.DataFrame(study)).p < 0.05).any() for study in studies]
    assert 0 < np.mean(found) < 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_the_corrected_interval_and_p_agree():
    generator, met = np.random.default_rng(1), []
    for columns in (1, 3, 8):
        for _ in range(30):
            values = generator.normal(generator.uniform(0, 0.02, columns), 0.01, (7, columns))
            table = ablation.tested(pd.DataFrame(values))
            outside = table["mean"].abs() > table.half_width
            assert (outside == (table.p < 0.05)).all()
            met += outside.tolist()
    assert 0.2 < np.mean(met) < 0.8


def test_an_effect_of_exactly_nothing_is_not_found():
    table = ablation.tested(pd.DataFrame({"nothing": [0.0] * 6, "something": [1.0, 1.1, 0.9, 1.0, 1.1, 0.9]}))
    assert table.p.tolist() == [1.0, pytest.approx(0, abs=1e-4)]
    assert table.half_width[0] == 0


@pytest.mark.parametrize("planted", [0.03, -0.03])
def test_a_planted_interaction_is_found(planted):
    found = stats.as_points(stats.contrasts(simulate(10, 0.02, 0.01, planted, seed=1)).interaction, comparisons=3)
    assert found.sign == np.sign(planted)
    assert abs(found.mean - planted) < found.half_width * 1.5


def test_the_t_interval_is_students():
    mean, half = stats.mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (mean, half) == (3.0, pytest.approx(2.776445 * np.std([1, 2, 3, 4, 5], ddof=1) / 5**0.5))
    _, corrected = stats.mean_interval([1.0, 2.0, 3.0, 4.0, 5.0], comparisons=5)
    assert corrected == pytest.approx(half * 4.604095 / 2.776445)


def test_too_few_rounds_have_no_interval_and_are_not_tested():
    """With a round less than FEWEST_ROUNDS even the clearest effect is none."""
    few, enough = (
        stats.contrasts(simulate(rounds, 0.05, noise=0.0001))
        for rounds in (stats.FEWEST_ROUNDS - 1, stats.FEWEST_ROUNDS)
    )
    table = ablation.tested(few)
    assert table[["half_width", "p"]].isna().all(axis=None)
    assert table["mean"][0] == pytest.approx(0.05, abs=0.001)
    assert stats.as_points(few["weight sharing"]).sign == 0
    assert stats.as_points(enough["weight sharing"]).sign == 1


def test_an_estimate_reads_as_a_person_would_write_it():
    assert str(stats.Estimate(0.024, 0.009)) == "+2.4 ± 0.9 points"
    assert str(stats.Estimate(-0.024, float("nan"))) == "−2.4 points"
    assert str(stats.as_percent([0.83, 0.84, 0.85, 0.86, 0.87])) == "85.0 ± 2.0 %"
    assert f"in {stats.as_points([0.01] * 5)}" == "in +1.0 ± 0.0 points"
    assert str(stats.as_points([0.012, 0.012])) == "+1.2 points"
    assert stats.as_points([0.01] * 5).bare == "+1.0 ± 0.0"
    assert stats.as_percent([0.5] * 5).bare == "50.0 ± 0.0"
    assert stats.Estimate(-0.024, 0.009).size == stats.Estimate(0.024, 0.009).size == "2.4 ± 0.9 points"


def test_an_effect_has_a_sign_where_its_interval_leaves_zero_out():
    assert [stats.Estimate(mean, 0.01).sign for mean in (0.02, 0.005, -0.005, -0.02)] == [1, 0, 0, -1]
    assert stats.Estimate(0.01, float("nan")).sign == 0


def test_an_estimate_is_within_a_margin_with_its_whole_interval():
    assert stats.Estimate(0.004, 0.005).within(0.01)
    assert not stats.Estimate(0.006, 0.005).within(0.01)
    assert not stats.Estimate(-0.006, 0.005).within(0.01)
    assert not stats.Estimate(0.0, float("nan")).within(0.01)


def runs_of(**curves):
    """One round of models whose test accuracies over the epochs are given; the loss is the error."""
    return pd.concat(
        [
            pd.DataFrame({"model": model, "round": 0, "epoch": range(1, len(curve) + 1), "test_accuracy": curve})
            for model, curve in curves.items()
        ],
        ignore_index=True,
    ).assign(test_loss=lambda rows: 1 - rows.test_accuracy, parameters=7)


def test_the_endpoint_is_the_mean_of_the_last_five_epochs():
    final = stats.last_epochs(runs_of(a=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9], b=[0.5] * 7)).set_index("model")
    assert final.test_accuracy.to_dict() == pytest.approx({"a": 0.54, "b": 0.5})
    assert final.test_loss.to_dict() == pytest.approx({"a": 0.46, "b": 0.5})
    assert final.epoch.tolist() == final.parameters.tolist() == [7, 7]
    assert stats.last_epochs(runs_of(a=[0.1, 0.3])).test_accuracy.tolist() == pytest.approx([0.2])


def test_the_endpoint_keeps_rounds_and_starts_apart():
    one = runs_of(a=[0.4] * 6)
    table = pd.concat([one.assign(start=0), one.assign(start=1, test_accuracy=0.6), one.assign(start=0, round=1)])
    final = stats.last_epochs(table)
    assert final[["round", "start"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert final.test_accuracy.tolist() == pytest.approx([0.4, 0.6, 0.4])


def test_epochs_to_where_the_rounds_worst_model_ends():
    """The worst ends at 0.625, the mean of its last five epochs: each needs what it takes to get there first."""
    quick = [0.3, 0.65, 0.5, 0.7, 0.8, 0.8, 0.8]
    worst = [0.2, 0.4, 0.5, 0.5625, 0.625, 0.6875, 0.75]
    needed = stats.epochs_to_worst(runs_of(quick=quick, worst=worst)).set_index("model").epochs_needed
    assert needed.to_dict() == {"quick": 2, "worst": 5}
    other = runs_of(quick=worst, worst=quick).assign(round=1)  # a round has its own yardstick
    both = stats.epochs_to_worst(pd.concat([runs_of(quick=quick, worst=quick), other], ignore_index=True))
    assert stats.by_round(both, "epochs_needed").to_numpy().tolist() == [[5, 5], [5, 2]]


def test_calibration_counts_every_answer_once_in_the_bin_of_its_confidence():
    said = pd.DataFrame({"probability": [0.0, 0.02, 1.0, 0.97, 0.5, 0.42], "right": [1, 1, 1, 0, 0, 1]})
    table = calibration(said, bins=10)
    assert table.pairs.tolist() == [1, 1, 4]
    assert table.confidence.iloc[-1] == pytest.approx((1 + 0.98 + 1 + 0.97) / 4)
    assert table.accuracy.iloc[-1] == 0.75


def test_a_table_is_factorial_with_exactly_the_four_combinations():
    table = simulate(1)
    assert ablation.is_factorial(table)
    assert not ablation.is_factorial(table.iloc[1:])
    assert not ablation.is_factorial(pd.concat([table, table.assign(model="another")]))


def test_an_estimate_is_clear_where_its_interval_leaves_zero_out():
    assert stats.Estimate(0.02, 0.01).clear is True
    assert stats.Estimate(-0.02, 0.01).clear is True
    assert stats.Estimate(0.01, 0.02).clear is False
    assert stats.Estimate(0.02, float("nan")).clear is None
