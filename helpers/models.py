"""Networks as data: a list of layers for the sub-network that sees one digit, and how the sub-networks are joined.

A network has one sub-network per image of its example. All of them end in ten units, the digits' logits, where the
auxiliary loss acts and where a head joins them to the two logits of the comparison.
"""

import inspect
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.digits import CLASSES
from helpers.inputs import InputError, known_keys, number, one_of, whole_number

IMAGE = (1, 14, 14)  # channels, height and width of what a sub-network sees


@dataclass(frozen=True)
class Architecture:
    """A network, described. `layers` is as read from YAML: a list of names and of {name: settings}."""

    layers: tuple
    sharing: bool = True  # one sub-network for all images instead of one each
    images: int = 2  # images in an example
    head: str | dict = "linear"  # what joins the digits' logits, one of HEADS
    strict: bool = False  # the question: first < second instead of first <= second
    answer_shift: float = 0.0  # pixels; out of training, read each picture also moved so far in all four directions


# ----------------------------------------------------------------------------------------------------------- layers
# A builder takes the shape of one example that comes in, (channels, height, width), (channels, length) or (features,),
# and the layer's settings, and gives the module. What the module returns is found out by a probe.


def linear(shape, units: int):
    return nn.Sequential(Flatten(), nn.Linear(torch.Size(shape).numel(), units))


def conv2d(shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    return nn.Conv2d(shape[0], channels, kernel, stride, padding, groups=groups)


def conv1d(shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    """Along the image's pixels in reading order, as one line of 196 values."""
    if len(shape) == 2:
        return nn.Conv1d(shape[0], channels, kernel, stride, padding, groups=groups)
    line = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, torch.Size(shape).numel())))
    return line.append(nn.Conv1d(1, channels, kernel, stride, padding, groups=groups))


LAYERS = {  # name: (builder, the setting that a bare value stands for)
    "linear": (linear, "units"),
    "conv1d": (conv1d, "channels"),
    "conv2d": (conv2d, "channels"),
    "max_pool": (lambda shape, kernel, stride=None: _pool(shape, MaxPool, nn.MaxPool1d)(kernel, stride), "kernel"),
    "average_pool": (
        lambda shape, kernel, stride=None: _pool(shape, nn.AvgPool2d, nn.AvgPool1d)(kernel, stride),
        "kernel",
    ),
    "global_max_pool": (lambda shape: GlobalMaxPool(), None),
    "global_average_pool": (lambda shape: GlobalAveragePool(), None),
    "batch_norm": (lambda shape: (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0]), None),
    "dropout": (lambda shape, rate=0.5: nn.Dropout(rate), "rate"),
    "spatial_dropout": (lambda shape, rate=0.5: (nn.Dropout2d if len(shape) == 3 else nn.Dropout1d)(rate), "rate"),
    "relu": (lambda shape: nn.ReLU(), None),
    "leaky_relu": (lambda shape, slope=0.01: nn.LeakyReLU(slope), "slope"),
    "elu": (lambda shape: nn.ELU(), None),
    "gelu": (lambda shape: nn.GELU(), None),
    "silu": (lambda shape: nn.SiLU(), None),
    "sigmoid": (lambda shape: nn.Sigmoid(), None),
    "tanh": (lambda shape: nn.Tanh(), None),
}
CHECKS = {  # of the layers' settings by name: (check, its limits)
    **dict.fromkeys(("units", "channels", "kernel", "stride", "groups"), (whole_number, 1)),
    "padding": (whole_number, 0),
    "rate": (number, 0, 1),
    "slope": (number, 0),
}


def _pool(shape, of_maps, of_lines):
    if len(shape) == 1:
        raise ValueError(f"it needs a map, but gets {_in_words(shape)}")
    return of_maps if len(shape) == 3 else of_lines


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


# ------------------------------------------------------------------------------------------------------------ heads
# A head takes the digits' logits [B, n, 10] and gives the comparison's logits [B, 2]: (not in order, in order).


class LinearHead(nn.Sequential):
    """One linear layer over all digits' logits: the comparison is learnt."""

    def __init__(self, architecture: Architecture):
        super().__init__(nn.Flatten(), nn.Linear(architecture.images * CLASSES, 2))


class LinearProbabilitiesHead(nn.Sequential):
    """As the linear head, with a softmax before it: one linear layer over all digits' probabilities."""

    def __init__(self, architecture: Architecture):
        super().__init__(nn.Softmax(dim=2), nn.Flatten(), nn.Linear(architecture.images * CLASSES, 2))


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


HEADS = {
    "linear": LinearHead,
    "linear_probabilities": LinearProbabilitiesHead,
    "outer_product": OuterProductHead,
    "order": OrderHead,
}


# --------------------------------------------------------------------------------------------------------- networks


class Network(nn.Module):
    """The sub-networks and the head of an architecture."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        common: dict[str, nn.Module] = {}
        count = 1 if architecture.sharing else architecture.images
        self.branches = nn.ModuleList(_sub_network(architecture.layers, common) for _ in range(count))
        head, settings = named_part("head", architecture.head, HEADS, architecture)
        self.head = head(architecture, **settings)
        self.answer_shift = architecture.answer_shift
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """From images [B, n, 14, 14] to the comparison's logits [B, 2] and the digits' logits [B, n, 10]."""
        if self.answer_shift and not self.training:
            views = [self.read(view) for view in moved(images, self.answer_shift)]
            digits = torch.stack(views).softmax(dim=-1).mean(dim=0).log()
        else:
            digits = self.read(images)
        return self.head(digits), digits

    def read(self, images: Tensor) -> Tensor:
        """From images [B, n, 14, 14] to the digits' logits [B, n, 10]."""
        if len(self.branches) == 1:
            return self.branches[0](images.flatten(0, 1).unsqueeze(1)).unflatten(0, images.shape[:2])
        return torch.stack([branch(images[:, i : i + 1]) for i, branch in enumerate(self.branches)], dim=1)


def moved(images: Tensor, shift: float) -> list[Tensor]:
    """Images [B, n, H, W] as they are and moved by `shift` pixels (0 to 1) to each side, the border repeated."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    sides = ((0, 1), (2, 1), (1, 0), (1, 2))
    neighbours = [padded[..., y : y + height, x : x + width] for y, x in sides]
    return [images, *(torch.lerp(images, neighbour, shift) for neighbour in neighbours)]


def build(architecture: Architecture) -> Network:
    """The network with initial weights from torch's current seed. Raises InputError naming the layer at fault."""
    whole_number("images", architecture.images, 2)
    number("answer_shift", architecture.answer_shift, 0, 1)
    return Network(architecture)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _sub_network(layers, common: dict[str, nn.Module]) -> nn.Sequential:
    """One sub-network. Layers of the same `name` are one layer; with `common: true` it is one in all sub-networks."""
    if not isinstance(layers, list | tuple) or not layers:
        raise InputError(f"layers: {layers!r} was given, allowed is a list of layers.")
    modules, own = [], {}
    probe = torch.zeros(1, *IMAGE)  # goes through the layers built so far, and has the shape that the next one gets
    for position, layer in enumerate(layers, start=1):
        kind, settings = entry_of(layer)
        where = f"layers: layer {position} ({kind})"
        builder, bare = LAYERS[one_of(f"layers: layer {position}", kind, LAYERS)]
        if not isinstance(settings, dict):
            if bare is None:
                raise InputError(f"{where} takes no value, but was given {settings!r}.")
            settings = {bare: settings}
        settings = dict(settings)
        known = common if settings.pop("common", False) else own
        name = settings.pop("name", f"{kind} {position}")
        check_settings(where, builder, settings, 1, ("name", "common"))
        for setting, value in settings.items():
            check, *limits = CHECKS[setting]
            check(f"{where} {setting}", value, *limits)
        shape = tuple(probe.shape[1:])
        try:
            module = builder(shape, **settings)
            if name in known and _shapes(known[name]) != _shapes(module):
                raise InputError(f"{where} is named {name!r} like an earlier layer of other sizes.")
            module = known.setdefault(name, module)
            with torch.no_grad():
                probe = module.eval()(probe)
        except (RuntimeError, IndexError) as error:  # torch's words on shapes that do not fit
            said = str(error).splitlines()[0].rstrip(".").replace(". ", "; ")
            raise InputError(f"{where} cannot take the {_in_words(shape)} that it gets ({said}).") from None
        except ValueError as error:  # and on settings that do not go together
            raise error if isinstance(error, InputError) else InputError(f"{where}: {error}.") from None
        modules.append(module.train())
    if probe.shape != (1, CLASSES):
        given = _in_words(tuple(probe.shape[1:]))
        raise InputError(f"layers: the last layer gives {given}, allowed are {CLASSES} units, one for each digit.")
    return nn.Sequential(*modules)


def entry_of(entry, what: str = "layers") -> tuple[str, object]:
    """(name, settings) of `relu`, `linear: 20` or `conv2d: {channels: 16, kernel: 3}` as YAML gives them."""
    if isinstance(entry, dict) and len(entry) == 1:
        return next(iter(entry.items()))
    if isinstance(entry, str):
        return entry, {}
    raise InputError(f"{what}: {entry!r} was given, allowed is a name or one name with its settings.")


def named_part(what: str, entry, table: dict, *arguments) -> tuple:
    """What `entry` names in `table`, e.g. "order" or {"one_cycle": {"warm_up": 0.2}}, and its settings, checked.

    `arguments` are what it will be called with before its settings. Raises InputError in one sentence.
    """
    name, settings = entry_of(entry, what)
    part = table[one_of(what, name, table)]
    check_settings(f"{what}: {name}", part, settings, len(arguments))
    for setting, value in settings.items():
        number(f"{what}: {name} {setting}", value, 0)
    return part, settings


def check_settings(where: str, function, settings, before: int, more: tuple = ()) -> None:
    """Refuse settings that `function` does not know, and their lack, beside its first `before` arguments."""
    parameters = list(inspect.signature(function).parameters.values())[before:]
    known_keys(where, settings, [*(p.name for p in parameters), *more])
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in settings:
            raise InputError(f"{where} is missing its {parameter.name!r}.")


def _shapes(module: nn.Module) -> list:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def _in_words(shape: tuple) -> str:
    return f"{shape[0]} units" if len(shape) == 1 else f"{'×'.join(map(str, shape[1:]))} map in {shape[0]} channel(s)"
