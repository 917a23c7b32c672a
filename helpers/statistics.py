"""Intervals for few runs. Everything is paired by round: the same pairs and seed in every cell of a comparison."""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

CONFIDENCE = 0.95
FEWEST_ROUNDS = 7  # the two most extreme of 2**7 sign changes, times three for Holm's method, are below 5 %


def mean_interval(values) -> tuple[float, float]:
    """Mean and half-width of Student's 95 % t interval of it; the half-width is NaN for a single value."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))


def percent(values, digits: int = 1) -> str:
    """Shares of 1 as "84.5 ± 0.9 %": mean and half-width of the 95 % t interval."""
    mean, half = mean_interval(values)
    text = f"{100 * mean:.{digits}f} %" if np.isnan(half) else f"{100 * mean:.{digits}f} ± {100 * half:.{digits}f} %"
    return text.replace("-", "−")


def last_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last epoch, of a table of `experiments.run_rounds`."""
    return table[table.epoch == table.groupby(["model", "round"]).epoch.transform("max")]


def best_validation(table: pd.DataFrame, parameter: str):
    """The value of `parameter` whose runs end with the highest mean validation accuracy; of equals the lowest loss."""
    ends = last_epoch(table).groupby(parameter)[["validation_accuracy", "validation_loss"]].mean()
    return ends.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).index[0]


def by_round(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One column per model (in the table's order), one row per round."""
    return table.pivot(index="round", columns="model", values=measure)[list(dict.fromkeys(table.model))]


# --------------------------------------------------------------------------------------------------------- 2×2 effects

EFFECTS = {  # weights of the cells (sharing, auxiliary loss): what the effect is of one round's four values
    "weight sharing": {(0, 0): -0.5, (0, 1): -0.5, (1, 0): 0.5, (1, 1): 0.5},
    "auxiliary loss": {(0, 0): -0.5, (0, 1): 0.5, (1, 0): -0.5, (1, 1): 0.5},
    "interaction": {(0, 0): 1.0, (0, 1): -1.0, (1, 0): -1.0, (1, 1): 1.0},
}


def is_factorial(table: pd.DataFrame) -> bool:
    """Whether the table holds exactly the four combinations of weight sharing and auxiliary loss."""
    cells = {(bool(s), a > 0) for s, a in table[["sharing", "auxiliary"]].drop_duplicates().itertuples(index=False)}
    return len(cells) == 4 and table.model.nunique() == 4


def contrasts(final: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Every round's own effects (columns: EFFECTS) from one row per model and round.

    A main effect is the mean gain over both settings of the other switch; the interaction is the gain of sharing with
    the auxiliary loss less the gain without it, so that it is zero where the two effects add up.
    """
    cells = final.assign(cell=[(int(s), int(a > 0)) for s, a in zip(final.sharing, final.auxiliary, strict=True)])
    values = cells.pivot(index="round", columns="cell", values=measure)
    return pd.DataFrame(
        {effect: sum(weight * values[cell] for cell, weight in weights.items()) for effect, weights in EFFECTS.items()}
    )


def effects(final: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The 2×2 effects, paired by round: one row per effect.

    Columns: `mean` and `half_width` of its 95 % t interval (units of the measure), `p` of a permutation test that
    changes the signs of the rounds' effects, `p_holm` corrected for the three effects tested, and `rounds`.
    """
    return tests(contrasts(final, measure))


def permutation_p(values) -> float:
    """Two-sided p that paired differences have mean 0, by changing their signs: all ways, or 9,999 random ones."""
    values = np.asarray(values, float)
    if len(values) < 2 or np.allclose(values, 0):
        return 1.0
    result = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def epochs_to_share(table: pd.DataFrame, share: float = 0.95, measure: str = "test_accuracy") -> pd.DataFrame:
    """How many epochs each run needs to reach `share` of its last epoch's measure, in a column `epochs_needed`."""
    final = last_epoch(table)
    reached = table.merge(final[["model", "round", measure]], on=["model", "round"], suffixes=("", "_final"))
    reached = reached[reached[measure] >= share * reached[f"{measure}_final"]]
    first = reached.groupby(["model", "round"]).epoch.min().rename("epochs_needed").reset_index()
    return final.merge(first, on=["model", "round"])


def in_points(mean: float, half_width: float, scale: float = 100, unit: str = "points", digits: int = 1) -> str:
    """An effect with its interval, e.g. "+2.4 ± 0.9 points"."""
    interval = "" if np.isnan(half_width) else f" ± {scale * half_width:.{digits}f}"
    return f"{scale * mean:+.{digits}f}{interval} {unit}".replace("-", "−")


def verdict(mean: float, half_width: float, p_holm: float) -> str:
    """What may be said of an effect: its interval and the corrected permutation test must agree that it is not zero."""
    if abs(mean) <= half_width or p_holm > 1 - CONFIDENCE or np.isnan(half_width):
        return "is not told apart from zero"
    return "helps" if mean > 0 else "harms"


def answer(table: pd.DataFrame, name: str) -> str:
    """The effects of one family on accuracy (of `effects`) as a sentence."""
    words = {
        row.effect: (in_points(row.mean, row.half_width), verdict(row.mean, row.half_width, row.p_holm))
        for row in table.itertuples()
    }
    (sharing, does), (auxiliary, does_too), (interaction, together) = words.values()
    if table.rounds.min() < FEWEST_ROUNDS:
        return (
            f"For {name}, {table.rounds.min()} rounds are too few to tell an effect from zero: weight sharing "
            f"{sharing}, the auxiliary loss {auxiliary}, interaction {interaction}."
        )
    combined = {
        "is not told apart from zero": "an interaction is not told apart from zero",
        "helps": "together they bring more than the sum of both",
        "harms": "together they bring less than the sum of both",
    }[together]
    return (
        f"For {name}, weight sharing {does} ({sharing}), the auxiliary loss {does_too} ({auxiliary}), "
        f"and {combined} ({interaction})."
    )


def answer_across(effects: dict[str, pd.DataFrame], names: dict[str, str]) -> list[str]:
    """Three sentences on several families' `effects` on accuracy: sharing, auxiliary loss, and whether they add up."""
    main = {"helps": "helps {}", "harms": "harms {}"}
    both = {"helps": "brings {} more than the sum of each", "harms": "brings {} less than the sum of each"}
    subjects = {
        "weight sharing": ("Weight sharing", main, "does nothing for {} that can be told from zero"),
        "auxiliary loss": ("The auxiliary loss", main, "does nothing for {} that can be told from zero"),
        "interaction": ("Using both", both, "brings {} the sum of each, as far as can be told"),
    }
    sentences = []
    for effect, (subject, verbs, otherwise) in subjects.items():
        parts: dict[str, list[str]] = {}
        for family, table in effects.items():
            row = table.set_index("effect").loc[effect]
            judged = verdict(row["mean"], row.half_width, row.p_holm)
            said = f"{names[family]} ({in_points(row['mean'], row.half_width)})"
            too_few = (
                f"cannot be judged, in {row['rounds']:.0f} rounds, for {{}}" if row["rounds"] < FEWEST_ROUNDS else ""
            )
            parts.setdefault(too_few or verbs.get(judged, otherwise), []).append(said)
        *said, last = [verb.format(_listed(who)) for verb, who in parts.items()]
        sentences.append(f"{subject} {', and '.join([', '.join(said), last] if said else [last])}.")
    return sentences


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


# ---------------------------------------------------------------------------------------------------------- calibration


def calibration(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Reliability of the answers' confidence, of `experiments.predictions`: one row per bin of equal width.

    Columns: `confidence` (mean probability of the answer given, 0.5 to 1), `accuracy` (share that is right), `pairs`.
    """
    confidence = np.maximum(predictions.probability, 1 - predictions.probability)
    place = pd.cut(confidence, np.linspace(0.5, 1, bins + 1), include_lowest=True)
    grouped = predictions.assign(confidence=confidence).groupby(place, observed=True)
    return grouped.agg(
        confidence=("confidence", "mean"), accuracy=("right", "mean"), pairs=("right", "size")
    ).reset_index(drop=True)


def expected_calibration_error(reliability: pd.DataFrame) -> float:
    """Mean gap of accuracy and confidence over the bins of `calibration`, weighted by pairs (Naeini et al., 2015)."""
    gaps = (reliability.accuracy - reliability.confidence).abs()
    return float((gaps * reliability.pairs).sum() / reliability.pairs.sum())


def rung_gains(final: pd.DataFrame, order: list[str], measure: str = "test_accuracy") -> pd.DataFrame:
    """Gain of every model in `order` over the one before it, paired by round."""
    values = by_round(final, measure)
    rows = []
    for before, after in pairwise(order):
        mean, half = mean_interval(values[after] - values[before])
        rows.append({"model": after, "gain": mean, "half_width": half, "rounds": len(values)})
    return pd.DataFrame(rows).round(6)


def differences(final: pd.DataFrame, pairs: dict[str, tuple[str, str]], measure: str = "test_accuracy") -> pd.DataFrame:
    """For each named pair of models the first less the second, round by round: one column a pair, one row a round."""
    values = by_round(final, measure)
    return pd.DataFrame({name: values[first] - values[second] for name, (first, second) in pairs.items()})


def tests(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Every column's mean, 95 % t interval and permutation test, p corrected over all columns by Holm's method."""
    rows = []
    for name, values in contrasts.items():
        mean, half = mean_interval(values)
        rows.append(
            {"effect": name, "mean": mean, "half_width": half, "p": permutation_p(values), "rounds": len(values)}
        )
    table = pd.DataFrame(rows)
    table.insert(4, "p_holm", multipletests(table.p, method="holm")[1])
    return table.round(6)


def frontier(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Accuracy against size: `model`, `parameters`, mean test `accuracy`, its `half_width`, `kind`."""
    rows = []
    for model, runs in last_epoch(table).groupby("model", sort=False):
        mean, half = mean_interval(runs.test_accuracy)
        rows.append({"model": model, "parameters": runs.parameters.iloc[0], "accuracy": mean, "half_width": half})
    return pd.DataFrame(rows).assign(kind=kind)
