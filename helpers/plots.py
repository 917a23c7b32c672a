"""Figures: tidy tables in, axes out. A model has one color, marker and line everywhere."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from helpers import stats

WIDTH = 7.2  # inches, of a wide figure, which a phone scrolls
COLUMN = 5.0  # inches, of a figure as wide as the text, which is drawn once more for a phone
PHONE = 3.7  # inches, of that drawing
_COLORS = sns.color_palette("colorblind")
_COLORS[8] = (0.55, 0.5, 0.0)  # instead of a yellow that is too faint on white
GRAY = (0.45, 0.45, 0.45)
STYLES = {  # (color, marker, line); dashed: no weight sharing
    "M1": (_COLORS[0], "o", "--"),
    "M2": (_COLORS[1], "s", "-"),
    "M3": (_COLORS[2], "^", "--"),
    "M4": (_COLORS[3], "D", "-"),
    "M5": (_COLORS[4], "P", "-"),
    "M6": ((0.25, 0.25, 0.25), "*", "-"),
}
STYLES |= dict(zip(("neither", "sharing", "auxiliary", "both"), STYLES.values(), strict=False))
STYLES |= {  # effects and families of networks, where they stand side by side
    "weight sharing": (_COLORS[1], "s", "-"),
    "auxiliary loss": (_COLORS[2], "^", "-"),
    "interaction": (_COLORS[7], "v", "-"),
    "first report's": (_COLORS[0], "o", "-"),
    "mlp": (_COLORS[9], "X", "-"),
    "conv": (_COLORS[5], "p", "-"),
}
_OTHERS: dict[str, int] = {}  # names that are not in STYLES, by their first use
METRICS = {
    "train_loss": "train loss (nats)",
    "test_loss": "test loss (nats)",
    "train_accuracy": "train accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "validation_error": "validation error (%)",
    "test_digit_accuracy": "digit accuracy (%)",
}


def set_theme() -> None:
    rc = {"figure.facecolor": "white", "savefig.facecolor": "white", "figure.constrained_layout.use": True}
    rc |= {"svg.hashsalt": "figures", "axes.titlesize": "medium", "figure.dpi": 100}
    rc |= {"text.parse_math": False}  # a model's name may have a $ in it
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.05, rc=rc)


def style(model: str) -> tuple:
    """(color, marker, line) of a model; other names get one of 30 others, in the order of their first use."""
    if model in STYLES:
        return STYLES[model]
    turn = _OTHERS.setdefault(model, len(_OTHERS))
    return _COLORS[5 + turn % 5], "Xvph<>"[turn % 6], "-"


def legend_label(name: str | None) -> str | None:
    """A name as a legend shows it, which leaves out those that begin with an underscore."""
    return f"\N{ZERO WIDTH SPACE}{name}" if name and name.startswith("_") else name


def values_of(table: pd.DataFrame, metric: str) -> pd.Series:
    """A metric in the unit of METRICS: accuracies in percent, errors made from them."""
    if metric.endswith("error"):
        return 100 * (1 - table.loc[:, metric.replace("error", "accuracy")])
    return table.loc[:, metric] * (100 if "accuracy" in metric else 1)


# ------------------------------------------------------------------------------------- every round, mean and interval


def dots(ax: Axes, at: float, values, look: tuple, apart=0.12, across=False, label=None, comparisons=1) -> float:
    """Every one of values [N] as a small point, their mean with its t interval as a large one, `apart` to either side.

    They stand above `at`, or `across` at that height. Returns the mean.
    """
    values = np.asarray(values, float)
    color, marker, _ = look
    each = values if len(values) > 1 else values[:0]  # a single one is its own mean
    places = np.full(len(each), at + (apart if across else -apart))
    ax.plot(*((each, places) if across else (places, each)), marker, color=color, alpha=0.4, markersize=3.5)
    mean, half = stats.mean_interval(values, comparisons)
    interval(ax, at + (-apart if across else apart), mean, half, look, across, label)
    if lost := int(np.isnan(values).sum()):
        where: dict = {"x": 0.02, "y": at} if across else {"x": at, "y": 0.02, "rotation": 90}
        transform = ax.get_yaxis_transform() if across else ax.get_xaxis_transform()
        ax.text(**where, s=f"{lost} of {len(values)} diverged", transform=transform, fontsize=7, color=color)
    return mean


def interval(ax: Axes, at: float, mean: float, half: float, look: tuple, across: bool = False, label=None) -> None:
    """A mean with its interval (NaN: none)."""
    place = {"x": mean, "y": at, "xerr": half} if across else {"x": at, "y": mean, "yerr": half}
    place = {name: value for name, value in place.items() if name in "xy" or not np.isnan(value)}
    drawn = {"fmt": look[1], "color": look[0], "capsize": 3, "markersize": 6, "linewidth": 1.8}
    ax.errorbar(**place, **drawn, markeredgecolor="black", markeredgewidth=0.7, label=legend_label(label))


def finals(final: pd.DataFrame, metric: str, ax: Axes) -> Axes:
    """A metric of each model, of one row per model and round."""
    models = list(dict.fromkeys(final.model))
    for position, model in enumerate(models):
        mean = dots(ax, position, values_of(final.loc[final.model == model], metric), style(model))
        if not np.isnan(mean):
            _note(ax, f"{mean:.1f}", (position + 0.12, mean), (7, 0), va="center")
    ax.set_xticks(range(len(models)), models)
    ax.set(xlim=(-0.5, len(models) - 0.2), ylabel=METRICS.get(metric, metric))
    ax.grid(axis="x", visible=False)
    return ax


def rows(values: dict[str, dict], ax: Axes, unit: str = "percentage points", comparisons=1) -> Axes:
    """Shares of 1, one a round, times 100, one row for each label: {label: {series: values}}; a series has its color.

    Beside a row of one series stands its mean. Labels in order from top to bottom.
    """
    height = {label: len(values) - 1 - turn for turn, label in enumerate(values)}
    named = set()
    for label, series in values.items():
        step = 0.8 / len(list(series))
        for turn, (name, numbers) in enumerate(series.items()):
            at = height[label] + 0.4 - step * (turn + 0.5)
            apart, numbers = min(0.11, step / 4), 100 * np.asarray(numbers, float)
            legend = name if name and name not in named else None
            mean = dots(ax, at, numbers, style(name) if name else (GRAY, "o", "-"), apart, True, legend, comparisons)
            named.add(name)
            if len(list(series)) == 1 and not np.isnan(mean):
                said = f"{mean:.1f}" if "%" in unit else f"{mean:+.1f}".replace("-", "−")
                _note(ax, said, (mean, at - apart), (0, -8), "center", "top")
    ax.set_yticks(list(height.values()), [textwrap.fill(label, 21, break_on_hyphens=False) for label in height])
    ax.set(xlabel=unit, ylim=(-0.6, len(values) - 0.4))
    ax.grid(axis="y", visible=False)
    for boundary in range(1, len(values)):
        ax.axhline(boundary - 0.5, color="0.9", linewidth=0.8)
    if len(named - {""}) > 1:
        tight = {"columnspacing": 1, "handlelength": 1.2, "handletextpad": 0.5}
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, **tight)
    return ax


def zero(ax: Axes, margin: float = 0) -> Axes:
    """A line at zero, and in gray what is within `margin` of it."""
    ax.axvline(0, color="0.2", linewidth=1)
    if margin:
        ax.axvspan(-margin, margin, color="0.5", alpha=0.15, linewidth=0)
    return ax


def _note(ax: Axes, text: str, at: tuple, offset: tuple, ha: str = "left", va: str = "baseline") -> None:
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}  # so that no line crosses it
    ax.annotate(text, at, textcoords="offset points", xytext=offset, ha=ha, va=va, fontsize=8, bbox=ground)


# ------------------------------------------------------------------------------------------------------------ lines


def band(ax: Axes, values: pd.DataFrame, look: tuple, label: str) -> Axes:
    """Values of one row per epoch and one column per round: the mean, and its t interval as a band."""
    color, marker, line = look
    mean, half = (np.array(part) for part in zip(*map(stats.mean_interval, values.to_numpy()), strict=True))
    every = max(1, len(values) // 8)
    ax.plot(values.index, mean, line + marker, color=color, markersize=4.5, label=legend_label(label), markevery=every)
    ax.fill_between(values.index, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    last = max(2, values.index.to_numpy().max())
    ax.set(xlabel="epoch", xlim=(1 - last / 50, last + last / 50))
    ax.locator_params(axis="x", integer=True)
    return ax


def four_curves(table: pd.DataFrame) -> Figure:
    """Train and test loss and accuracy over the epochs; one legend for them all."""
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), sharex=True, sharey="row")
    for ax, metric in zip(axes.flat, ("train_loss", "test_loss", "train_accuracy", "test_accuracy"), strict=True):
        values = table.assign(value=values_of(table, metric))
        for model, part in values.groupby("model", sort=False):
            band(ax, part.pivot(index="epoch", columns="round", values="value"), style(str(model)), str(model))
        ax.set_ylabel(METRICS[metric])
        ax.yaxis.set_tick_params(labelleft=True)
    for ax in axes[0]:
        ax.set_xlabel("")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    return figure


# --------------------------------------------------------------------------------------------------------- pictures


def pair_images(images, titles) -> Figure:
    """Examples [N, n, 14, 14] as pictures side by side, four in a row, each under its title."""
    rows = -(-len(images) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(COLUMN, max(1.2, rows * 0.9)), squeeze=False)
    apart = np.pad(images, [(0, 0)] * 3 + [(0, 1)], constant_values=float(images.min()))
    for ax, example, title in zip(axes.flat, apart, titles, strict=False):
        ax.imshow(np.hstack(example)[:, :-1], cmap="gray_r", interpolation="nearest")
        ax.set_title(title, fontsize=8.5)
    for ax in axes.flat:
        ax.axis("off")
    return figure


def box(ax: Axes, left: float, bottom: float, width: float, text: str, parameters: int = 1) -> None:
    """A box of a diagram, blue where it has `parameters`; their number stands in it if there are several."""
    look = {"boxstyle": "round,pad=0,rounding_size=0.03", "edgecolor": "#555555", "linewidth": 0.7}
    color = "#dbe9f6" if parameters else "#f3f3f3"
    ax.add_patch(FancyBboxPatch((left + 0.01, bottom), width - 0.02, 0.74, facecolor=color, **look))
    label = f"{text}  ·  {parameters:,}" if parameters > 1 else text
    ax.text(left + width / 2, bottom + 0.36, label, ha="center", va="center", fontsize=7.5)
