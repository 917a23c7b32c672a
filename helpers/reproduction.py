"""The reports' numbers beside ours. What the reports say is in data/reports.yaml, with the place where they say it."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pandas as pd
import yaml

from helpers import output, statistics
from helpers.inputs import ROOT, InputError

READINGS = {  # how a number of Table I is to be read: (which epochs, suffix of the measure)
    "final": ("last", ""),
    "as theirs": ("all", "_training_mode"),
}
FAMILIES = {
    "convnet": "the first report's networks",
    "mlp": "the second report's fully connected one",
    "conv": "its convolutional one",
    "tuned": "the first report's networks when each is tuned alike",
}
MEASURES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


def reports() -> dict:
    return yaml.safe_load((ROOT / "data" / "reports.yaml").read_text())


def stated(model: str) -> str:
    """The first report's average test accuracy of a model, or a dash where it has no such model."""
    row = reports()["first"]["table_1"].get(model)
    return f"{100 * row['test_accuracy']:.1f} %" if row else "–"


def effects(load: Callable[[str], pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The effects (of `statistics.effects`) of all FAMILIES, the tuned one only where the same plan has tuned it.

    `load` takes the name of a table of results and raises InputError where there is none.
    """
    tables = {family: load(f"effects_{family}") for family in ("convnet", "mlp", "conv")}
    with suppress(InputError):
        tuned = load("effects_tuned")
        if output.provenance(tuned) == output.provenance(tables["convnet"]):
            tables["tuned"] = tuned
    return tables


def second_families(setting) -> list[str]:
    """The second report's families whose learning-rate scan has been run."""
    folder = ROOT / setting.output / "data" / "results"
    return [family for family in ("mlp", "conv") if (folder / f"learning_rate_{family}_chosen.csv").is_file()]


def beyond(accuracy: pd.DataFrame, final: pd.DataFrame, gains: pd.DataFrame) -> str:
    """How far M6 goes beyond M5, and the largest step (of `statistics.rung_gains`) on the way, as a sentence."""
    size = final.groupby("model").parameters.first()
    gain = statistics.in_points(*statistics.mean_interval((accuracy.M6 - accuracy.M5).dropna()))
    six, five = (statistics.percent(accuracy[model].dropna()) for model in ("M6", "M5"))
    step = gains.loc[gains.gain.idxmax()]
    return (
        f"Under the same rules M6, with {size['M6']:,} parameters, is right in {six} of the test pairs where M5 is "
        f"right in {five} ({gain}); the largest step on the way, “{step.model}”, brings "
        f"{statistics.in_points(step.gain, step.half_width)}."
    )


def published_points() -> pd.DataFrame:
    """The quoted networks of others, in the form of `statistics.frontier`."""
    return pd.DataFrame(
        [
            {"model": name, "parameters": row["parameters"], "accuracy": row["test_accuracy"], "half_width": np.nan}
            for name, row in reports()["others"].items()
        ]
    ).assign(kind="others")


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


# ------------------------------------------------------------------------------------------------------------ claims

YES, NO, OPEN = "reproduced", "not reproduced", "cannot be judged"


def _claim(report: str, where: str, claim: str, ours: str, verdict: str) -> dict:
    return {"report": report, "where": where, "claim": claim, "ours": ours, "verdict": verdict}


def number_claims(ours: pd.DataFrame) -> list[dict]:
    """Every number of Table I against the reading of ours that is nearer to its test accuracies."""
    stated = reports()["first"]["table_1"]
    nearest = fit_of_readings(ours, "test_accuracy").idxmin()
    claims = []
    for model, rows in ours.groupby("model", sort=False):
        count, theirs = int(rows.parameters.iloc[0]), stated[model]["parameters"]
        claims.append(
            _claim(
                "first", "Table I", f"{model} has {theirs:,} parameters", f"{count:,}", YES if count == theirs else NO
            )
        )
        for row in rows[rows.reading == nearest].itertuples():
            percent = "accuracy" in row.measure
            scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
            claims.append(
                _claim(
                    "first", "Table I",
                    f"{model}: {row.measure.replace('_', ' ')} {scale * row.theirs:.{digits}f}{unit}",
                    f"{scale * row.ours:.{digits}f} ± {scale * row.half_width:.{digits}f}{unit} ({nearest})",
                    YES if agrees(row.theirs, row.half_width, row.ours) else NO,
                )
            )  # fmt: skip
        spread = rows[(rows.reading == nearest) & (rows.measure == "test_accuracy")].deviation.item()
        claims.append(
            _claim(
                "first", "Table I", f"{model}: Std. of the test accuracy {stated[model]['test_accuracy_std']:.6f}",
                f"standard deviation {spread:.4f}, variance {spread**2:.6f}; 1,000 pairs alone give "
                f"{(theirs_binomial(stated[model]['test_accuracy'])):.4f}", OPEN,
            )
        )  # fmt: skip
    return claims


def theirs_binomial(accuracy: float, pairs: int = 1000) -> float:
    """The standard error that a share of this size has on so many test pairs."""
    return (accuracy * (1 - accuracy) / pairs) ** 0.5


BOTH = ("mlp", "conv")
WORDED = [  # (report, place, claim, families, effect on, effect, its sign; 0: the effects add up)
    ("first", "section IV.1", "weight sharing raises accuracy", ("convnet",), "accuracy", "weight sharing", 1),
    ("first", "section IV.2", "the auxiliary loss raises accuracy", ("convnet",), "accuracy", "auxiliary loss", 1),
    ("first", "section V", "the two effects add up", ("convnet",), "accuracy", "interaction", 0),
    ("second", "section 4", "weight sharing improves accuracy", BOTH, "accuracy", "weight sharing", 1),
    ("second", "section 4", "weight sharing shortens training", BOTH, "epochs", "weight sharing", -1),
    ("second", "section 4", "the auxiliary loss improves accuracy", BOTH, "accuracy", "auxiliary loss", 1),
    ("second", "section 4", "the auxiliary loss lengthens training", BOTH, "epochs", "auxiliary loss", 1),
    ("second", "section 4", "both together bring less than their sum", BOTH, "accuracy", "interaction", -1),
]


def effect_claims(effects: dict, epochs: dict, finals: dict) -> list[dict]:
    """The claims in words, judged by each family's effects (of `statistics.tests`) on accuracy and on epochs needed."""
    claims = []
    for report, where, claim, families, measure, effect, sign in WORDED:
        tables, scale, unit = (effects, 100, "points") if measure == "accuracy" else (epochs, 1, "epochs")
        for family in families:
            row = tables[family].set_index("effect").loc[effect]
            found = {"helps": 1, "harms": -1}.get(statistics.verdict(row["mean"], row.half_width, row.p_holm))
            judged = OPEN if found is None else YES if found == sign else NO
            said = statistics.in_points(row["mean"], row.half_width, scale, unit)
            claims.append(_claim(report, where, f"{family}: {claim}", said, judged))
    promised = reports()["second"]["sharing_gain"]
    for family in BOTH:
        row = effects[family].set_index("effect").loc["weight sharing"]
        judged = YES if agrees(promised, row.half_width, row["mean"]) else NO
        said = statistics.in_points(row["mean"], row.half_width)
        claims.append(
            _claim("second", "section 3.2", f"{family}: sharing gains almost {100 * promised:.0f} %", said, judged)
        )
    means = finals["convnet"].groupby("model").test_accuracy.mean()
    said = ", ".join(f"{model} {100 * mean:.1f} %" for model, mean in means.items())
    best = "convnet: M4 is the best of M1 to M4 (its own table has M2 ahead)"
    claims.append(_claim("first", "section V", best, said, YES if means.idxmax() == "M4" else NO))
    return claims


def rate_claims(chosen: dict[str, pd.DataFrame]) -> list[dict]:
    """The second report's learning rate against the one chosen on validation splits, for each family."""
    claims = []
    for family, table in chosen.items():
        ours, theirs = float(table.chosen.iloc[0]), reports()["second"]["learning_rate"]
        claims.append(
            _claim(
                "second",
                "section 3.1",
                f"{family}: the best learning rate is {theirs:g}",
                f"{ours:g}, chosen on validation pairs",
                YES if max(ours, theirs) / min(ours, theirs) <= 2 else NO,
            )
        )
    return claims


def contradictions() -> pd.DataFrame:
    """Where the two reports differ from each other or from themselves."""
    first, second = reports()["first"], reports()["second"]
    table, text = first["table_1"], first["text"]
    ahead = max(("M1", "M2", "M3", "M4"), key=lambda m: table[m]["test_accuracy"])
    tests = f"M2 {table['M2']['test_accuracy']}, M4 {table['M4']['test_accuracy']}"
    counts = [f"{number:,}" for number in (text["M5_parameters"], table["M5"]["parameters"])]
    rows = [
        (
            "M1's test loss",
            f"{text['M1_test_loss']} (first report, section III.1)",
            f"{table['M1']['test_loss']} (Table I)",
        ),
        ("M5's parameters", f"{counts[0]} (first report, section V)", f"{counts[1]} (its Table I)"),
        ("the best of M1 to M4", "M4 (first report, section V)", f"{ahead} (its Table I: {tests})"),
        ("the label", "first ≤ second (first report)", "first < second (second report)"),
        ("sharing and auxiliary loss", "add up (first report)", second["together"] + " (second report)"),
        (
            "max pooling",
            "over non-overlapping blocks (first report, section II)",
            "the parameter counts ask for a stride of 1",
        ),
        (
            "Figure 4 of the second report",
            "its caption names 1 hidden layer of 600 perceptrons",
            "its text and axes show the convolutional network",
        ),
    ]
    return pd.DataFrame(rows, columns=["on", "one place says", "another says"])


def first_report_in_words(claims: pd.DataFrame, ours: pd.DataFrame) -> str:
    """What of Table I came out again, counted from `number_claims`, and how far apart the rest is."""
    table = claims[(claims.report == "first") & (claims["where"] == "Table I")]
    counts = table[table.claim.str.contains("parameters")].verdict.eq(YES)
    numbers = table[~table.claim.str.contains("parameters|Std")].verdict.eq(YES)
    fit = fit_of_readings(ours, "test_accuracy")
    final = ours[(ours.measure == "test_accuracy") & (ours.reading == "final")].set_index("model")
    gap = 100 * (final.ours - final.theirs)
    orders = [
        " < ".join(f"{m} ({100 * v:.1f})" for m, v in column.sort_values().items())
        for column in (final.theirs, final.ours)
    ]
    stated = [row["test_accuracy_std"] for row in reports()["first"]["table_1"].values()]
    spread = final.deviation
    missed = len(numbers) - numbers.sum()
    side = "below" if (gap > 0).all() else "away from"
    return f"""
**Reproduced:** {counts.sum()} of {len(counts)} parameter counts, exactly, and {numbers.sum()} of {len(numbers)}
accuracies and losses of Table I in the reading “{fit.idxmin()}”: they lie where another mean of {final.rounds.min()}
rounds would fall with 95 % probability.

**Not reproduced:** the other {missed}. As figures of trained networks, evaluated with dropout off, the report's test
accuracies are {abs(gap).min():.1f} to {abs(gap).max():.1f} percentage points {side} ours. Its order of the models is
{orders[0]} %; in our final figures it is {orders[1]} %.

**Cannot be judged:** the “Std.” of Table I, {min(stated):.4f} to {max(stated):.4f} for test accuracies. Over our
rounds the standard deviation is {spread.min():.4f} to {spread.max():.4f}, its square {(spread**2).min():.5f} to
{(spread**2).max():.5f}.
"""
