"""A small explorer for a live notebook: pick or draw two digits, and see what trained networks say of them.

Where no live kernel serves widgets, as in the HTML report, `still` shows the same as a picture.
"""

import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from ipycanvas import Canvas, hold_canvas
from matplotlib.figure import Figure
from torch import Tensor

from helpers import plots
from helpers.data import Pairs
from helpers.digits import CLASSES
from helpers.models import Network
from helpers.training import predict

SIDE = 14  # pixels of a digit
ZOOM = 14  # pixels on the screen for one of them


def answers(networks: dict[str, Network], pair: Tensor) -> dict[str, tuple[float, np.ndarray]]:
    """Of a pair [2, 14, 14] each network's probability of first ≤ second, and of the digits' classes [2, 10]."""
    given = {}
    for name, network in networks.items():
        comparison, digits = predict(network, pair.unsqueeze(0))
        given[name] = (comparison.softmax(dim=1)[0, 1].item(), digits.softmax(dim=2)[0].numpy())
    return given


def still(networks: dict[str, Network], pair: Tensor, strict: bool = False) -> Figure:
    """A pair [2, 14, 14] and, for each network, both digits' probabilities and its answer."""
    given = answers(networks, pair)
    figure, axes = plt.subplots(1, 1 + len(given), figsize=(plots.WIDTH, 2.7), width_ratios=[2.2] + [3] * len(given))
    gap = torch.full((SIDE, 1), pair.min().item())
    axes[0].imshow(torch.cat([pair[0], gap, pair[1]], dim=1), cmap="gray_r")
    axes[0].axis("off")
    for ax, (name, (probability, digits)) in zip(axes[1:], given.items(), strict=True):
        for side, (label, shift, alpha) in enumerate((("first", -0.2, 0.45), ("second", 0.2, 1.0))):
            colour = plots.style(name)[0]
            ax.bar(np.arange(CLASSES) + shift, 100 * digits[side], 0.4, color=colour, alpha=alpha, label=label)
        answer, sign = "yes" if probability > 0.5 else "no", "<" if strict else "≤"
        ax.set_title(f"{name}: first {sign} second? {answer} ({100 * probability:.0f} %)")
        ax.set(xticks=range(CLASSES), ylim=(0, 105), xlabel="class", ylabel="probability (%)")
        ax.legend(fontsize="small")
    return figure


def explore(networks: dict[str, Network], pairs: Pairs) -> widgets.Widget:
    """Widgets that pick one of `pairs` or let its digits be drawn anew with the mouse, and show what networks say."""
    low, high = float(pairs.images.min()), float(pairs.images.max())
    pair = pairs.images[0].clone()
    number = widgets.BoundedIntText(0, min=0, max=len(pairs) - 1, description="pair")
    canvases = [Canvas(width=SIDE * ZOOM, height=SIDE * ZOOM) for _ in range(2)]
    wipes = [widgets.Button(description=f"clear {side}") for side in ("first", "second")]
    view = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
    pressed = [False, False]

    def draw(side: int) -> None:
        shade = (255 * (1 - (pair[side] - low) / (high - low))).clamp(0, 255).byte()
        picture = shade.repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1)
        with hold_canvas(canvases[side]):
            canvases[side].put_image_data(picture.unsqueeze(2).expand(-1, -1, 3).numpy())

    def answer() -> None:
        picture = io.BytesIO()
        figure = still(networks, pair, pairs.strict)
        figure.savefig(picture, format="png", dpi=100)
        plt.close(figure)
        view.value = picture.getvalue()

    def ink(side: int, x: float, y: float) -> None:
        """A soft pen, about a pixel and a half wide."""
        rows, columns = torch.arange(SIDE).view(-1, 1), torch.arange(SIDE).view(1, -1)
        distance = ((rows + 0.5 - y / ZOOM) ** 2 + (columns + 0.5 - x / ZOOM) ** 2).sqrt()
        stroke = low + (high - low) * (1.4 - distance).clamp(0, 1)
        pair[side] = torch.maximum(pair[side], stroke)
        draw(side)

    def choose(change) -> None:
        pair[:] = pairs.images[change["new"]]
        draw(0), draw(1), answer()

    def listen(side: int) -> None:
        def down(x, y):
            pressed[side] = True
            ink(side, x, y)

        def up(x, y):
            if pressed[side]:
                pressed[side] = False
                answer()

        def wipe(_):
            pair[side] = low
            draw(side), answer()

        canvases[side].on_mouse_down(down)
        canvases[side].on_mouse_move(lambda x, y: ink(side, x, y) if pressed[side] else None)
        canvases[side].on_mouse_up(up)
        canvases[side].on_mouse_out(up)
        wipes[side].on_click(wipe)

    listen(0), listen(1)
    number.observe(choose, names="value")
    draw(0), draw(1), answer()
    columns = [widgets.VBox(parts) for parts in zip(canvases, wipes, strict=True)]
    return widgets.VBox([number, widgets.HBox(columns), view])
