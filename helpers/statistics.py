"""Intervals for few runs. Everything is paired by round: the same pairs and seed in every cell of a comparison."""

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


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
