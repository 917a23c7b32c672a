"""Statistics for few rounds. Everything is paired by round: the same pairs and seed in every cell of a comparison.

Hypotheses and claims are judged by rules, see `judge`.

A metric of a table is a column of `experiments.run_rounds`, e.g. `test_accuracy` (share of 1) or `test_loss` (nats).
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import pandas as pd
import scipy.stats
import yaml

from helpers.inputs import ROOT, InputError
from helpers.training import LAST_EPOCHS

CONFIDENCE = 0.95
FEWEST_ROUNDS = 5  # with fewer nothing is tested, and no interval is shown
EFFECTS = ("weight sharing", "auxiliary loss", "interaction")


# -------------------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate:
    """The mean over rounds with the half-width of Student's t interval, NaN where the rounds are too few for one.

    In a sentence it reads "+2.4 ± 0.9 points" (`as_points`), "84.5 ± 0.9 %" (`as_percent`) or as its format says; where
    a run has diverged it is no number.
    """

    mean: float
    half_width: float
    form: str = "{:+.1f}"
    unit: str = " points"
    scale: float = 100

    def __str__(self) -> str:
        if np.isnan(self.mean):
            return "no number (a run diverged)"
        mean = self.form.format(self.scale * self.mean)
        half = self.form.replace("+", "").format(self.scale * self.half_width)
        interval = "" if np.isnan(self.half_width) else f" ± {half}"
        return f"{mean}{interval}{self.unit}".replace("-", "−")

    @property
    def bare(self) -> str:
        """Without its unit, for a table that names it."""
        return str(self).removesuffix(self.unit)

    @property
    def size(self) -> str:
        """Without its sign, for a sentence whose verb says it: "trails by 2.4 ± 0.9 points"."""
        return str(replace(self, mean=abs(self.mean), form=self.form.replace("+", "")))

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def sign(self) -> int:
        """1 or −1 where the interval leaves zero out, else 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def clear(self) -> bool | None:
        """Whether the interval leaves zero out; None of too few rounds for one."""
        return None if np.isnan(self.half_width) else self.sign != 0

    def within(self, margin: float) -> bool:
        """Whether the interval lies between minus and plus `margin`, which two one-sided tests would say as well."""
        return -margin < self.low and self.high < margin


def mean_interval(values, comparisons: int = 1) -> tuple[float, float]:
    """Of values [rounds] mean and half-width of Student's t interval: 95 % for all `comparisons` together (Bonferroni).

    The half-width is NaN for fewer than FEWEST_ROUNDS values.
    """
    values = np.asarray(values, float)
    if len(values) < FEWEST_ROUNDS:
        return float(values.mean()), float("nan")
    quantile = scipy.stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, len(values) - 1)
    return float(values.mean()), float(quantile * scipy.stats.sem(values))


def as_points(values, digits: int = 1, comparisons: int = 1) -> Estimate:
    """Differences of shares of 1, one a round, as an estimate in percentage points."""
    return Estimate(*mean_interval(values, comparisons), form=f"{{:+.{digits}f}}")


def as_percent(values, digits: int = 1) -> Estimate:
    """Shares of 1, one a round, as an estimate in percent."""
    return Estimate(*mean_interval(values), form=f"{{:.{digits}f}}", unit=" %")


def endpoint(epochs: int, count: int = LAST_EPOCHS) -> str:
    """What a run's last measures are averaged over, in words: the last five epochs, if there are as many."""
    words = ("epoch", "two epochs", "three epochs", "four epochs", "five epochs")
    return f"the last {words[min(epochs, count) - 1]}"


def over(rounds: int) -> str:
    """What is shown of so many rounds, in words."""
    if rounds == 1:
        return "the one round"
    return f"mean and 95 % interval of {rounds} rounds" if rounds >= FEWEST_ROUNDS else f"mean of {rounds} rounds"


# ------------------------------------------------------------------------------------------------- tables of rounds


def last_epochs(table: pd.DataFrame, count: int = LAST_EPOCHS) -> pd.DataFrame:
    """The study's endpoint: each run's last row, with its measures averaged over the last `count` epochs."""
    keys = [key for key in ("model", "round", "fold", "start") if key in table]
    ends = table.groupby(keys).epoch.transform("max")
    measures = [name for name in table if name.startswith(("train_", "test_", "validation_"))]
    means = mean_of(table[table.epoch > ends - count].groupby(keys, sort=False)[measures])
    return table[table.epoch == ends].drop(columns=measures).merge(means.reset_index(), on=keys)


def mean_of(groups) -> pd.DataFrame:
    """The means of grouped columns; of a group with one value that is no number, of a diverged run, there is none."""
    return groups.mean().where(groups.count().eq(groups.size(), axis=0))


def diverged(table: pd.DataFrame) -> str:
    """A sentence on the runs that diverged, by model; empty where there are none."""
    lost = table.loc[table.test_accuracy.isna()].drop_duplicates("run").groupby("model", sort=False).run.count()
    if not len(lost):
        return ""
    models = ", ".join(f"{model} ({count})" for model, count in lost.items())
    return f"Of {table.run.nunique()} runs {lost.sum()} diverged. They have no accuracy, which is no answer: {models}."


def by_round(table: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """One column per model (in the table's order), one row per round."""
    return table.pivot(index="round", columns="model", values=metric).loc[:, list(dict.fromkeys(table.model))]


def best(values: pd.DataFrame) -> Hashable:
    """The column with the highest mean over its rows, one a round. A column with a diverged run wins nothing.

    Raises InputError where all have one.
    """
    means = values.mean(skipna=False)
    if means.isna().all():
        raise InputError(f"{', '.join(map(str, values.columns))}: all have a run that diverged, so none is the best.")
    return means.idxmax()


def epochs_to_worst(table: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """Epochs each run needs to reach the metric with which its round's worst model ends, in a column `epochs_needed`.

    A yardstick common to all models of a round: a share of a run's own end would punish the better network.
    """
    final, keys = last_epochs(table), ["model", "round"]
    goal = table.loc[:, "round"].map(final.groupby("round")[metric].min())
    first = table[table[metric] >= goal].groupby(keys).epoch.min().rename("epochs_needed").reset_index()
    return final.merge(first, on=keys, how="left").fillna({"epochs_needed": final.epoch.max()})


# ------------------------------------------------------------------------------------------------------ comparisons


def contrasts(final: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """Every round's own effects (columns: EFFECTS) from one row per model and round of the four.

    A main effect is the mean gain over both settings of the other switch; the interaction is the gain of sharing with
    the auxiliary loss minus the gain without it, so that it is zero where the two effects add up.
    """
    cells = final.assign(cell=2 * final.sharing.astype(int) + (final.auxiliary > 0))
    values = cells.pivot(index="round", columns="cell", values=metric)
    neither, auxiliary, sharing, both = (values[cell] for cell in range(4))
    found = {
        "weight sharing": (-neither - auxiliary + sharing + both) / 2,
        "auxiliary loss": (-neither + auxiliary - sharing + both) / 2,
        "interaction": neither - auxiliary - sharing + both,
    }
    return pd.DataFrame(found).loc[:, list(EFFECTS)]


# --------------------------------------------------------------------------------------------------------- verdicts


class Verdict(Enum):
    YES = "yes"
    NO = "no"
    OPEN = "open"


YES, NO, OPEN = Verdict
OF_HYPOTHESES = {YES: "confirmed", NO: "refuted", OPEN: "undecided"}
OF_CLAIMS = {YES: "reproduced", NO: "not reproduced", OPEN: "undecided"}


def reports() -> dict:
    """data/reports.yaml: the two reports' numbers and claims, each with its place."""
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text(encoding="utf-8"))


def hypotheses() -> dict:
    """data/preregistration.yaml: what was registered before the published runs."""
    return yaml.safe_load((ROOT / "data" / "preregistration.yaml").read_text(encoding="utf-8"))


def judge(values, rule: dict, comparisons: int = 1) -> Verdict:
    """YES, NO or OPEN: a rule on the mean of `values`, one a round, with the interval of `mean_interval`.

    A rule is a mapping with one of
    - `above: x` or `below: x`: yes where the interval lies beyond x, no where it lies on the other side,
    - `equals: x, within: m`: yes where the interval lies within m of x (an equivalence test: two one-sided tests), no
      where it lies outside. `within: m` alone means `equals: 0`.
    Everything else is undecided, so that a noisier run never makes a yes or a no easier.
    """
    goal, margin = rule.get("equals", 0.0), rule.get("within", np.inf)
    least, most = rule.get("above", goal - margin), rule.get("below", goal + margin)
    mean, half = mean_interval(values, comparisons)  # half is NaN, and so nothing below holds, of too few rounds
    if least < mean - half and mean + half < most:
        return YES
    return NO if mean + half < least or most < mean - half else OPEN


def found(values, rule: dict, unit: str, digits: int = 1, comparisons: int = 1) -> tuple[str, Verdict]:
    """What was found (mean and interval of `values`, one a round) in words, and the verdict; "not run" without values.

    `unit`: points or percent, of shares of 1 (percent with so many `digits`), or any other, of numbers as they are.
    """
    if not len(values):
        return "not run", OPEN
    look = {"points": ("{:+.1f}", " points", 100), "percent": (f"{{:.{digits}f}}", " %", 100)}
    estimate = Estimate(*mean_interval(values, comparisons), *look.get(unit, ("{:.3g}", f" {unit}", 1)))
    return str(estimate), judge(values, rule, comparisons)
