"""The layers that a description may name, with the checks of their settings.

A builder takes the shape of one example that comes in, (channels, height, width), (channels, length) or (features,),
and the layer's settings, and gives the module. What the module returns is found out by a probe. A head gets the shape
(images, 10), or (images, features) of a network with a side branch.
"""

import inspect
import math
from functools import partial, reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.inputs import InputError, known_keys, number, one_of, whole_number
from helpers.questions import CLASSES, Question


def linear(shape, units: int):
    return nn.Sequential(Flatten(), nn.Linear(torch.Size(shape).numel(), units))


def conv2d(shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    return nn.Conv2d(shape[0], channels, kernel, stride or 1, padding, groups=groups)


def conv1d(shape, channels: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1):
    """Along the image's pixels in reading order, as one line of 196 values."""
    if len(shape) == 2:
        return nn.Conv1d(shape[0], channels, kernel, stride or 1, padding, groups=groups)
    line = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, torch.Size(shape).numel())))
    return line.append(nn.Conv1d(1, channels, kernel, stride or 1, padding, groups=groups))


def pool(of_maps, of_lines, shape, kernel: int, stride: int | None = None, padding: int = 0):
    if len(shape) == 1:
        raise ValueError(f"it needs a map, but gets {in_words(shape)}")
    return (of_maps if len(shape) == 3 else of_lines)(kernel, stride, padding)


def batch_norm(shape, affine: bool = True):
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], affine=affine)


def of_digits(module, shape):
    if len(shape) != 2 or shape[1] != CLASSES:
        raise ValueError(f"it needs ten values for each digit, but gets {in_words(shape)}")
    if module is OuterProduct and shape[0] > 5:
        raise ValueError(f"it needs at most 5 digits, but gets {shape[0]}")
    return module()


LAYERS = {  # name: (builder, the setting that a bare value stands for)
    "linear": (linear, "units"),
    "conv1d": (conv1d, "channels"),
    "conv2d": (conv2d, "channels"),
    "residual": (lambda shape, layers, shortcut=None: Residual(layers, shortcut), "layers"),
    "flatten": (lambda shape: Flatten(), None),
    "max_pool": (partial(pool, lambda *size: MaxPool(*size), nn.MaxPool1d), "kernel"),
    "average_pool": (partial(pool, nn.AvgPool2d, nn.AvgPool1d), "kernel"),
    "global_max_pool": (lambda shape: GlobalMaxPool(), None),
    "global_average_pool": (lambda shape: GlobalAveragePool(), None),
    "batch_norm": (batch_norm, "affine"),
    "dropout": (lambda shape, rate=0.5: nn.Dropout(rate), "rate"),
    "spatial_dropout": (lambda shape, rate=0.5: (nn.Dropout2d if len(shape) == 3 else nn.Dropout1d)(rate), "rate"),
    "relu": (lambda shape: nn.ReLU(), None),
    "leaky_relu": (lambda shape, slope=0.01: nn.LeakyReLU(slope), "slope"),
    "elu": (lambda shape: nn.ELU(), None),
    "selu": (lambda shape: nn.SELU(), None),
    "gelu": (lambda shape: nn.GELU(), None),
    "silu": (lambda shape: nn.SiLU(), None),
    "sigmoid": (lambda shape: nn.Sigmoid(), None),
    "tanh": (lambda shape: nn.Tanh(), None),
    "softmax": (lambda shape: nn.Softmax(dim=-1), None),
    "log_softmax": (lambda shape: nn.LogSoftmax(dim=-1), None),
    "normalize": (lambda shape: nn.LayerNorm(shape[-1], elementwise_affine=False), None),
    "temperature": (lambda shape, value: Temperature(value), "value"),
    "stop_gradient": (lambda shape: StopGradient(), None),
    "difference": (lambda shape: Difference(), None),
    "outer_product": (lambda shape: of_digits(OuterProduct, shape), None),
    "argmax": (lambda shape: of_digits(Argmax, shape), None),
    "expected_digit": (lambda shape: of_digits(ExpectedDigit, shape), None),
    "fixed": (lambda shape, question: of_digits(partial(Fixed, question), shape), None),  # given by the architecture
}
CHECKS = {  # of the settings of layers, schedules and augmentations by name: (check, its limits); else a number from 0
    **dict.fromkeys(("units", "channels", "groups"), (whole_number, 1, 10**5)),
    "kernel": (whole_number, 1, 196),
    "stride": (lambda name, value: value if value is None else whole_number(name, value, 1, 196),),
    "padding": (whole_number, 0, 98),
    "rate": (number, 0, 1),
    "slope": (number, 0),
    "affine": (one_of, (True, False)),
    "every": (whole_number, 1),
    "knots": (whole_number, 2, 28),
    "warm_up": (number, 0, 0.99),
    "value": (lambda name, value: value if value == "learned" else number(name, value, 1e-6),),
}
LARGEST = 10**7  # numbers that a list of layers may have as weights, and give for one example
INITIALIZATIONS = {  # of weights with two dimensions or more
    "torch": lambda weight: weight,
    "xavier": nn.init.xavier_uniform_,
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
}


class Flatten(nn.Module):
    """Flatten all but the batch: [B, F]; maps with the channels last, as they lie in memory, so nothing is copied."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


class MaxPool(nn.MaxPool2d):
    """Of [B, C, H, W], out of training, the largest of shifted views, of rows, then columns: the same, much sooner."""

    kernel_size: int
    stride: int
    padding: int

    def forward(self, x: Tensor):
        if self.training or 2 * self.padding > self.kernel_size:  # of which the parent says what is wrong
            return super().forward(x)
        if self.padding:
            x = F.pad(x, (self.padding,) * 4, value=float("-inf"))
        for dimension in (2, 3):
            x = reduce(torch.maximum, x.unfold(dimension, self.kernel_size, self.stride).unbind(-1))
        return x


class GlobalMaxPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))  # [B, C, H, W] to [B, C]


class GlobalAveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))  # [B, C, H, W] to [B, C]


class Residual(nn.Module):
    """Layers whose output is added to their input, or to what `shortcut` makes of it."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.layers, self.shortcut = layers, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        changed, kept = self.layers(x), self.shortcut(x)
        if changed.shape != kept.shape:  # no broadcasting
            shapes = " and ".join(in_words(tuple(part.shape[1:])) for part in (changed, kept))
            raise ValueError(f"its layers and its shortcut give {shapes}")
        return changed + kept


class Temperature(nn.Module):
    """Logits [B, …] divided by a temperature, one number; `learned` begins at 1."""

    def __init__(self, value: float | Literal["learned"]):
        super().__init__()
        self.value = nn.Parameter(torch.ones(())) if value == "learned" else value

    def forward(self, x: Tensor) -> Tensor:
        return x / self.value


class StopGradient(nn.Module):
    """What comes after it does not train what is before it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Difference(nn.Module):
    """Of features [B, n, F] each image's minus those of the one before: [B, (n - 1) · F]."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 1:] - x[:, :-1]).flatten(1)


class OuterProduct(nn.Module):
    """Of [B, n, F] the products for all combinations of one value per image, [B, F to the n]."""

    def forward(self, x: Tensor) -> Tensor:
        product, *others = x.unbind(dim=1)
        for other in others:
            product = (product.unsqueeze(2) * other.unsqueeze(1)).flatten(1)
        return product


class Argmax(nn.Module):
    """The logits [B, n, 10] of digits known for certain: 0 for the largest, minus infinity for the others."""

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(x.argmax(dim=-1), CLASSES).float().log()


class ExpectedDigit(nn.Module):
    """From the digits' logits [B, n, 10] the mean of each one's probabilities over the classes 0 to 9: [B, n, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(dim=-1) @ torch.arange(CLASSES, dtype=x.dtype, device=x.device).unsqueeze(1)


class Fixed(nn.Module):
    """The logarithms [B, answers] of probabilities for independent digits with logits [B, n, 10]: nothing to learn."""

    def __init__(self, question: Question):
        super().__init__()
        self.question = question
        for i, matrix in enumerate(question.matrices()):
            self.register_buffer(f"matrix_{i}", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        answers = self.question.probabilities(x.softmax(dim=-1), list(self.buffers()))
        return answers.clamp(1e-6, 1 - 1e-6).log()  # so that all logarithms are finite


class SingleLogit(nn.Module):
    """Two answers' logits [B, 2] from the one of yes [B, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 0))


def size_of(shape: tuple, units: int = 0, channels: int = 0, kernel: int = 0, padding: int = 0, **_) -> int:
    """How many weights a layer has for examples of this shape, and about how many numbers it gives."""
    maps = channels * math.prod(side + 2 * padding for side in shape[1:])
    return math.prod(shape) * units + channels * shape[0] * kernel ** (len(shape) - 1) + maps + units


def entry_of(entry, what: str = "layers") -> tuple[str, Any]:
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
        check, *limits = CHECKS.get(setting, (number, 0))
        check(f"{what}: {name} {setting}", value, *limits)
    return part, settings


def check_settings(where: str, function, settings, before: int, more: tuple = ()) -> None:
    """Refuse settings that `function` does not know, and their lack, beside its first `before` arguments."""
    parameters = list(inspect.signature(function).parameters.values())[before:]
    known_keys(where, settings, [*(p.name for p in parameters), *more])
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in settings:
            raise InputError(f"{where} is missing its {parameter.name!r}.")


def in_words(shape: tuple) -> str:
    if len(shape) == 3:
        return f"{shape[1]}×{shape[2]} maps in {shape[0]} channel(s)"
    return f"{shape[0]} units" if len(shape) == 1 else f"{shape[0]}×{shape[1]} values"
