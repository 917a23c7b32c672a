"""The reports' numbers beside ours. What the reports say is in data/reports.yaml, with the place where they say it."""

import numpy as np
import pandas as pd
import yaml

from helpers import statistics
from helpers.inputs import ROOT

READINGS = {  # how a number of Table I is to be read: (which epochs, suffix of the measure)
    "final": ("last", ""),
    "as theirs": ("all", "_training_mode"),
}
MEASURES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def reports() -> dict:
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text())


def table_one(table: pd.DataFrame) -> pd.DataFrame:
    """Table I in both readings: one row per model, reading and measure.

    Columns: `model`, `parameters`, `reading`, `measure`, `theirs`, `ours` (mean of the rounds), `half_width` (of its
    95 % t interval), `deviation` (standard deviation over the rounds) and `rounds`.
    """
    rows = []
    for model, runs in table.groupby("model", sort=False):
        theirs = reports()["first"]["table_1"][model]
        for reading, (epochs, suffix) in READINGS.items():
            for measure in MEASURES:
                values = per_round(runs, f"{measure}{suffix}", epochs)
                mean, half = statistics.mean_interval(values)
                rows.append(
                    {"model": model, "parameters": runs.parameters.iloc[0], "reading": reading, "measure": measure}
                    | {"theirs": theirs[measure], "ours": mean, "half_width": half}
                    | {"deviation": np.std(values, ddof=1) if len(values) > 1 else np.nan, "rounds": len(values)}
                )
    return pd.DataFrame(rows).round(6)


def per_round(runs: pd.DataFrame, measure: str, epochs: str) -> np.ndarray:
    """One value per round of one model's rows: the last epoch's or the mean of all epochs."""
    rounds = runs.sort_values("epoch").groupby("round")[measure]
    return (rounds.last() if epochs == "last" else rounds.mean()).to_numpy()


def readable_table_one(ours: pd.DataFrame) -> pd.DataFrame:
    """`table_one` for a reader: one row per measure and reading, one column per model."""
    counts = ours.groupby("model", sort=False).parameters.first()
    theirs = reports()["first"]["table_1"]
    rows = {
        ("parameters", "report"): {m: f"{theirs[m]['parameters']:,}" for m in counts.index},
        ("parameters", "ours"): {m: f"{count:,}" for m, count in counts.items()},
    }
    for measure in MEASURES:
        scale, unit, digits = (100, " (%)", 1) if "accuracy" in measure else (1, " (nats)", 3)
        name = measure.replace("_", " ") + unit
        part = ours[ours.measure == measure]
        rows[(name, "report")] = {r.model: f"{scale * r.theirs:.{digits}f}" for r in part.itertuples()}
        for reading in READINGS:
            rows[(name, f"ours, {reading}")] = {
                r.model: f"{scale * r.ours:.{digits}f} ± {scale * r.half_width:.{digits}f}"
                for r in part[part.reading == reading].itertuples()
            }
    return pd.DataFrame(rows).T


def fit_of_readings(ours: pd.DataFrame, measure: str) -> pd.Series:
    """Root mean square distance of the report's values from ours, over the models, for each reading."""
    part = ours[ours.measure == measure]
    return ((part.ours - part.theirs) ** 2).groupby(part.reading, sort=False).mean() ** 0.5


def table_two(models: dict) -> pd.DataFrame:
    """Table II beside the recipes in the architecture files."""
    theirs = reports()["first"]["table_2"]
    rows = {}
    for name in theirs["M1"]:
        rows[(name.replace("_", " "), "report")] = {m: f"{theirs[m][name]:g}" for m in theirs}
        rows[(name.replace("_", " "), "ours")] = {
            m: f"{models[m].recipe.settings['momentum'] if name == 'momentum' else getattr(models[m].recipe, name):g}"
            for m in theirs
        }
    return pd.DataFrame(rows).T


def agrees(theirs: float, half_width: float, ours: float) -> bool:
    """Whether a reported mean lies where another mean of as many rounds as ours would fall in 95 % of cases."""
    return abs(ours - theirs) <= 2**0.5 * half_width


def first_report_in_words(ours: pd.DataFrame) -> str:
    """What of the first report's Table I came out again; every number and verdict from `table_one`."""
    accuracy = {
        reading: rows.set_index("model") for reading, rows in ours[ours.measure == "test_accuracy"].groupby("reading")
    }
    final, nearer = accuracy["final"], accuracy[fit_of_readings(ours, "test_accuracy").idxmin()]
    counts = reports()["first"]["table_1"]
    same = [m for m in final.index if final.parameters[m] == counts[m]["parameters"]]
    inside = [m for m in nearer.index if agrees(nearer.theirs[m], nearer.half_width[m], nearer.ours[m])]
    gap = 100 * (final.ours - final.theirs)
    orders = [
        " < ".join(f"{m} ({100 * v:.1f})" for m, v in column.sort_values().items())
        for column in (final.theirs, final.ours)
    ]
    deviations, stated = final.deviation, [counts[m]["test_accuracy_std"] for m in final.index]
    return f"""
**Reproduced.** {len(same)} of {len(final)} parameter counts, exactly. Read as {
        nearer.reading.iloc[0] if nearer is final else "averages over the epochs with the network left in training mode"
    }, {len(inside)} of the {len(final)} test accuracies
({", ".join(inside) or "none"}) lie where another mean of {final.rounds.min()} rounds would fall with 95 % probability.

**Not reproduced.** As figures of trained networks, evaluated with dropout off, the report's test accuracies are
{gap.min():.1f} to {gap.max():.1f} percentage points below ours. Its order of the models, {
        orders[0]
    } %, is in our final figures
{orders[1]} %.

**Cannot be judged.** The "Std. Test Accuracy" of {min(stated):.4f} to {
        max(stated):.4f} is no standard deviation over rounds:
ours are {deviations.min():.4f} to {deviations.max():.4f}, and {
        (0.8 * 0.2 / 1000) ** 0.5:.4f} is what 1,000 test pairs alone give at an
accuracy of 80 %. The squares of ours, {(deviations**2).min():.4f} to {
        (deviations**2).max():.4f}, are of the report's size, so it
plausibly is a variance.
"""
