"""Pictures of digits and of networks."""

import math

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from helpers.digits import CLASSES
from helpers.models import IMAGE, Architecture, build, count_parameters, entry_of
from helpers.plots import WIDTH


def digit_images(images, titles, columns: int = 10, height: float | None = None) -> plt.Figure:
    """Pictures [N, H, W] in rows of `columns`, each under its title."""
    rows = math.ceil(len(images) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height or rows * (WIDTH / columns + 0.3)), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        ax.set_title(title, fontsize=8.5)
    return figure


def pair_images(images: Tensor, titles, columns: int = 6) -> plt.Figure:
    """Examples [N, n, 14, 14] as pictures side by side, each under its title."""
    gap = torch.full((len(images), 14, 1), float(images.min()))
    parts = [part for i in range(images.shape[1]) for part in (gap, images[:, i])][1:]
    rows = math.ceil(len(images) / columns)
    return digit_images(torch.cat(parts, dim=2), titles, columns, height=max(1.2, rows * 1.15))


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
        ax.set_title(f"{name}: {sub_networks}", fontweight="bold", fontsize=9)
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
    """A pair [2, 14, 14] on its way through a network that shares its sub-network: pictures, reader, head, answer."""
    figure, ax = plt.subplots(figsize=(WIDTH, 2.3))
    ax.set(xlim=(0, 12), ylim=(0, 4))
    ax.axis("off")
    for row, (image, name) in enumerate(zip(pair, classes, strict=True)):
        low = 2.15 - 2 * row
        ax.imshow(image, cmap="gray_r", extent=(0.2, 1.9, low, low + 1.7), aspect="auto")
        for left, right in ((2.0, 2.9), (5.3, 6.2)):
            ax.annotate("", (right, low + 0.85), (left, low + 0.85), arrowprops={"arrowstyle": "->", "color": "0.3"})
        _box(ax, 2.95, low + 0.48, 2.3, "sub-network", 1)
        ax.text(6.3, low + 0.85, f"reads “{name}”", va="center", fontsize=9)
        ax.annotate(
            "", (8.9, 1.85 + 0.25 * (1 - 2 * row)), (8.0, low + 0.85), arrowprops={"arrowstyle": "->", "color": "0.3"}
        )
    ax.text(4.1, 2.0, "shared:\none and the same", ha="center", va="center", fontsize=8, style="italic")
    ax.text(
        7.1,
        2.0,
        "auxiliary loss:\nis it a " + " and a ".join(map(str, classes)) + "?",
        ha="center",
        va="center",
        fontsize=8,
        style="italic",
    )
    _box(ax, 8.95, 1.48, 1.2, "head", 1)
    ax.annotate("", (10.9, 1.85), (10.2, 1.85), arrowprops={"arrowstyle": "->", "color": "0.3"})
    answer = "yes" if classes[0] <= classes[1] else "no"
    ax.text(11.0, 1.85, f"{classes[0]} ≤ {classes[1]}?\n{answer}", va="center", fontsize=10, fontweight="bold")
    return figure
