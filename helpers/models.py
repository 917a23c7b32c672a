"""Networks as data: lists of layers for the sub-network that sees one digit, and for the head that joins them.

A network has one sub-network per image of its example. `layers` end in ten units, the digits' logits, where the
auxiliary loss acts; `head` turns both digits' logits into logits of the answers. With `digits`, layers of a side branch
that gives the digits' logits, the head gets what `layers` end in instead. All three are lists of the same LAYERS.
"""

import inspect
import math
from dataclasses import dataclass
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.digits import CLASSES
from helpers.inputs import InputError, known_keys, number, one_of, whole_number
from helpers.questions import USUAL, Question, ask

IMAGE = (14, 14)  # height and width of what a sub-network sees
LINEAR_HEAD = ({"linear": "answers"},)  # the reports': one linear layer over all digits' logits
ARGMAX_HEAD = ("argmax", "fixed")  # the answer for the digits with the largest logits


@dataclass(frozen=True)
class Architecture:
    """A network, described. Lists of layers are as read from YAML: names and {name: settings}."""

    layers: tuple
    head: tuple = LINEAR_HEAD
    digits: tuple | str = ()  # a side branch for the digits' logits; (): `layers` give them; "none": there are none
    sharing: bool = True  # one sub-network for all images instead of one each
    together: bool = False  # the images as channels of one network instead
    images: int = 2  # in an example
    question: str = USUAL  # of questions.SHIPPED, or an expression
    initialization: str = "torch"  # of the weights, one of INITIALIZATIONS
    answer_shift: float = 0.0  # pixels; out of training, average over each image moved so far in all four directions

    def has_digits(self) -> bool:
        return self.digits != "none"


# ----------------------------------------------------------------------------------------------------------- layers
# A builder takes the shape of one example that comes in, (channels, height, width), (channels, length) or (features,),
# and the layer's settings, and gives the module. What the module returns is found out by a probe. A head gets the shape
# (images, 10), or (images, features) of a network with a side branch.


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
        raise ValueError(f"it needs a map, but gets {_in_words(shape)}")
    return (of_maps if len(shape) == 3 else of_lines)(kernel, stride, padding)


def batch_norm(shape, affine: bool = True):
    return (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], affine=affine)


def of_digits(module, shape):
    if len(shape) != 2 or shape[1] != CLASSES:
        raise ValueError(f"it needs ten values for each digit, but gets {_in_words(shape)}")
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
    """Flatten all but the batch; maps with the channels last, as they lie in memory, so nothing is copied."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


class MaxPool(nn.MaxPool2d):
    """Out of training the largest of shifted views, first of rows, then of columns: the same numbers, much sooner."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        if self.padding:
            if 2 * self.padding > self.kernel_size:
                return super().forward(x)  # which says what is wrong
            x = F.pad(x, (self.padding,) * 4, value=float("-inf"))
        for dimension in (2, 3):
            x = reduce(torch.maximum, x.unfold(dimension, self.kernel_size, self.stride).unbind(-1))
        return x


class GlobalMaxPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(2, 3))


class GlobalAveragePool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Residual(nn.Module):
    """Layers whose output is added to their input, or to what `shortcut` makes of it."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.layers, self.shortcut = layers, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        changed, kept = self.layers(x), self.shortcut(x)
        if changed.shape != kept.shape:  # no broadcasting
            shapes = " and ".join(_in_words(tuple(part.shape[1:])) for part in (changed, kept))
            raise ValueError(f"its layers and its shortcut give {shapes}")
        return changed + kept


class Temperature(nn.Module):
    """Logits divided by a temperature, one number; `learned` begins at 1."""

    def __init__(self, value: float | str):
        super().__init__()
        learned = value == "learned"
        self.value = nn.Parameter(torch.ones(())) if learned else value

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
    """The logits of digits known for certain: 0 for the largest logit, minus infinity for the others."""

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(x.argmax(dim=-1), CLASSES).float().log()


class ExpectedDigit(nn.Module):
    """From the digits' logits [B, n, 10] the mean of each one's probabilities over the classes 0 to 9: [B, n, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(dim=-1) @ torch.arange(CLASSES, dtype=x.dtype, device=x.device).unsqueeze(1)


class Fixed(nn.Module):
    """The logarithms of the answers' probabilities for independent digits with these logits: nothing to learn."""

    def __init__(self, question: Question):
        super().__init__()
        self.question = question
        for i, matrix in enumerate(question.matrices()):
            self.register_buffer(f"matrix_{i}", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        answers = self.question.probabilities(x.softmax(dim=-1), list(self.buffers()))
        return answers.clamp(1e-6, 1 - 1e-6).log()  # so that all logarithms are finite


class SingleLogit(nn.Module):
    """Two answers' logits from the one of yes."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 0))


# --------------------------------------------------------------------------------------------------------- networks


class Network(nn.Module):
    """The sub-networks, their side branches and the head of an architecture."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture, question = architecture, ask(architecture.question, architecture.images)
        shape = (architecture.images if architecture.together else 1, *IMAGE)
        self.branches, self.sides, common = nn.ModuleList(), nn.ModuleList(), {}
        for _ in range(1 if architecture.sharing or architecture.together else architecture.images):
            branch, features = _chain("layers", architecture.layers, shape, common, question)
            self.branches.append(branch)
            if len(features) != 1:
                raise InputError(
                    f"layers: the last layer gives {_in_words(features)}, allowed are units (see flatten)."
                )
            if architecture.digits not in ((), "none"):
                side, logits = _chain("digits", architecture.digits, features, common, question)
                self.sides.append(side)
            else:
                logits = features
        if architecture.has_digits():
            units = CLASSES * (architecture.images if architecture.together else 1)
            _check_end("digits" if self.sides else "layers", logits, units, "ten for each digit that it sees")
        if architecture.digits == ():
            joined = (architecture.images, CLASSES)
        else:
            joined = features if architecture.together else (architecture.images, *features)
        self.head, answers = _chain("head", architecture.head, joined, {}, question)
        if answers == (1,) and question.answers == 2:
            self.head.append(SingleLogit())
        else:
            _check_end("head", answers, question.answers, "one for each answer")
        for weight in self.parameters():
            if weight.dim() > 1:
                INITIALIZATIONS[architecture.initialization](weight)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """From images [B, n, 14, 14] to the answers' logits [B, answers] and the digits' logits [B, n, 10], if any."""
        shift = self.architecture.answer_shift
        if shift and not self.training:
            views = [self.read(view)[1] for view in moved(images, shift)]
            joined = digits = torch.stack(views).softmax(dim=-1).mean(dim=0).log()
        else:
            joined, digits = self.read(images)
        return self.head(joined), digits

    def read(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """From images [B, n, 14, 14] to what the head gets and the digits' logits [B, n, 10], if there are any."""
        if self.architecture.together:
            seen = [images]
        elif len(self.branches) == 1:
            seen = [images.flatten(0, 1).unsqueeze(1)]
        else:
            seen = [images[:, i : i + 1] for i in range(images.shape[1])]
        features = [branch(image) for branch, image in zip(self.branches, seen, strict=True)]
        logits = [side(part) for side, part in zip(self.sides, features, strict=True)] if self.sides else features

        def joined(parts: list[Tensor]) -> Tensor:  # [B, n, F]
            return parts[0].reshape(*images.shape[:2], -1) if len(parts) == 1 else torch.stack(parts, dim=1)

        digits = joined(logits) if self.architecture.has_digits() else None
        if self.architecture.digits == ():
            return digits, digits
        return features[0] if self.architecture.together else joined(features), digits


def moved(images: Tensor, shift: float) -> list[Tensor]:
    """Images [B, n, H, W] as they are and moved by `shift` pixels (0 to 1) to each side, the border repeated."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    sides = ((0, 1), (2, 1), (1, 0), (1, 2))
    neighbours = [padded[..., y : y + height, x : x + width] for y, x in sides]
    return [images, *(torch.lerp(images, neighbour, shift) for neighbour in neighbours)]


def build(architecture: Architecture) -> Network:
    """The network with initial weights from torch's current seed. Raises InputError naming the layer at fault."""
    whole_number("images", architecture.images, 2, 100)
    one_of("sharing", architecture.sharing, (True, False))
    one_of("together", architecture.together, (True, False))
    one_of("initialization", architecture.initialization, INITIALIZATIONS)
    number("answer_shift", architecture.answer_shift, 0, 1)
    if architecture.together and not architecture.sharing:
        raise InputError("sharing: False was given, but with together there is one network; name models that share.")
    if architecture.answer_shift and architecture.digits != ():
        raise InputError("answer_shift: it averages digits' logits, so it needs a network whose head gets these.")
    return Network(architecture)


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _chain(
    where: str, layers, shape: tuple, common: dict[str, nn.Module], question: Question, own: dict | None = None
) -> tuple[nn.Sequential, tuple]:
    """Layers built for examples of `shape`, and the shape that they give.

    Layers of the same `name` are one layer; with `common: true` it is one in all sub-networks.
    """
    if not isinstance(layers, list | tuple) or not 0 < len(layers) <= 1000 or where.count("layers") > 20:
        raise InputError(f"{where[:100]}: {str(layers)[:100]} was given, allowed is a list of 1 to 1,000 layers.")
    modules, numbers, own = [], 0, {} if own is None else own
    probe = torch.zeros(1, *shape)  # goes through the layers built so far, and has the shape that the next one gets
    for position, layer in enumerate(layers, start=1):
        kind, settings = entry_of(layer, where)
        at = f"{where}: layer {position} ({kind})"
        builder, bare = LAYERS[one_of(f"{where}: layer {position}", kind, LAYERS)]
        if not isinstance(settings, dict):
            if bare is None:
                raise InputError(f"{at} takes no value, but was given {settings!r}.")
            settings = {bare: settings}
        settings = dict(settings)
        known = common if one_of(f"{at} common", settings.pop("common", False), (True, False)) else own
        name = settings.pop("name", at)
        if not isinstance(name, str):
            raise InputError(f"{at} name: {name!r} was given, allowed is a text.")
        shape = tuple(probe.shape[1:])
        given = {"question": question} if kind == "fixed" else {}
        check_settings(at, builder, settings, 1 + len(given), ("name", "common"))
        for setting, value in settings.items():
            if setting in ("layers", "shortcut"):
                given[setting], _ = _chain(f"{at} {setting}", value, shape, common, question, own)
            elif value == "answers":
                given[setting] = question.answers
            else:
                check, *limits = CHECKS[setting]
                check(f"{at} {setting}", value, *limits)
                given[setting] = value
        if (numbers := numbers + _size(shape, **given)) > LARGEST:
            raise InputError(f"{at}: with it the layers have {numbers:,} weights and values, allowed are {LARGEST:,}.")
        try:
            module = builder(shape, **given)
            if name in known and _shapes(known[name]) != _shapes(module):
                raise InputError(f"{at} is named {name!r} like an earlier layer of other sizes.")
            module = known.setdefault(name, module)
            with torch.no_grad():
                probe = module.eval()(probe)
            if not probe.numel():
                raise ValueError(f"nothing is left of the {_in_words(shape)} that it gets")
        except (RuntimeError, IndexError, MemoryError, OverflowError) as error:  # torch's words on shapes
            said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".").replace(". ", "; ")
            raise InputError(f"{at} cannot take the {_in_words(shape)} that it gets ({said}).") from None
        except ValueError as error:  # and on settings that do not go together
            raise error if isinstance(error, InputError) else InputError(f"{at}: {error}.") from None
        modules.append(module.train())
    return nn.Sequential(*modules), tuple(probe.shape[1:])


def _size(shape: tuple, units: int = 0, channels: int = 0, kernel: int = 0, padding: int = 0, **_) -> int:
    """How many weights a layer has for examples of this shape, and about how many numbers it gives."""
    maps = channels * math.prod(side + 2 * padding for side in shape[1:])
    return math.prod(shape) * units + channels * shape[0] * kernel ** (len(shape) - 1) + maps + units


def _check_end(where: str, shape: tuple, units: int, why: str) -> None:
    if shape != (units,):
        raise InputError(f"{where}: the last layer gives {_in_words(shape)}, allowed are {units} units, {why}.")


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


def _shapes(module: nn.Module) -> list:
    return [tuple(parameter.shape) for parameter in module.parameters()]


def _in_words(shape: tuple) -> str:
    if len(shape) == 3:
        return f"{shape[1]}×{shape[2]} maps in {shape[0]} channel(s)"
    return f"{shape[0]} units" if len(shape) == 1 else f"{shape[0]}×{shape[1]} values"
