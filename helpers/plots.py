"""Figures: tidy tables in, axes out. A model has one colour, marker and line everywhere."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.patches import FancyBboxPatch

from helpers import statistics
from helpers.data import Pairs
from helpers.models import Architecture, outline

WIDTH = 9.0  # inches, of every figure
_COLOURS = sns.color_palette("colorblind")
STYLES = {  # (colour, marker, line); dashed: no weight sharing
    "M1": (_COLOURS[0], "o", "--"),
    "M2": (_COLOURS[1], "s", "-"),
    "M3": (_COLOURS[2], "^", "--"),
    "M4": (_COLOURS[3], "D", "-"),
    "M5": (_COLOURS[4], "P", "-"),
    "M6": ((0.1, 0.1, 0.1), "*", "-"),
}
STYLES |= dict(zip(("neither", "sharing", "auxiliary", "both"), STYLES.values(), strict=False))
FAMILY_STYLES = {  # (colour, marker)
    "convnet": (_COLOURS[0], "o"),
    "mlp": (_COLOURS[1], "s"),
    "conv": (_COLOURS[2], "D"),
    "tuned": (_COLOURS[4], "^"),
}
FAMILY_STYLES["tuned alike"] = FAMILY_STYLES["tuned"]
MEASURES = {
    "train_loss": "train loss (nats)",
    "test_loss": "test loss (nats)",
    "train_accuracy": "train accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "train_error": "train error (%)",
    "test_error": "test error (%)",
    "validation_accuracy": "validation accuracy (%)",
    "validation_error": "validation error (%)",
    "pairs": "training pairs a round",
    "seconds": "training time (s)",
    "width": "width (units or channels)",
    "test_digit_accuracy": "test accuracy of the digits (%)",
}


def set_theme() -> None:
    sns.set_theme(
        context="paper",
        style="whitegrid",
        palette="colorblind",
        font_scale=1.15,
        rc={
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "svg.hashsalt": "figures",
            "axes.titlesize": "medium",
            "figure.dpi": 100,
        },
    )


def style(model: str) -> tuple:
    """(colour, marker, line) of a model; models of other names share what STYLES leaves."""
    if model in STYLES:
        return STYLES[model]
    turn = sum(model.encode())
    return _COLOURS[5 + turn % 5], "Xvph<>"[turn % 6], "-"


def _values(table: pd.DataFrame, measure: str) -> pd.Series:
    """A measure in the unit of MEASURES: accuracies in percent, errors made from them."""
    if measure.endswith("error"):
        return 100 * (1 - table[measure.replace("error", "accuracy")])
    return table[measure] * (100 if "accuracy" in measure else 1)


def _epochs(table: pd.DataFrame) -> tuple[float, float]:
    """Limits of an axis of epochs, with room for the markers at both ends."""
    last = max(2, table.epoch.max())
    return 1 - last / 50, last + last / 50


def curves(table: pd.DataFrame, measure: str, ax: plt.Axes, legend: bool = True) -> plt.Axes:
    """A measure over the epochs: every round thin, the mean of the rounds thick."""
    table = table.assign(value=_values(table, measure))
    for model, rows in table.groupby("model", sort=False):
        colour, marker, line = style(model)
        rounds = rows.pivot(index="epoch", columns="round", values="value")
        ax.plot(rounds, color=colour, alpha=0.18, linewidth=0.7)
        ax.plot(
            rounds.mean(axis=1),
            line,
            color=colour,
            linewidth=1.9,
            marker=marker,
            markersize=5,
            label=model,
            markevery=max(1, len(rounds) // 8),
        )
    ax.set(xlabel="epoch", ylabel=MEASURES.get(measure, measure), xlim=_epochs(table))
    ax.xaxis.get_major_locator().set_params(integer=True)
    if legend:
        ax.legend(loc="best", framealpha=0.9)
    return ax


def four_curves(
    table: pd.DataFrame, titles=("train_loss", "test_loss", "train_accuracy", "test_accuracy")
) -> plt.Figure:
    """Train and test loss and accuracy over the epochs; one legend below them all."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 6.6), sharex=True)
    for ax, measure in zip(axes.flat, titles, strict=True):
        curves(table, measure, ax, legend=False)
    for ax in axes[0]:
        ax.set_xlabel("")
    for row in axes:
        low, high = min(ax.get_ylim()[0] for ax in row), max(ax.get_ylim()[1] for ax in row)
        for ax in row:
            ax.set_ylim(low, high)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def finals(table: pd.DataFrame, measure: str, ax: plt.Axes) -> plt.Axes:
    """The last epoch's measure of each model: every round as a point, mean and 95 % t interval beside them."""
    rows = statistics.last_epoch(table)
    rows = rows.assign(value=_values(rows, measure))
    for position, (model, group) in enumerate(rows.groupby("model", sort=False)):
        colour, marker, _ = style(model)
        values = group["value"].to_numpy()
        spread = np.linspace(-0.16, 0.06, len(values)) if len(values) > 1 else np.zeros(1)
        ax.plot(position + spread, values, marker, color=colour, alpha=0.55, markersize=5)
        mean, half = statistics.mean_interval(values)
        ax.errorbar(
            position + 0.22,
            mean,
            yerr=None if math.isnan(half) else half,
            fmt=marker,
            color=colour,
            capsize=5,
            markersize=9,
            linewidth=2,
            markeredgecolor="black",
            markeredgewidth=0.6,
        )
        ax.annotate(
            f"{mean:.1f}".replace("-", "−"),
            (position + 0.30, mean),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8.5,
        )
    ax.set_xticks(range(rows.model.nunique()), list(dict.fromkeys(rows.model)))
    ax.set(xlim=(-0.5, rows.model.nunique() - 0.1), ylabel=MEASURES.get(measure, measure))
    ax.grid(axis="x", visible=False)
    return ax


def scan_curves(table: pd.DataFrame, parameter: str, measures) -> plt.Figure:
    """Measures over the epochs, mean of the rounds, one line for each value of a scanned parameter."""
    figure, axes = plt.subplots(1, len(measures), figsize=(WIDTH, 4.2), sharey=True)
    values = sorted(table[parameter].unique())
    colours = sns.color_palette("viridis", len(values))
    for ax, measure in zip(axes, measures, strict=True):
        for turn, (value, colour) in enumerate(zip(values, colours, strict=True)):
            means = _values(table, measure)[table[parameter] == value].groupby(table.epoch).mean()
            ax.plot(
                means,
                color=colour,
                label=f"{value:g}",
                marker="osD^vP*Xh<>"[turn % 11],
                markersize=4,
                markevery=max(1, len(means) // 6),
            )
        ax.set(xlabel="epoch", ylabel=MEASURES[measure], xlim=_epochs(table), ylim=(0, None))
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[1].yaxis.set_tick_params(labelleft=True)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, title=parameter.replace("_", " ")
    )
    return figure


def response(final: pd.DataFrame, parameter: str, measures, ax: plt.Axes, log: bool = True) -> plt.Axes:
    """Measures of the last epoch against a parameter: every round as a point, the mean as a line."""
    for measure, colour, marker in zip(measures, _COLOURS, "osD^", strict=False):
        values = _values(final, measure)
        ax.plot(final[parameter], values, marker, color=colour, alpha=0.45, markersize=4)
        ax.plot(values.groupby(final[parameter]).mean(), f"-{marker}", color=colour, label=MEASURES[measure])
    if log:
        ax.set_xscale("log")
    ax.set(xlabel=parameter.replace("_", " "), ylabel="error (%)" if "error" in measures[0] else MEASURES[measures[0]])
    ax.legend(framealpha=0.9)
    return ax


def effects(contrasts: dict[str, pd.DataFrame], ax: plt.Axes, scale: float = 100, unit: str = "percentage points"):
    """Effects of each family's contrasts (of `statistics.contrasts`): every round, and mean with 95 % t interval."""
    names = list(next(iter(contrasts.values())).columns)
    step = 0.8 / len(contrasts)
    for turn, (family, values) in enumerate(contrasts.items()):
        colour, marker = FAMILY_STYLES.get(family, FAMILY_STYLES["convnet"])
        for row, name in enumerate(names):
            height = len(names) - 1 - row + 0.4 - step * (turn + 0.5)
            ax.plot(
                scale * values[name],
                np.full(len(values), height + 0.06),
                marker,
                color=colour,
                alpha=0.35,
                markersize=4,
            )
            mean, half = statistics.mean_interval(scale * values[name])
            ax.errorbar(
                mean,
                height - 0.06,
                xerr=None if math.isnan(half) else half,
                fmt=marker,
                color=colour,
                capsize=4,
                markersize=8,
                linewidth=2,
                markeredgecolor="black",
                label=family if row == 0 else None,
            )
    ax.axvline(0, color="black", linewidth=1)
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set(xlabel=f"effect ({unit})", ylim=(-0.6, len(names) - 0.4))
    ax.grid(axis="y", visible=False)
    if len(contrasts) > 1:
        ax.legend(loc="best", framealpha=0.9)
    return ax


def ladder(final: pd.DataFrame, rungs: list[str], others: list[str], ax: plt.Axes) -> plt.Axes:
    """Test error of models that build on each other, on a logarithmic axis: every round, mean and 95 % t interval."""
    names = [*rungs, *others]
    errors = 100 * (1 - statistics.by_round(final, "test_accuracy"))[names]
    for row, name in enumerate(names):
        height = len(names) - 1 - row - (0.6 if name in others else 0)
        colour, marker, _ = STYLES.get(
            name, ((0.45, 0.45, 0.45), "o", "-") if name in rungs else ((0.6, 0.4, 0.2), "x", "-")
        )
        ax.plot(
            errors[name].clip(lower=0.05),
            np.full(len(errors), height + 0.14),
            marker,
            color=colour,
            alpha=0.35,
            markersize=4,
        )
        mean, half = statistics.mean_interval(errors[name])
        ax.errorbar(
            mean,
            height - 0.08,
            xerr=None if math.isnan(half) else [[min(half, mean - 0.05)], [half]],
            fmt=marker,
            color=colour,
            capsize=4,
            markersize=9,
            linewidth=2,
        )
        ax.annotate(
            f"{100 - mean:.1f} %",
            (mean, height - 0.08),
            textcoords="offset points",
            xytext=(0, -13),
            ha="center",
            fontsize=8.5,
        )
    means = errors[rungs].mean()
    ax.plot(means, len(names) - 1 - np.arange(len(rungs)) - 0.08, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks([len(names) - 1 - row - (0.6 if name in others else 0) for row, name in enumerate(names)], names)
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    ax.minorticks_off()
    low, high = errors.min().min(), errors.max().max()
    ax.set(
        xlabel="test error (%), logarithmic; below the points: test accuracy",
        ylim=(-1.3, len(names) - 0.4),
        xlim=(max(0.1, 0.7 * low), 1.5 * high),
    )
    return ax


def frontier(points: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """Test accuracy against parameters, both such that errors and sizes read as factors.

    `points` has `model`, `parameters`, `accuracy`, `half_width` (NaN: none known) and `kind`.
    """
    for kind, rows in points.groupby("kind", sort=False):
        if kind == "small networks on M6's plan":
            ax.plot(rows.parameters, 100 * (1 - rows.accuracy), "-", color="0.6", linewidth=1, zorder=0)
        for row in rows.itertuples():
            colour, marker, _ = STYLES.get(
                row.model,
                {"small networks on M6's plan": ((0.3, 0.3, 0.3), "o", "-")}.get(kind, (_COLOURS[5], "v", "-")),
            )
            ax.errorbar(
                row.parameters,
                100 * (1 - row.accuracy),
                None if math.isnan(row.half_width) else 100 * row.half_width,
                fmt=marker,
                color=colour,
                markersize=9,
                capsize=4,
            )
            right = row.parameters < 30_000
            below = right or kind == "others"
            ax.annotate(
                f"{row.model}: {100 * row.accuracy:.1f} %",
                (row.parameters, 100 * (1 - row.accuracy)),
                textcoords="offset points",
                xytext=(9 if right else -8, -13 if below else 6),
                ha="left" if right else "right",
                fontsize=8.5,
            )
    worst, best = 1 - points.accuracy.min(), 1 - points.accuracy.max()
    ax.set(xscale="log", yscale="log", xlabel="parameters", ylabel="test error (%)", ylim=(60 * best, 160 * worst))
    ax.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    ax.minorticks_off()
    ax.invert_yaxis()
    ax.axvline(70_000, color="0.3", linestyle="--", linewidth=1)
    ax.annotate(
        "limit", (70_000, ax.get_ylim()[0]), textcoords="offset points", xytext=(-4, 6), ha="right", fontsize=8.5
    )
    return ax


def confusion(predictions: pd.DataFrame, ax: plt.Axes) -> plt.Axes:
    """How often each digit's class is named as which other (of `experiments.predictions`), in shares of the class."""
    true = np.concatenate([predictions["first"], predictions["second"]])
    named = np.concatenate([predictions.named_first, predictions.named_second])
    table = 100 * pd.crosstab(true, named, normalize="index").reindex(index=range(10), columns=range(10), fill_value=0)
    sns.heatmap(
        table.mask(np.eye(10, dtype=bool)),
        annot=True,
        fmt=".1f",
        cmap="Blues",
        cbar=False,
        ax=ax,
        square=True,
        annot_kws={"size": 7.5},
        linewidths=0.5,
    )
    ax.set(xlabel="class named", ylabel="class", title="wrong names (% of the class's digits)")
    return ax


def by_distance(predictions: dict[str, pd.DataFrame], ax: plt.Axes) -> plt.Axes:
    """Error rate of each model by the distance of the two digits, of `experiments.predictions`."""
    for model, table in predictions.items():
        colour, marker, line = style(model)
        wrong = 100 * (1 - table.right.groupby((table["first"] - table["second"]).abs()).mean())
        ax.plot(wrong, line, marker=marker, color=colour, label=model)
    ax.set(xlabel="distance of the two digits", ylabel="test error (%)", xticks=range(10), ylim=(0, None))
    ax.legend()
    return ax


def by_size(final: pd.DataFrame, size: str, measure: str, ax: plt.Axes) -> plt.Axes:
    """A measure of the last epoch against a size, one line per `network`: every round, mean and 95 % t interval."""
    final = final.assign(value=_values(final, measure))
    networks = list(dict.fromkeys(final.network))
    step = (final[size].max() / final[size].min()) ** 0.012
    for turn, network in enumerate(networks):
        rows, aside = final[final.network == network], step ** (turn - (len(networks) - 1) / 2)  # side by side
        colour, marker, line = style(network)
        ends = rows.groupby(size)["value"].apply(lambda values: pd.Series(statistics.mean_interval(values))).unstack()
        ax.plot(aside * rows[size], rows["value"], marker, color=colour, alpha=0.3, markersize=4)
        ax.errorbar(
            aside * ends.index,
            ends[0],
            ends[1].fillna(0),
            fmt=line,
            marker=marker,
            color=colour,
            capsize=4,
            label=network,
        )
    ax.set_xscale("log")
    ticks = sorted(final[size].unique())
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel=MEASURES.get(size, size), ylabel=MEASURES[measure], ylim=(0, None))
    if not ax.figure.legends:  # one for all panels
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return ax


def reliability(tables: dict[str, pd.DataFrame], ax: plt.Axes) -> plt.Axes:
    """Accuracy against confidence, of `statistics.calibration`, for each model."""
    ax.plot([50, 100], [50, 100], color="0.5", linestyle=":", linewidth=1)
    for model, table in tables.items():
        colour, marker, line = style(model)
        ax.plot(100 * table.confidence, 100 * table.accuracy, line, marker=marker, color=colour, label=model)
    ax.set(xlabel="confidence of the answer (%)", ylabel="answers that are right (%)", xlim=(49, 101))
    ax.legend()
    return ax


def readings(ours: pd.DataFrame, measure: str, ax: plt.Axes) -> plt.Axes:
    """The report's value of a measure beside ours in each reading, of `reproduction.table_one`."""
    rows = ours[ours.measure == measure]
    models = list(dict.fromkeys(rows.model))
    ax.plot(models, 100 * rows.drop_duplicates("model").theirs, "_", color="black", markersize=34, label="report")
    for offset, (reading, part) in zip((-0.15, 0.15), rows.groupby("reading", sort=False), strict=True):
        positions = np.arange(len(models)) + offset
        ax.errorbar(
            positions,
            100 * part.ours,
            100 * part.half_width,
            fmt="o" if offset < 0 else "s",
            capsize=4,
            color="C0" if offset < 0 else "C1",
            label=f"ours, {reading}",
        )
    ax.set(ylabel=MEASURES[measure], xlim=(-0.5, len(models) - 0.5))
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=4)
    return ax


def digit_images(images, titles, columns: int = 10, height: float | None = None) -> plt.Figure:
    """Pictures [N, H, W] in rows of `columns`, each under its title."""
    rows = math.ceil(len(images) / columns)
    size = WIDTH / columns
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height or rows * (size + 0.3)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        ax.set_title(title, fontsize=8.5)
    return figure


def as_pairs(images: np.ndarray) -> Pairs:
    """Pictures [N, n, 14, 14] as examples to be drawn."""
    images = torch.as_tensor(images)
    return Pairs(images, torch.zeros(images.shape[:2]), torch.zeros(len(images)))


def pair_images(pairs: Pairs, titles, columns: int = 6) -> plt.Figure:
    """Examples [N, n, 14, 14] as pictures side by side, each under its title."""
    gap = torch.full((len(pairs), 14, 1), float(pairs.images.min()))
    parts = [part for i in range(pairs.images.shape[1]) for part in (gap, pairs.images[:, i])][1:]
    rows = math.ceil(len(pairs) / columns)
    return digit_images(torch.cat(parts, dim=2), titles, columns, height=max(1.2, rows * 1.15))


def network_diagram(architectures: dict[str, Architecture]) -> plt.Figure:
    """The networks as columns of boxes, drawn from their own layers: what each layer gives and its parameters."""
    outlines = {name: outline(architecture) for name, architecture in architectures.items()}
    tallest = max(len(lines) for lines, _ in outlines.values())
    counts = {name: 1 if a.sharing else a.images for name, a in architectures.items()}
    figure, axes = plt.subplots(
        1, len(outlines), figsize=(WIDTH, 0.32 * (tallest + 3)), squeeze=False, width_ratios=list(counts.values())
    )
    for ax, (name, (lines, head)) in zip(axes.flat, outlines.items(), strict=True):
        count = counts[name]
        for branch in range(count):
            for row, (text, parameters) in enumerate(lines):
                _box(ax, branch / count, tallest - row, 1 / count, text, parameters)
        _box(ax, 0, tallest - len(lines) - 0.3, 1, *head)
        ax.set_title(
            f"{name}: {'shared sub-network' if count == 1 else f'{count} sub-networks'}", fontweight="bold", fontsize=10
        )
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.5, tallest + 0.9))
        ax.axis("off")
    return figure


def _box(ax: plt.Axes, left: float, bottom: float, width: float, text: str, parameters: int) -> None:
    colour = "#dbe9f6" if parameters else "#f3f3f3"
    ax.add_patch(
        FancyBboxPatch(
            (left + 0.01, bottom),
            width - 0.02,
            0.74,
            boxstyle="round,pad=0,rounding_size=0.03",
            facecolor=colour,
            edgecolor="#555555",
            linewidth=0.7,
        )
    )
    label = f"{text}  ·  {parameters:,}" if parameters else text
    ax.text(left + width / 2, bottom + 0.36, label, ha="center", va="center", fontsize=8)
