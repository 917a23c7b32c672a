"""Figures: tidy tables in, axes out. A model has one colour, marker and line everywhere."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from helpers import effects
from helpers.digits import CLASSES

WIDTH = 9.0  # inches, of every figure
_COLOURS = sns.color_palette("colorblind")
GREY, BROWN = (0.45, 0.45, 0.45), (0.6, 0.4, 0.2)
STYLES = {  # (colour, marker, line); dashed: no weight sharing
    "M1": (_COLOURS[0], "o", "--"),
    "M2": (_COLOURS[1], "s", "-"),
    "M3": (_COLOURS[2], "^", "--"),
    "M4": (_COLOURS[3], "D", "-"),
    "M5": (_COLOURS[4], "P", "-"),
    "M6": ((0.1, 0.1, 0.1), "*", "-"),
}
STYLES |= dict(zip(("neither", "sharing", "auxiliary", "both"), STYLES.values(), strict=False))
STYLES |= {  # families of networks, where their effects stand side by side
    "convnet": (_COLOURS[0], "o", "-"),
    "mlp": (_COLOURS[1], "s", "-"),
    "conv": (_COLOURS[2], "D", "-"),
    "tuned": (_COLOURS[4], "^", "-"),
    "Table II's recipes": (_COLOURS[0], "o", "-"),
    "tuned alike": (_COLOURS[4], "^", "-"),
}
METRICS = {
    "train_loss": "train loss (nats)",
    "test_loss": "test loss (nats)",
    "train_accuracy": "train accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "train_error": "train error (%)",
    "test_error": "test error (%)",
    "validation_accuracy": "validation accuracy (%)",
    "validation_error": "validation error (%)",
    "pairs": "training pairs a round",
    "width": "width (units or channels)",
    "test_digit_accuracy": "digit accuracy, test (%)",
}


def set_theme() -> None:
    rc = {"figure.facecolor": "white", "savefig.facecolor": "white", "figure.constrained_layout.use": True}
    rc |= {"svg.hashsalt": "figures", "axes.titlesize": "medium", "figure.dpi": 100}
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.15, rc=rc)


def style(model: str) -> tuple:
    """(colour, marker, line) of a model; models of other names share what STYLES leaves."""
    turn = sum(model.encode())
    return STYLES.get(model, (_COLOURS[5 + turn % 5], "Xvph<>"[turn % 6], "-"))


def values_of(table: pd.DataFrame, metric: str) -> pd.Series:
    """A metric in the unit of METRICS: accuracies in percent, errors made from them."""
    if metric.endswith("error"):
        return 100 * (1 - table[metric.replace("error", "accuracy")])
    return table[metric] * (100 if "accuracy" in metric else 1)


# ------------------------------------------------------------------------------------- every round, mean and interval


def dots(ax: plt.Axes, at: float, values, look: tuple, apart: float = 0.1, across: bool = False, label=None) -> float:
    """Every value as a small point, and their mean with its 95 % t interval as a large one, `apart` to either side.

    They stand above `at`, or `across` at that height. Returns the mean.
    """
    values = np.asarray(values, float)
    colour, marker, _ = look
    places = np.full(len(values), at + (apart if across else -apart))
    ax.plot(*((values, places) if across else (places, values)), marker, color=colour, alpha=0.4, markersize=4)
    mean, half = effects.mean_interval(values)
    interval(ax, at + (-apart if across else apart), mean, half, look, across, label)
    return mean


def interval(ax: plt.Axes, at: float, mean: float, half: float, look: tuple, across: bool = False, label=None) -> None:
    """A mean with its interval (NaN: none)."""
    place = {"x": mean, "y": at, "xerr": half} if across else {"x": at, "y": mean, "yerr": half}
    place = {name: value for name, value in place.items() if not math.isnan(value)}
    ax.errorbar(
        **place, fmt=look[1], color=look[0], capsize=4, markersize=8, linewidth=2, markeredgecolor="black", label=label
    )


def finals(table: pd.DataFrame, metric: str, ax: plt.Axes) -> plt.Axes:
    """The last epoch's metric of each model."""
    rows = effects.last_epoch(table)
    models = list(dict.fromkeys(rows.model))
    for position, model in enumerate(models):
        mean = dots(ax, position, values_of(rows[rows.model == model], metric), style(model), 0.12)
        _note(ax, f"{mean:.1f}", (position + 0.12, mean), (8, 0), va="center")
    ax.set_xticks(range(len(models)), models)
    ax.set(xlim=(-0.5, len(models) - 0.3), ylabel=METRICS.get(metric, metric))
    ax.grid(axis="x", visible=False)
    return ax


def effect_rows(
    contrasts: dict[str, pd.DataFrame], ax: plt.Axes, scale: float = 100, unit: str = "percentage points"
) -> plt.Axes:
    """Effects of each family's contrasts (of `effects.contrasts` or `effects.differences`), one row per effect."""
    names = list(next(iter(contrasts.values())).columns)
    step = 0.8 / len(contrasts)
    for turn, (family, values) in enumerate(contrasts.items()):
        for row, name in enumerate(names):
            height = len(names) - 0.6 - row - step * (turn + 0.5)
            label = family if row == 0 else None
            dots(ax, height, scale * values[name], style(family) if family else STYLES["M1"], 0.06, True, label)
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set(xlabel=f"effect ({unit})", ylim=(-0.6, len(names) - 0.4))
    ax.grid(axis="y", visible=False)
    if len(contrasts) > 1:
        ax.legend(loc="best", framealpha=0.9)
    return ax


def ladder(final: pd.DataFrame, rungs: list[str], others: list[str], ax: plt.Axes) -> plt.Axes:
    """Test error of models that build on each other, on a logarithmic axis; below them, in brown, the others."""
    names = [*rungs, *others]
    errors = 100 * (1 - effects.by_round(final, "test_accuracy"))[names]
    heights = [len(names) - 1 - row - (0.6 if name in others else 0) for row, name in enumerate(names)]
    for height, name in zip(heights, names, strict=True):
        look = STYLES.get(name, (BROWN, "X", "-") if name in others else (GREY, "o", "-"))
        mean = dots(ax, height, errors[name].clip(lower=0.05), look, 0.1, True)
        _note(ax, f"{100 - mean:.1f} %", (mean, height - 0.1), (0, -13), ha="center")
    ax.plot(errors[rungs].mean(), np.array(heights[: len(rungs)]) - 0.1, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks(heights, names)
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    ax.minorticks_off()
    limits = (max(0.1, 0.7 * errors.min().min()), 1.5 * errors.max().max())
    ax.set(xlabel="test error (%), logarithmic; below the points: test accuracy", xlim=limits)
    ax.set_ylim(-1.3, len(names) - 0.4)
    return ax


def by_size(final: pd.DataFrame, size: str, metric: str, ax: plt.Axes) -> plt.Axes:
    """A metric of the last epoch against a size, one line per `network`."""
    networks, ticks = list(dict.fromkeys(final.network)), sorted(final[size].unique())
    step = (ticks[-1] / ticks[0]) ** 0.016
    for turn, network in enumerate(networks):
        aside = step ** (turn - (len(networks) - 1) / 2)  # side by side
        parts = [final[(final.network == network) & (final[size] == tick)] for tick in ticks]
        places = [aside * tick for tick in ticks]
        label = [network] + [None] * len(ticks)
        look = style(network)
        means = [
            dots(ax, place, values_of(part, metric), look, 0.012 * place, label=name)
            for place, part, name in zip(places, parts, label, strict=False)
        ]
        ax.plot([1.012 * place for place in places], means, look[2], color=look[0])
    ax.set_xscale("log")
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel=METRICS.get(size, size), ylabel=METRICS[metric], ylim=(0, None))
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return ax


def readings(ours: pd.DataFrame, metric: str, ax: plt.Axes) -> plt.Axes:
    """The report's value of a metric beside ours in each reading, of `claims.table_one`."""
    rows = ours[ours.measure == metric]
    models = list(dict.fromkeys(rows.model))
    ax.plot(models, 100 * rows.drop_duplicates("model").theirs, "_", color="black", markersize=34, label="report")
    names = list(dict.fromkeys(rows.reading))
    looks = dict(zip(names, ((_COLOURS[0], "o"), (_COLOURS[1], "s")), strict=True))
    for row in rows.itertuples():
        at = models.index(row.model) + 0.3 * (names.index(row.reading) - 0.5)
        label = f"ours, {row.reading}" if row.model == models[0] else None
        interval(ax, at, 100 * row.ours, 100 * row.half_width, looks[row.reading], label=label)
    ax.set(ylabel=METRICS[metric], xlim=(-0.5, len(models) - 0.5))
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=4)
    return ax


def frontier(points: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Test accuracy against parameters, both such that errors and sizes read as factors.

    `points` has `model`, `parameters`, `accuracy`, `half_width` (NaN: none known) and `kind`.
    """
    small = points[points.kind == "small networks on M6's plan"]
    ax.plot(small.parameters, 100 * (1 - small.accuracy), "-", color="0.6", linewidth=1, zorder=0)
    for row in points.itertuples():
        error, others = 100 * (1 - row.accuracy), row.kind == "others"
        look = STYLES.get(row.model, (_COLOURS[5], "v") if others else (GREY, "o"))
        interval(ax, row.parameters, error, 100 * row.half_width, look)
        right = row.parameters < 30_000
        place = (9 if right else -8, -13 if right or others else 6)
        _note(
            ax, f"{row.model}: {100 * row.accuracy:.1f} %", (row.parameters, error), place, "left" if right else "right"
        )
    errors = 1 - points.accuracy
    ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="test error (%)")
    ax.set(ylim=(60 * max(errors.min(), 0.001), 160 * errors.max()))
    ax.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ax.minorticks_off()
    ax.invert_yaxis()
    ax.axvline(70_000, color="0.3", linestyle="--", linewidth=1)
    _note(ax, "limit", (70_000, ax.get_ylim()[1]), (-4, -12), "right")
    return ax


def _note(ax: plt.Axes, text: str, at: tuple, offset: tuple, ha: str = "left", va: str = "baseline") -> None:
    text = text.replace("-", "−") if text.startswith("-") else text
    ax.annotate(text, at, textcoords="offset points", xytext=offset, ha=ha, va=va, fontsize=8.5)


# ------------------------------------------------------------------------------------------------------------ lines


def curves(table: pd.DataFrame, metric: str, ax: plt.Axes, legend: bool = True) -> plt.Axes:
    """A metric over the epochs: every round thin, the mean of the rounds thick."""
    table = table.assign(value=values_of(table, metric))
    for model, rows in table.groupby("model", sort=False):
        colour, marker, line = style(model)
        rounds = rows.pivot(index="epoch", columns="round", values="value")
        ax.plot(rounds, color=colour, alpha=0.18, linewidth=0.7)
        every = max(1, len(rounds) // 8)
        ax.plot(rounds.mean(axis=1), line + marker, color=colour, markersize=5, label=model, markevery=every)
    _epoch_axis(table, ax).set_ylabel(METRICS.get(metric, metric))
    if legend:
        ax.legend(loc="best", framealpha=0.9)
    return ax


def _epoch_axis(table: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Epochs along the axis, with room for the markers at both ends."""
    last = max(2, table.epoch.max())
    ax.set(xlabel="epoch", xlim=(1 - last / 50, last + last / 50))
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def four_curves(table: pd.DataFrame) -> plt.Figure:
    """Train and test loss and accuracy over the epochs; one legend below them all."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.6), sharex=True, sharey="row")
    for ax, metric in zip(axes.flat, ("train_loss", "test_loss", "train_accuracy", "test_accuracy"), strict=True):
        curves(table, metric, ax, legend=False).yaxis.set_tick_params(labelleft=True)
    for ax in axes[0]:
        ax.set_xlabel("")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def scan_curves(table: pd.DataFrame, parameter: str, metrics) -> plt.Figure:
    """Metrics over the epochs, mean of the rounds, one line for each value of a scanned parameter."""
    figure, axes = plt.subplots(1, len(metrics), figsize=(WIDTH, 4.2), sharey=True)
    values = sorted(table[parameter].unique())
    for ax, metric in zip(axes, metrics, strict=True):
        for turn, (value, colour) in enumerate(zip(values, sns.color_palette("viridis", len(values)), strict=True)):
            means = values_of(table, metric)[table[parameter] == value].groupby(table.epoch).mean()
            marker = "-" + "osD^vP*Xh<>"[turn % 11]
            ax.plot(means, marker, color=colour, label=f"{value:g}", markersize=4, markevery=max(1, len(means) // 6))
        _epoch_axis(table, ax).set(ylabel=METRICS[metric], ylim=(0, None))
    axes[1].yaxis.set_tick_params(labelleft=True)
    title = parameter.replace("_", " ")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, title=title)
    return figure


def response(final: pd.DataFrame, parameter: str, metrics, ax: plt.Axes, log: bool = True) -> plt.Axes:
    """Metrics of the last epoch against a parameter: every round as a point, the mean as a line."""
    for metric, colour, marker in zip(metrics, _COLOURS, "osD^", strict=False):
        values = values_of(final, metric)
        ax.plot(final[parameter], values, marker, color=colour, alpha=0.45, markersize=4)
        ax.plot(values.groupby(final[parameter]).mean(), f"-{marker}", color=colour, label=METRICS[metric])
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=parameter.replace("_", " "), ylabel="error (%)" if "error" in metrics[0] else METRICS[metrics[0]])
    ax.legend(framealpha=0.9)
    return ax


def by_distance(predictions: dict[str, pd.DataFrame], ax: plt.Axes) -> plt.Axes:
    """Error rate of each model by the distance of the two digits, of `experiments.predictions`."""
    for model, table in predictions.items():
        colour, marker, line = style(model)
        wrong = 100 * (1 - table.right.groupby((table["first"] - table["second"]).abs()).mean())
        ax.plot(wrong, line + marker, color=colour, label=model)
    ax.set(xlabel="distance of the two digits", ylabel="test error (%)", xticks=range(CLASSES), ylim=(0, None))
    ax.legend()
    return ax


def reliability(tables: dict[str, pd.DataFrame], ax: plt.Axes) -> plt.Axes:
    """Accuracy against confidence, of `effects.calibration`, for each model."""
    ax.plot([50, 100], [50, 100], color="0.5", linestyle=":", linewidth=1)
    for model, table in tables.items():
        colour, marker, line = style(model)
        ax.plot(100 * table.confidence, 100 * table.accuracy, line + marker, color=colour, label=model)
    ax.set(xlabel="confidence of the answer (%)", ylabel="answers that are right (%)", xlim=(49, 101))
    ax.legend()
    return ax


def confusion(predictions: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """How often each digit's class is named as which other (of `experiments.predictions`), in shares of the class."""
    true = np.concatenate([predictions["first"], predictions["second"]])
    named = np.concatenate([predictions.named_first, predictions.named_second])
    classes = range(CLASSES)
    table = 100 * pd.crosstab(true, named, normalize="index").reindex(index=classes, columns=classes, fill_value=0)
    hidden = table.mask(np.eye(CLASSES, dtype=bool))
    words = {"annot": True, "fmt": ".1f", "annot_kws": {"size": 7.5}}
    sns.heatmap(hidden, **words, cmap="Blues", cbar=False, ax=ax, square=True, linewidths=0.5)
    ax.grid(False)
    ax.set(xlabel="class named", ylabel="class", title="wrong names (% of the class's digits)")
    return ax
