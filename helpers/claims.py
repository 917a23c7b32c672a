"""The reports' numbers beside ours. What the reports say is in data/reports.yaml, with the place where they say it."""

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache

import numpy as np
import pandas as pd
import yaml

from helpers import effects
from helpers.inputs import ROOT, InputError

READINGS = {  # how a number of Table I is to be read: (which epochs, suffix of the metric)
    "final": ("last", ""),
    "as theirs": ("all", "_training_mode"),
}
FAMILIES = {
    "convnet": "the first report's networks",
    "mlp": "the second report's fully connected one",
    "conv": "its convolutional one",
    "tuned": "the first report's networks when each is tuned alike",
}
METRICS = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
YES, NO, OPEN = "reproduced", "not reproduced", "cannot be judged"


@lru_cache
def reports() -> dict:
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text())


def stated(model: str) -> str:
    """The first report's average test accuracy of a model, or a dash where it has no such model."""
    row = reports()["first"]["table_1"].get(model)
    return f"{100 * row['test_accuracy']:.1f} %" if row else "–"


def family_effects(load: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The effects (of `effects.tested`) of all FAMILIES, the tuned one only where the same plan has tuned it.

    `load` takes the name of a table of results and raises InputError where there is none.
    """
    tables = {family: load(f"effects_{family}") for family in ("convnet", "mlp", "conv")}
    with suppress(InputError):
        tuned = load("effects_tuned")
        if set(tuned.plan) | set(tuned.source) == set(tables["convnet"].plan) | set(tables["convnet"].source):
            tables["tuned"] = tuned
    return tables


def m6_in_words(final: pd.DataFrame, gains: pd.DataFrame) -> str:
    """How far M6 goes beyond M5, and the largest step (of `effects.rung_gains`) on the way, as a sentence."""
    size = final.groupby("model").parameters.first()
    accuracy = effects.by_round(final, "test_accuracy")
    six, five = effects.share(accuracy.M6.dropna()), effects.share(accuracy.M5.dropna())
    step = gains.loc[gains.gain.idxmax()]
    return (
        f"Under the same rules M6, with {size['M6']:,} parameters, is right in {six} of the test pairs where M5 is "
        f"right in {five} ({effects.gain((accuracy.M6 - accuracy.M5).dropna())}); the largest step on the way, "
        f"“{step.model}”, brings {effects.Estimate(step.gain, step.half_width)}."
    )


def published_points() -> pd.DataFrame:
    """The quoted networks of others, in the form of `effects.frontier`."""
    others = reports()["others"]
    rows = [(name, row["parameters"], row["test_accuracy"], np.nan, "others") for name, row in others.items()]
    return pd.DataFrame(rows, columns=["model", "parameters", "accuracy", "half_width", "kind"])


# ---------------------------------------------------------------------------------------------------- Tables I and II


def table_one(table: pd.DataFrame) -> pd.DataFrame:
    """Table I in both readings: one row per model, reading and metric.

    Columns: `model`, `parameters`, `reading`, `measure`, `theirs`, `ours` (mean of the rounds), `half_width` (of its
    95 % t interval), `deviation` (standard deviation over the rounds) and `rounds`.
    """
    rows = []
    for model, runs in table.groupby("model", sort=False):
        theirs = reports()["first"]["table_1"][model]
        for reading, (epochs, suffix) in READINGS.items():
            for metric in METRICS:
                rounds = runs.sort_values("epoch").groupby("round")[f"{metric}{suffix}"]
                values = (rounds.last() if epochs == "last" else rounds.mean()).to_numpy()
                mean, half = effects.mean_interval(values)
                deviation = np.std(values, ddof=1) if len(values) > 1 else np.nan
                row = {"model": model, "parameters": runs.parameters.iloc[0], "reading": reading, "measure": metric}
                row |= {"theirs": theirs[metric], "ours": mean, "half_width": half, "deviation": deviation}
                rows.append(row | {"rounds": len(values)})
    return pd.DataFrame(rows).round(6)


def readable_table_one(ours: pd.DataFrame) -> pd.DataFrame:
    """`table_one` for a reader: one row per metric and reading, one column per model."""
    counts = ours.groupby("model", sort=False).parameters.first()
    theirs = reports()["first"]["table_1"]
    rows = {
        ("parameters", "report"): {m: f"{theirs[m]['parameters']:,}" for m in counts.index},
        ("parameters", "ours"): {m: f"{count:,}" for m, count in counts.items()},
    }
    for metric in METRICS:
        scale, unit, digits = (100, " (%)", 1) if "accuracy" in metric else (1, " (nats)", 3)
        part, name = ours[ours.measure == metric], metric.replace("_", " ") + unit
        rows[name, "report"] = {row.model: f"{scale * row.theirs:.{digits}f}" for row in part.itertuples()}
        for reading, cells in part.groupby("reading", sort=False):
            rows[name, f"ours, {reading}"] = {
                row.model: f"{scale * row.ours:.{digits}f} ± {scale * row.half_width:.{digits}f}"
                for row in cells.itertuples()
            }
    return pd.DataFrame(rows).T


def fit_of_readings(ours: pd.DataFrame, metric: str) -> pd.Series:
    """Root mean square distance of the report's values from ours, over the models, for each reading."""
    part = ours[ours.measure == metric]
    return ((part.ours - part.theirs) ** 2).groupby(part.reading, sort=False).mean() ** 0.5


def table_two(models: dict) -> pd.DataFrame:
    """Table II beside the recipes in the architecture files."""
    theirs, rows = reports()["first"]["table_2"], {}
    for name in theirs["M1"]:
        ours = {m: models[m].recipe.settings.get(name, getattr(models[m].recipe, name, None)) for m in theirs}
        rows[name.replace("_", " "), "report"] = {m: f"{theirs[m][name]:g}" for m in theirs}
        rows[name.replace("_", " "), "ours"] = {m: f"{value:g}" for m, value in ours.items()}
    return pd.DataFrame(rows).T


# ------------------------------------------------------------------------------------------------------------ claims


def _claim(report: str, where: str, claim: str, ours, verdict: str) -> dict:
    return {"report": report, "where": where, "claim": claim, "ours": str(ours), "verdict": verdict}


def agrees(theirs: float, half_width: float, ours: float) -> bool:
    """Whether a reported mean lies where another mean of as many rounds as ours would fall in 95 % of cases."""
    return abs(ours - theirs) <= 2**0.5 * half_width


def binomial_error(share: float, pairs: int = 1000) -> float:
    """The standard error that a share of this size has on so many test pairs."""
    return (share * (1 - share) / pairs) ** 0.5


def number_claims(ours: pd.DataFrame) -> list[dict]:
    """Every number of Table I against the reading of ours that is nearer to its test accuracies."""
    nearest = fit_of_readings(ours, "test_accuracy").idxmin()
    judged = []
    for model, rows in ours.groupby("model", sort=False):
        theirs = reports()["first"]["table_1"][model]
        count = int(rows.parameters.iloc[0])
        same = YES if count == theirs["parameters"] else NO
        judged.append(
            _claim("first", "Table I", f"{model} has {theirs['parameters']:,} parameters", f"{count:,}", same)
        )
        for row in rows[rows.reading == nearest].itertuples():
            percent = "accuracy" in row.measure
            scale, form, unit = (100, "{:.1f}", " %") if percent else (1, "{:.3f}", "")
            found = effects.Estimate(row.ours, row.half_width, form, unit, scale)
            claim = f"{model}: {row.measure.replace('_', ' ')} {form.format(scale * row.theirs)}{unit}"
            verdict = YES if agrees(row.theirs, row.half_width, row.ours) else NO
            judged.append(_claim("first", "Table I", claim, f"{found} ({nearest})", verdict))
        spread = rows[(rows.reading == nearest) & (rows.measure == "test_accuracy")].deviation.item()
        found = (
            f"standard deviation {spread:.4f}, variance {spread**2:.6f}; 1,000 pairs alone give "
            f"{binomial_error(theirs['test_accuracy']):.4f}"
        )
        claim = f"{model}: Std. of the test accuracy {theirs['test_accuracy_std']:.6f}"
        judged.append(_claim("first", "Table I", claim, found, OPEN))
    return judged


def effect_claims(accuracy: dict, epochs: dict, finals: dict) -> list[dict]:
    """The claims in words, judged by each family's effects (of `effects.tested`) on accuracy and on epochs needed."""
    judged = []
    for said in reports()["claims"]:
        tables, scale, unit = (accuracy, 100, " points") if said["metric"] == "accuracy" else (epochs, 1, " epochs")
        for family in said["families"]:
            found = effects.estimates(tables[family], unit, scale)[said["effect"]]
            verdict = OPEN if found.sign == 0 else YES if found.sign == said["sign"] else NO
            judged.append(_claim(said["report"], said["where"], f"{family}: {said['claim']}", found, verdict))
    promised = reports()["second"]["sharing_gain"]
    for family in ("mlp", "conv"):
        found = effects.estimates(accuracy[family])["weight sharing"]
        verdict = YES if agrees(promised, found.half_width, found.mean) else NO
        claim = f"{family}: sharing gains almost {100 * promised:.0f} %"
        judged.append(_claim("second", "section 3.2", claim, found, verdict))
    means = finals["convnet"].groupby("model").test_accuracy.mean()
    found = ", ".join(f"{model} {100 * mean:.1f} %" for model, mean in means.items())
    best = "convnet: M4 is the best of M1 to M4 (its own table has M2 ahead)"
    return [*judged, _claim("first", "section V", best, found, YES if means.idxmax() == "M4" else NO)]


def rate_claims(chosen: dict[str, pd.DataFrame]) -> list[dict]:
    """The second report's learning rate against the one chosen on validation splits, for each family."""
    judged = []
    for family, table in chosen.items():
        ours, theirs = float(table.chosen.iloc[0]), reports()["second"]["learning_rate"]
        near = YES if max(ours, theirs) / min(ours, theirs) <= 2 else NO
        claim = f"{family}: the best learning rate is {theirs:g}"
        judged.append(_claim("second", "section 3.1", claim, f"{ours:g}, chosen on validation pairs", near))
    return judged
