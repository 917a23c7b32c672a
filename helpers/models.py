"""Networks as data: lists of layers for the sub-network that sees one digit, and for the head that joins them.

A network has one sub-network per image of its example. `layers` end in ten units, the digits' logits, where the
auxiliary loss acts; `head` turns both digits' logits into logits of the answers. With `digits`, layers of a side branch
that gives the digits' logits, the head gets what `layers` end in instead. All three are lists of the same LAYERS.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.inputs import InputError, number, one_of, whole_number
from helpers.layers import (
    CHECKS,
    INITIALIZATIONS,
    LARGEST,
    LAYERS,
    SingleLogit,
    check_settings,
    entry_of,
    in_words,
    size_of,
)  # fmt: skip
from helpers.questions import CLASSES, USUAL, Question, ask

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
    tta_shift: float = 0.0  # pixels; out of training, average over each image moved so far in all four directions

    def has_digits(self) -> bool:
        return self.digits != "none"


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
                raise InputError(f"layers: the last layer gives {in_words(features)}, allowed are units (see flatten).")
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
        shift = self.architecture.tta_shift
        if shift and not self.training:
            views = [self.read(view)[0] for view in moved(images, shift)]
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
        if digits is not None and self.architecture.digits == ():
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
    number("tta_shift", architecture.tta_shift, 0, 1)
    if architecture.together and not architecture.sharing:
        raise InputError("sharing: False was given, but with together there is one network; name models that share.")
    if architecture.tta_shift and architecture.digits != ():
        raise InputError("tta_shift: it averages digits' logits, so it needs a network whose head gets these.")
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
        given: dict = {"question": question} if kind == "fixed" else {}
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
        if (numbers := numbers + size_of(shape, **given)) > LARGEST:
            raise InputError(f"{at}: with it the layers have {numbers:,} weights and values, allowed are {LARGEST:,}.")
        try:
            module = builder(shape, **given)
            if name in known and _shapes(known[name]) != _shapes(module):
                raise InputError(f"{at} is named {name!r} like an earlier layer of other sizes.")
            module = known.setdefault(name, module)
            with torch.no_grad():
                probe = module.eval()(probe)
            if not probe.numel():
                raise ValueError(f"nothing is left of the {in_words(shape)} that it gets")
        except (RuntimeError, IndexError, MemoryError, OverflowError) as error:  # torch's words on shapes
            said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".").replace(". ", "; ")
            raise InputError(f"{at} cannot take the {in_words(shape)} that it gets ({said}).") from None
        except ValueError as error:  # and on settings that do not go together
            raise error if isinstance(error, InputError) else InputError(f"{at}: {error}.") from None
        modules.append(module.train())
    return nn.Sequential(*modules), tuple(probe.shape[1:])


def _check_end(where: str, shape: tuple, units: int, why: str) -> None:
    if shape != (units,):
        raise InputError(f"{where}: the last layer gives {in_words(shape)}, allowed are {units} units, {why}.")


def _shapes(module: nn.Module) -> list:
    return [tuple(parameter.shape) for parameter in module.parameters()]
