"""Statistics for few rounds. Everything is paired by round: the same pairs and seed in every cell of a comparison.

A metric of a table is a column of `experiments.run_rounds`, e.g. `test_accuracy` (share of 1) or `test_loss` (nats).
"""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

CONFIDENCE = 0.95
FEWEST_ROUNDS = 7  # the two most extreme of 2**7 sign flips, times three for Holm's method, are below 5 %
EFFECTS = {  # weights of the cells (sharing, auxiliary loss): what the effect is of one round's four values
    "weight sharing": {(0, 0): -0.5, (0, 1): -0.5, (1, 0): 0.5, (1, 1): 0.5},
    "auxiliary loss": {(0, 0): -0.5, (0, 1): 0.5, (1, 0): -0.5, (1, 1): 0.5},
    "interaction": {(0, 0): 1.0, (0, 1): -1.0, (1, 0): -1.0, (1, 1): 1.0},
}


# -------------------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate:
    """The mean over rounds with the half-width of Student's 95 % t interval, which is NaN for a single round.

    In a sentence it reads "+2.4 ± 0.9 points" (`gain`), "84.5 ± 0.9 %" (`share`) or as its format says.
    """

    mean: float
    half_width: float
    form: str = "{:+.1f}"
    unit: str = " points"
    scale: float = 100
    p: float = float("nan")  # of a sign-flip permutation test, corrected for all effects tested together
    rounds: int = 0

    def __str__(self) -> str:
        mean = self.form.format(self.scale * self.mean)
        half = self.form.replace("+", "").format(self.scale * self.half_width)
        interval = "" if np.isnan(self.half_width) else f" ± {half}"
        return f"{mean}{interval}{self.unit}".replace("-", "−")

    @property
    def sign(self) -> int:
        """1 or −1 where the interval and the corrected test both leave zero out, else 0."""
        clear = abs(self.mean) > self.half_width and not self.p > 1 - CONFIDENCE
        return int(np.sign(self.mean)) if clear else 0


def mean_interval(values) -> tuple[float, float]:
    """Mean and half-width of Student's 95 % t interval of it; the half-width is NaN for a single value."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))


def gain(values, digits: int = 1) -> Estimate:
    """Differences of shares of 1, one a round, as an estimate in percentage points."""
    return Estimate(*mean_interval(values), form=f"{{:+.{digits}f}}", rounds=len(values))


def share(values, digits: int = 1) -> Estimate:
    """Shares of 1, one a round, as an estimate in percent."""
    return Estimate(*mean_interval(values), form=f"{{:.{digits}f}}", unit=" %", rounds=len(values))


# ------------------------------------------------------------------------------------------------- tables of rounds


def last_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last epoch."""
    return table[table.epoch == table.groupby(["model", "round"]).epoch.transform("max")]


def by_round(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One column per model (in the table's order), one row per round."""
    return table.pivot(index="round", columns="model", values=metric)[list(dict.fromkeys(table.model))]


def best_validation(table: pd.DataFrame, parameter: str):
    """The value of `parameter` whose runs end with the highest mean validation accuracy; of equals the lowest loss."""
    ends = last_epoch(table).groupby(parameter)[["validation_accuracy", "validation_loss"]].mean()
    return ends.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True]).index[0]


def epochs_to_share(table: pd.DataFrame, share: float = 0.95, metric: str = "test_accuracy") -> pd.DataFrame:
    """How many epochs each run needs to reach `share` of its last epoch's metric, in a column `epochs_needed`."""
    final = last_epoch(table)
    reached = table.merge(final[["model", "round", metric]], on=["model", "round"], suffixes=("", "_final"))
    reached = reached[reached[metric] >= share * reached[f"{metric}_final"]]
    first = reached.groupby(["model", "round"]).epoch.min().rename("epochs_needed").reset_index()
    return final.merge(first, on=["model", "round"])


def frontier(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Accuracy against size: `model`, `parameters`, mean test `accuracy`, its `half_width`, `kind`."""
    rows = []
    for model, runs in last_epoch(table).groupby("model", sort=False):
        mean, half = mean_interval(runs.test_accuracy)
        rows.append({"model": model, "parameters": runs.parameters.iloc[0], "accuracy": mean, "half_width": half})
    return pd.DataFrame(rows).assign(kind=kind)


# ------------------------------------------------------------------------------------------------------ comparisons


def is_factorial(table: pd.DataFrame) -> bool:
    """Whether the table holds exactly the four combinations of weight sharing and auxiliary loss."""
    cells = {(bool(s), a > 0) for s, a in table[["sharing", "auxiliary"]].drop_duplicates().itertuples(index=False)}
    return len(cells) == 4 and table.model.nunique() == 4


def contrasts(final: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Every round's own effects (columns: EFFECTS) from one row per model and round.

    A main effect is the mean gain over both settings of the other switch; the interaction is the gain of sharing with
    the auxiliary loss less the gain without it, so that it is zero where the two effects add up.
    """
    cells = final.assign(cell=[(int(s), int(a > 0)) for s, a in zip(final.sharing, final.auxiliary, strict=True)])
    values = cells.pivot(index="round", columns="cell", values=metric)
    weighted = {name: [w * values[cell] for cell, w in weights.items()] for name, weights in EFFECTS.items()}
    return pd.DataFrame({name: sum(parts) for name, parts in weighted.items()})


def differences(final: pd.DataFrame, pairs: dict[str, tuple[str, str]], metric: str = "test_accuracy") -> pd.DataFrame:
    """For each named pair of models the first less the second, round by round: one column a pair, one row a round."""
    values = by_round(final, metric)
    return pd.DataFrame({name: values[first] - values[second] for name, (first, second) in pairs.items()})


def rung_gains(final: pd.DataFrame, order: list[str], metric: str = "test_accuracy") -> pd.DataFrame:
    """Gain of every model in `order` over the one before it: `model`, `gain`, `half_width`, `rounds`."""
    steps = differences(final, {after: (after, before) for before, after in pairwise(order)}, metric)
    rows = [(model, *mean_interval(values), len(values)) for model, values in steps.items()]
    return pd.DataFrame(rows, columns=["model", "gain", "half_width", "rounds"]).round(6)


def pairs_of_models(final: pd.DataFrame) -> pd.DataFrame:
    """All differences in test accuracy between two models, tested together.

    The columns of `tested`, with `first` and `second` (the models) instead of `effect`, and `ahead`: the better
    of them where the two are told apart, else "".
    """
    accuracy = by_round(final, "test_accuracy")
    pairs = list(combinations(accuracy, 2))
    table = tested(pd.DataFrame({i: accuracy[a] - accuracy[b] for i, (a, b) in enumerate(pairs)}))
    table["first"], table["second"] = zip(*pairs, strict=True)
    signs = [estimate_of(row).sign for _, row in table.iterrows()]
    ahead = [{1: a, -1: b, 0: ""}[sign] for (a, b), sign in zip(pairs, signs, strict=True)]
    return table.assign(ahead=ahead).drop(columns="effect")


def tested(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Every column's mean, 95 % t interval and sign-flip permutation test, one row per column.

    Columns: `effect`, `mean` and `half_width` of its interval (units of the metric), `p`, `p_holm` corrected over all
    columns by Holm's method, and `rounds`.
    """
    rows = [(name, *mean_interval(x), permutation_p(x), len(x)) for name, x in contrasts.items()]
    table = pd.DataFrame(rows, columns=["effect", "mean", "half_width", "p", "rounds"])
    table.insert(4, "p_holm", multipletests(table.p, method="holm")[1])
    return table.round(6)


def permutation_p(values) -> float:
    """Two-sided p that paired differences have mean 0, by flipping their signs: all ways, or 9,999 random ones."""
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


def estimate_of(row, unit: str = " points", scale: float = 100) -> Estimate:
    """One row of `tested` as an estimate."""
    return Estimate(row["mean"], row["half_width"], unit=unit, scale=scale, p=row["p_holm"], rounds=int(row["rounds"]))


def estimates(table: pd.DataFrame, unit: str = " points", scale: float = 100) -> dict[str, Estimate]:
    """A table of `tested` as estimates by effect."""
    return {row["effect"]: estimate_of(row, unit, scale) for _, row in table.iterrows()}


def answer(effects: dict[str, pd.DataFrame], names: dict[str, str]) -> list[str]:
    """Three sentences on the effects of families of networks: sharing, auxiliary loss, and whether they add up.

    `effects` has each family's table of `tested` on accuracy, `names` what a sentence calls the family.
    """
    nothing = "does nothing for {} that can be told from zero"
    words = {
        "weight sharing": ("Weight sharing", {1: "helps {}", -1: "harms {}", 0: nothing}),
        "auxiliary loss": ("The auxiliary loss", {1: "helps {}", -1: "harms {}", 0: nothing}),
        "interaction": (
            "Using both",
            {1: "brings {} more than the sum of each", -1: "brings {} less than the sum of each"}
            | {0: "brings {} the sum of each, as far as can be told"},
        ),
    }
    sentences = []
    for effect, (subject, verbs) in words.items():
        parts: dict[str, list[str]] = {}
        for family, table in effects.items():
            found = estimates(table)[effect]
            too_few = f"cannot be judged, in {found.rounds} rounds, for {{}}"
            verb = too_few if found.rounds < FEWEST_ROUNDS else verbs[found.sign]
            parts.setdefault(verb, []).append(f"{names[family]} ({found})")
        said = listed([verb.format(listed(of)) for verb, of in parts.items()], clauses=True)
        sentences.append(f"{subject} {said}.")
    return sentences


def listed(items, clauses: bool = False) -> str:
    """Words as a list in a sentence: "a", "a and b", "a, b and c"; whole clauses want a comma before the "and"."""
    *most, last = items
    return f"{', '.join(most)}{',' if clauses else ''} and {last}" if most else last


# ------------------------------------------------------------------------------------------------------ calibration


def calibration(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Reliability of the answers' confidence, of `experiments.predictions`: one row per bin of equal width.

    Columns: `confidence` (mean probability of the answer given, 0.5 to 1), `accuracy` (share that is right), `pairs`.
    """
    confidence = np.maximum(predictions.probability, 1 - predictions.probability)
    place = pd.cut(confidence, np.linspace(0.5, 1, bins + 1), include_lowest=True)
    grouped = predictions.assign(confidence=confidence).groupby(place, observed=True)
    means = {"confidence": ("confidence", "mean"), "accuracy": ("right", "mean"), "pairs": ("right", "size")}
    return grouped.agg(**means).reset_index(drop=True)


def expected_calibration_error(reliability: pd.DataFrame) -> float:
    """Mean gap of accuracy and confidence over the bins of `calibration`, weighted by pairs (Naeini et al., 2015)."""
    gaps = (reliability.accuracy - reliability.confidence).abs()
    return float((gaps * reliability.pairs).sum() / reliability.pairs.sum())
