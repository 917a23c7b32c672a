"""Pictures of digits and of networks."""

import math

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from helpers.digits import CLASSES
from helpers.models import IMAGE, Architecture, build, count_parameters, entry_of
from helpers.plots import COLUMN, WIDTH


def digit_images(images, titles, columns: int = 10, height: float | None = None, width=WIDTH) -> plt.Figure:
    """Pictures [N, H, W] in rows of `columns`, each under its title."""
    rows = math.ceil(len(images) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height or rows * (width / columns + 0.3)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        ax.set_title(title, fontsize=8.5)
    return figure


def pair_images(images: Tensor, titles, columns: int = 4) -> plt.Figure:
    """Examples [N, n, 14, 14] as pictures side by side, each under its title."""
    gap = torch.full((len(images), 14, 1), float(images.min()))
    parts = [part for i in range(images.shape[1]) for part in (gap, images[:, i])][1:]
    rows = math.ceil(len(images) / columns)
    return digit_images(torch.cat(parts, dim=2), titles, columns, height=max(1.2, rows * 0.9), width=COLUMN)


def network_diagram(architectures: dict[str, Architecture]) -> plt.Figure:
    """The networks as columns of boxes, drawn from their own layers: what each layer gives and its parameters.

    A layer used again, or by all sub-networks, is counted where it first stands, so that the boxes sum up.
    """
    outlines = {name: _outline(architecture) for name, architecture in architectures.items()}
    tallest = max(len(branches[0]) for branches, _ in outlines.values())
    counts = [len(branches) for branches, _ in outlines.values()]
    size = (WIDTH, 0.3 * (tallest + 3))
    figure, axes = plt.subplots(1, len(outlines), figsize=size, squeeze=False, width_ratios=counts)
    for ax, (name, (branches, head)) in zip(axes.flat, outlines.items(), strict=True):
        for turn, lines in enumerate(branches):
            for row, (text, parameters) in enumerate(lines):
                _box(ax, turn / len(branches), tallest - row, 1 / len(branches), text, parameters)
        _box(ax, 0, tallest - len(branches[0]) - 0.3, 1, *head)
        sub_networks = "one shared sub-network" if len(branches) == 1 else f"{len(branches)} sub-networks"
        ax.set_title(f"{name}\n{sub_networks}", fontweight="bold", fontsize=9)
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.5, tallest + 0.9))
        ax.axis("off")
    return figure


def _outline(architecture: Architecture) -> tuple[list[list[tuple[str, int]]], tuple[str, int]]:
    """(text, parameters) of each layer of each sub-network, and of the head."""
    network, seen, branches = build(architecture).eval(), set(), []
    for branch in network.branches:
        probe, lines = torch.zeros(1, *IMAGE), []
        for layer, module in zip(architecture.layers, branch, strict=True):
            kind, settings = entry_of(layer)
            probe = module(probe)
            kernel = settings.get("kernel") if isinstance(settings, dict) else None
            size = f" {kernel}×{kernel}" if kernel and probe.dim() == 4 else ""
            own = 0 if module in seen else count_parameters(module)
            changes = (own or "pool" in kind) and kind != "batch_norm"
            gives = f" → {'×'.join(map(str, probe.shape[1:]))}" if changes else ""
            again = "the same " if module in seen and count_parameters(module) else ""
            lines.append((f"{again}{kind.replace('_', ' ')}{size}{gives}", own))
            seen.add(module)
        branches.append(lines)
    head = entry_of(architecture.head)[0].replace("_", " ")
    return branches, (f"{head} head: {architecture.images * CLASSES} → 2", count_parameters(network.head))


def _box(ax: plt.Axes, left: float, bottom: float, width: float, text: str, parameters: int) -> None:
    look = {"boxstyle": "round,pad=0,rounding_size=0.03", "edgecolor": "#555555", "linewidth": 0.7}
    colour = "#dbe9f6" if parameters else "#f3f3f3"
    ax.add_patch(FancyBboxPatch((left + 0.01, bottom), width - 0.02, 0.74, facecolor=colour, **look))
    label = f"{text}  ·  {parameters:,}" if parameters > 1 else text
    ax.text(left + width / 2, bottom + 0.36, label, ha="center", va="center", fontsize=7.5)


def task(pair: Tensor, classes: list[int]) -> plt.Figure:
    """A pair [2, 14, 14] on its way through a network that shares its sub-network: pictures, reading, head, answer."""
    figure, ax = plt.subplots(figsize=(COLUMN, 2.0))
    ax.set(xlim=(0, 10), ylim=(0, 4.6))
    ax.axis("off")

    def arrow(start, end):
        ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.3"})

    for image, number, low in zip(pair, classes, (2.75, 0.15), strict=True):
        middle = low + 0.85
        ax.imshow(image, cmap="gray_r", extent=(0, 1.7, low, low + 1.7), aspect="auto")
        arrow((1.75, middle), (2.3, middle))
        _box(ax, 2.35, middle - 0.37, 1.95, "sub-network", 1)
        arrow((4.35, middle), (4.9, middle))
        ax.text(5.65, middle, f"“{number}”", ha="center", va="center", fontsize=12)
        arrow((6.35, middle), (7.0, 2.3 + 0.3 * (1 if low > 1 else -1)))
    words = {"ha": "center", "va": "center", "fontsize": 8, "style": "italic"}
    ax.text(3.25, 2.3, "weight sharing:\none and the same", **words)
    ax.text(5.75, 2.3, "auxiliary loss:\nis it a " + " and a ".join(map(str, classes)) + "?", **words)
    _box(ax, 7.05, 1.93, 1.05, "head", 1)
    arrow((8.15, 2.3), (8.6, 2.3))
    answer = "yes" if classes[0] <= classes[1] else "no"
    ax.text(8.7, 2.3, f"{classes[0]} ≤ {classes[1]}?\n{answer}", va="center", fontsize=10, fontweight="bold")
    return figure
