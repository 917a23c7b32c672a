"""The census takes every solution apart as it says, and pools their effects as the formulas have it."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from conftest import defined_in

from helpers.models import build, count_parameters

census = defined_in("07_census")
NAMES = ["first report", *(name for name in census.FILES if name != census.LEFT_OUT)]


def test_at_least_twenty_public_solutions_are_asked():
    assert len(NAMES) == 21


@pytest.mark.parametrize("name", NAMES)
def test_each_solution_has_both_tricks_on_and_off_and_other_heads(name):
    sizes = {
        (head, sharing): count_parameters(build(census.networks(name, head, sharing, 1).architecture))
        for head in ("own", "fixed") for sharing in (True, False)
    }  # fmt: skip
    # Two sub-networks are twice as large as one, but for the first report's batch normalization, which is in both.
    assert sizes["fixed", False] == 2 * sizes["fixed", True] - (32 if name == "first report" else 0)
    assert sizes["own", True] < sizes["own", False] <= 2 * sizes["own", True]
    with_loss, without = (census.networks(name, "own", True, auxiliary).recipe for auxiliary in (1, 0))
    assert with_loss.auxiliary > 0
    assert with_loss.comparison > 0
    assert (without.auxiliary, without.comparison) == (0, 1)


def test_the_pooled_mean_is_that_of_the_formulas():
    """With equal variances within, the mean is the plain one, and the variance between what is left of the whole."""
    generator = np.random.default_rng(0)
    means = generator.normal(0.03, 0.02, 12)
    noise = np.array([-1.5, -0.5, 0.0, 0.5, 1.5]) * 0.01
    values = pd.DataFrame({name: mean + noise for name, mean in enumerate(means)})
    within, between = noise.var(ddof=1) / 5, means.var(ddof=1)
    assert between > within
    mean, half, further = census.pooled(values)
    assert mean == pytest.approx(means.mean())
    assert half == pytest.approx(scipy.stats.t.ppf(0.975, 11) * (between / 12) ** 0.5, rel=1e-4)
    spread = (between - within + between / 12) ** 0.5
    assert further == pytest.approx(scipy.stats.t.ppf(0.975, 10) * spread, rel=1e-4)


def test_an_answer_tells_as_many_bits_of_the_digits_as_its_entropy_has():
    bits = defined_in("08_questions").bits
    share = 55 / 100  # of the pairs whose first digit is less than or equal to the second
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    assert bits("less than or equal") == pytest.approx(entropy)
    counts = np.array([*range(1, 11), *range(9, 0, -1)]) / 100
    assert bits("sum") == pytest.approx(-(counts * np.log2(counts)).sum())
