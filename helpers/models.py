"""Networks as data: a list of layers for the sub-network that sees one digit, and how the sub-networks are joined.

A network has one sub-network per image of its example. All of them end in ten units, the digits' logits, where the
auxiliary loss acts and where a head joins them to the two logits of the comparison.
"""

import math
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from helpers.data import CLASSES
from helpers.inputs import InputError, number, one_of, whole_number

Shape = tuple[int, ...]  # of one example: (channels, height, width), (channels, length) or (features,)
IMAGE: Shape = (1, 14, 14)


@dataclass(frozen=True)
class Architecture:
    """A network, described. `layers` is as read from YAML: a list of names and of {name: settings}."""

    layers: tuple
    sharing: bool = True  # one sub-network for all images instead of one each
    images: int = 2  # images in an example
    head: str | dict = "linear"  # what joins the digits' logits, one of HEADS
    strict: bool = False  # the question: first < second instead of first <= second


# ----------------------------------------------------------------------------------------------------------- layers
# Each builder takes the shape that comes in and the layer's settings, and gives the module and the shape it returns.


def linear(shape: Shape, units: int):
    return nn.Sequential(Flatten(), nn.Linear(math.prod(shape), units)), (units,)


def conv2d(shape: Shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    size = _windows(shape, 2, kernel, stride, padding)
    _grouped(shape[0], channels, groups)
    return nn.Conv2d(shape[0], channels, kernel, stride, padding, groups=groups), (channels, *size)


def conv1d(shape: Shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    """Along the image's pixels in reading order, as one line of 196 values."""
    lined_up = (1, math.prod(shape)) if len(shape) == 3 else shape
    size = _windows(lined_up, 1, kernel, stride, padding)
    _grouped(lined_up[0], channels, groups)
    convolution = nn.Conv1d(lined_up[0], channels, kernel, stride, padding, groups=groups)
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, lined_up), convolution) if len(shape) == 3 else convolution, (
        channels,
        *size,
    )


def max_pool(shape: Shape, kernel: int, stride: int | None = None):
    size = _windows(shape, len(shape) - 1, kernel, stride or kernel)
    return (nn.MaxPool1d if len(shape) == 2 else MaxPool)(kernel, stride), (shape[0], *size)


def average_pool(shape: Shape, kernel: int, stride: int | None = None):
    size = _windows(shape, len(shape) - 1, kernel, stride or kernel)
    return (nn.AvgPool1d if len(shape) == 2 else nn.AvgPool2d)(kernel, stride), (shape[0], *size)


def global_max_pool(shape: Shape):
    _windows(shape, 2, 1, 1)
    return GlobalMaxPool(), shape[:1]


def global_average_pool(shape: Shape):
    _windows(shape, 2, 1, 1)
    return GlobalAveragePool(), shape[:1]


def batch_norm(shape: Shape):
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0]), shape


def dropout(shape: Shape, rate: float = 0.5):
    return nn.Dropout(number("dropout", rate, 0, 1)), shape


def spatial_dropout(shape: Shape, rate: float = 0.5):
    number("spatial_dropout", rate, 0, 1)
    return (nn.Dropout2d if len(shape) == 3 else nn.Dropout1d)(rate), shape


LAYERS = {  # name: (builder, the setting that a bare value stands for)
    "linear": (linear, "units"),
    "conv1d": (conv1d, "channels"),
    "conv2d": (conv2d, "channels"),
    "max_pool": (max_pool, "kernel"),
    "average_pool": (average_pool, "kernel"),
    "global_max_pool": (global_max_pool, None),
    "global_average_pool": (global_average_pool, None),
    "batch_norm": (batch_norm, None),
    "dropout": (dropout, "rate"),
    "spatial_dropout": (spatial_dropout, "rate"),
    "relu": (lambda shape: (nn.ReLU(), shape), None),
    "leaky_relu": (lambda shape, slope=0.01: (nn.LeakyReLU(slope), shape), "slope"),
    "elu": (lambda shape: (nn.ELU(), shape), None),
    "gelu": (lambda shape: (nn.GELU(), shape), None),
    "silu": (lambda shape: (nn.SiLU(), shape), None),
    "sigmoid": (lambda shape: (nn.Sigmoid(), shape), None),
    "tanh": (lambda shape: (nn.Tanh(), shape), None),
}


class Flatten(nn.Module):
    """Flatten all but the batch; maps with the channels last, as they lie in memory, so nothing is copied."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


class MaxPool(nn.MaxPool2d):
    """Out of training the largest of shifted views, first of rows, then of columns: the same numbers, much sooner."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        for dimension in (2, 3):
            x = reduce(torch.maximum, x.unfold(dimension, self.kernel_size, self.stride).unbind(-1))
        return x


class GlobalMaxPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))


class GlobalAveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def _windows(shape: Shape, dimensions: int, kernel: int, stride: int, padding: int = 0) -> Shape:
    """The map's size after sliding a window over it."""
    if len(shape) != dimensions + 1:
        raise InputError(f"needs maps in {dimensions} dimension(s), but gets {_said(shape)}")
    whole_number("kernel", kernel, 1), whole_number("stride", stride, 1), whole_number("padding", padding, 0)
    if kernel > min(shape[1:]) + 2 * padding:
        raise InputError(
            f"its kernel of {kernel} is larger than the map of {_said(shape)} that it gets (padding {padding})"
        )
    return tuple((size + 2 * padding - kernel) // stride + 1 for size in shape[1:])


def _grouped(channels_in: int, channels: int, groups: int) -> None:
    if channels_in % whole_number("groups", groups, 1) or channels % groups:
        raise InputError(f"its groups ({groups}) do not divide its {channels_in} channels in and {channels} out")


def _said(shape: Shape) -> str:
    return f"{shape[0]} units" if len(shape) == 1 else f"{'×'.join(map(str, shape[1:]))} in {shape[0]} channel(s)"


# ------------------------------------------------------------------------------------------------------------ heads
# A head takes the digits' logits [B, n, 10] and gives the comparison's logits [B, 2]: (not in order, in order).


class LinearHead(nn.Sequential):
    """One linear layer over all digits' logits: the comparison is learnt."""

    def __init__(self, architecture: Architecture):
        super().__init__(nn.Flatten(), nn.Linear(architecture.images * CLASSES, 2))


class OuterProductHead(nn.Module):
    """One linear layer over the products of the digits' probabilities, one for each combination of classes: learnt."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.linear = nn.Linear(CLASSES**architecture.images, 2)

    def forward(self, digits: Tensor) -> Tensor:
        first, *others = digits.softmax(dim=2).unbind(dim=1)
        for other in others:
            first = (first.unsqueeze(2) * other.unsqueeze(1)).flatten(1)
        return self.linear(first)


class OrderHead(nn.Module):
    """The probability that independent digits of these probabilities stand in order: computed, nothing to learn."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        before = torch.ones(CLASSES, CLASSES).triu(diagonal=1 if architecture.strict else 0)
        self.register_buffer("before", before, persistent=False)  # [i, j]: 1 where class i may stand before class j

    def forward(self, digits: Tensor) -> Tensor:
        reached, *others = digits.softmax(dim=2).unbind(dim=1)  # [B, 10]: in order so far, ending in this class
        for other in others:
            reached = (reached @ self.before) * other
        in_order = reached.sum(dim=1).clamp(1e-6, 1 - 1e-6)  # so that both logarithms are finite
        return torch.stack([(1 - in_order).log(), in_order.log()], dim=1)


HEADS = {"linear": LinearHead, "outer_product": OuterProductHead, "order": OrderHead}


# --------------------------------------------------------------------------------------------------------- networks


class Network(nn.Module):
    """The sub-networks and the head of an architecture."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        common: dict[str, nn.Module] = {}
        count = 1 if architecture.sharing else architecture.images
        self.branches = nn.ModuleList(_branch(architecture.layers, common) for _ in range(count))
        self.head = named_part("head", architecture.head, HEADS, architecture)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From images [B, n, 14, 14] to the comparison's logits [B, 2] and the digits' logits [B, n, 10]."""
        if len(self.branches) == 1:
            digits = self.branches[0](images.flatten(0, 1).unsqueeze(1)).unflatten(0, images.shape[:2])
        else:
            digits = torch.stack([branch(images[:, i : i + 1]) for i, branch in enumerate(self.branches)], dim=1)
        return self.head(digits), digits


def build(architecture: Architecture) -> Network:
    """The network with initial weights from torch's current seed. Raises InputError naming the layer at fault."""
    whole_number("images", architecture.images, 2)
    return Network(architecture)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def outline(architecture: Architecture) -> tuple[list[tuple[str, int]], tuple[str, int]]:
    """What to draw of a network: (text, parameters) of each layer of a sub-network, and of the head.

    A layer used again, or by all sub-networks, counts its parameters at every place where it stands.
    """
    network, shape, lines = build(architecture).eval(), torch.zeros(1, *IMAGE), []
    for layer, module in zip(architecture.layers, network.branches[0], strict=True):
        kind, settings = entry_of(layer)
        shape = module(shape)
        kernel = settings.get("kernel") if isinstance(settings, dict) else None
        size = f" {kernel}×{kernel}" if kernel and shape.dim() == 4 else ""
        grows = count_parameters(module) or "pool" in kind
        gives = f" → {'×'.join(map(str, shape.shape[1:]))}" if grows and kind != "batch_norm" else ""
        lines.append((f"{kind.replace('_', ' ')}{size}{gives}", count_parameters(module)))
    head, _ = entry_of(architecture.head)
    return lines, (
        f"{head.replace('_', ' ')} head: {architecture.images * CLASSES} → 2",
        count_parameters(network.head),
    )


def _branch(layers, common: dict[str, nn.Module]) -> nn.Sequential:
    """One sub-network. Layers of the same `name` are one layer; with `common: true` it is one in all sub-networks."""
    if not isinstance(layers, list | tuple) or not layers:
        raise InputError(f"layers: {layers!r} was given, allowed is a list of layers.")
    modules, shape, own = [], IMAGE, {}
    for position, layer in enumerate(layers, start=1):
        kind, settings = entry_of(layer)
        where = f"layers: layer {position} ({kind})"
        if kind not in LAYERS:
            raise InputError(f"{where} is unknown, allowed is one of {', '.join(LAYERS)}.")
        builder, bare = LAYERS[kind]
        if not isinstance(settings, dict):
            if bare is None:
                raise InputError(f"{where} takes no value, but was given {settings!r}.")
            settings = {bare: settings}
        settings = dict(settings)
        known = common if settings.pop("common", False) else own
        name = settings.pop("name", f"{kind} {position}")
        try:
            module, after = builder(shape, **{k: _size(k, v) for k, v in settings.items()})
            if name in known and _shapes(known[name]) != _shapes(module):
                raise InputError(f"is named {name!r} like an earlier layer of other sizes")
        except TypeError as error:
            raise InputError(f"{where} gets {_said(shape)} and cannot be built: {_plain(error)}.") from None
        except InputError as error:
            raise InputError(f"{where} {str(error).rstrip('.')}.") from None
        modules.append(known.setdefault(name, module))
        shape = after
    if shape != (CLASSES,):
        raise InputError(
            f"layers: the last layer gives {_said(shape)}, allowed are {CLASSES} units, one for each digit."
        )
    return nn.Sequential(*modules)


def entry_of(layer, what: str = "layers") -> tuple[str, object]:
    """(name, settings) of `relu`, `linear: 20` or `conv2d: {channels: 16, kernel: 3}` as YAML gives them."""
    if isinstance(layer, dict) and len(layer) == 1:
        return next(iter(layer.items()))
    if isinstance(layer, str):
        return layer, {}
    raise InputError(f"{what}: {layer!r} was given, allowed is a name or one name with its settings.")


def named_part(what: str, entry, table: dict, *arguments):
    """Call what `entry` names in `table`, e.g. "order" or {"one_cycle": {"warm_up": 0.2}}."""
    name, settings = entry_of(entry, what)
    one_of(what, name, table)
    try:
        return table[name](*arguments, **(settings or {}))
    except TypeError as error:
        raise InputError(f"{what}: {name} was given settings that it cannot take: {_plain(error)}.") from None


def _size(setting: str, value):
    return whole_number(setting, value, 1) if setting in ("units", "channels") else value


def _shapes(module: nn.Module) -> list:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def _plain(error: TypeError) -> str:
    """Python's word on missing or unknown arguments, without the function's name."""
    return str(error).split("()")[-1].strip()
