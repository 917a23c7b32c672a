"""The demo in the exported article: two digits are drawn or picked, and trained networks read and compare them.

It needs no kernel: an HTML fragment holds the networks' weights, some test pairs and a forward pass in JavaScript.
"""

import io
from base64 import b64encode
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader
from PIL import Image
from torch import Tensor, nn

from helpers.data import Pairs
from helpers.inputs import InputError
from helpers.layers import Fixed, GlobalAveragePool, GlobalMaxPool, MaxPool
from helpers.models import IMAGE, Network
from helpers.questions import CLASSES, ask
from helpers.training import predict

OFFERED, MISSED = 40, 10  # test pairs, and of each network's wrong answers
SIMPLE = {nn.ReLU: "relu", GlobalMaxPool: "global_max_pool", GlobalAveragePool: "global_average_pool"}
BEFORE = {nn.ReLU: "relu", nn.Softmax: "softmax"}  # a linear head's layer, if there is one


def demo(networks: dict[str, Network], pairs: Pairs, mean: float, deviation: float) -> str:
    """An HTML fragment in which the reader draws two digits or picks some of `pairs` and sees what networks say.

    `pairs` [B, 2, 14, 14] are standardized by `mean` and `deviation` (of pixels from 0 to 255), those of training. It
    opens with the first network's `opening`; without JavaScript that pair is shown and told. Raises InputError in one
    sentence for a network that the page cannot compute.
    """
    question = ask(pairs.question, pairs.images.shape[1])
    if pairs.images.shape[1] != 2 or question.answers != 2:
        raise InputError(f"pairs: {question.sentence!r} was asked, allowed is a question on two digits, of yes and no.")
    given = [{"name": name, **_described(name, network)} for name, network in networks.items()]
    missed = {name: mistakes(network, pairs)[:MISSED] for name, network in networks.items()}
    first = opening(next(iter(networks.values())), pairs)
    wanted = {first, *(i for wrong in missed.values() for i in wrong)}
    others = [i for i in range(len(pairs)) if i not in wanted]
    chosen = sorted([*wanted, *others[: max(0, OFFERED - len(wanted))]])
    pictures = (pairs.images[chosen] * deviation + mean).round().clamp(0, 255)
    data = {"networks": given, "mean": float(mean), "deviation": float(deviation)}
    data |= {"question": question.sentence, "yes": question.steps[0].tolist()}  # by the two classes
    data |= {
        "pool": len(pairs),
        "numbers": chosen,
        "pictures": _base64(pictures, "u1"),
        "digits": pairs.digits[chosen].tolist(),
    }
    data["missed"] = {name: [chosen.index(i) for i in wrong] for name, wrong in missed.items()}
    shown = data["first"] = chosen.index(first)
    still = io.BytesIO()
    Image.fromarray(255 - np.hstack([*pictures[shown].numpy().astype("u1")])).save(still, "png")
    said = {}
    for name, network in networks.items():
        right, digits = _answered(network, pairs[[chosen[shown]]])
        said[name] = digits[0].argmax(dim=1).tolist(), bool(right)
    return _template("demo").render(
        data=data,
        classes=range(CLASSES),
        most=MISSED,
        heads={one["name"]: one["head"] for one in given},
        shown=shown,
        said=said,
        still=b64encode(still.getvalue()).decode(),
    )


def mistakes(network: Network, pairs: Pairs) -> list[int]:
    """The `pairs` [B, 2, 14, 14] that a network gets wrong, by number, those recognized with most confidence first.

    With a learned head only those count whose digits are both recognized: there the head fails, not its input.
    """
    right, digits = _answered(network, pairs)
    recognized = (digits.argmax(dim=2) == pairs.digits).all(dim=1)
    wrong = ~right & (recognized | isinstance(network.head[0], Fixed))
    confidence = digits.softmax(dim=2).amax(dim=2).amin(dim=1)  # in the digit that it is less sure of
    return [i for i in confidence.argsort(descending=True).tolist() if wrong[i]]


def opening(network: Network, pairs: Pairs) -> int:
    """The number of the pair that the article opens with: the first of a network's mistakes, 0 if it has none."""
    return next(iter(mistakes(network, pairs)), 0)


TRANSFORMATIONS = {  # what the dissector's linear head may be given, as the page names it
    "logits": "the logits",
    "relu": "their ReLU",
    "softmax": "their softmax",
    "largest": "the largest logit only",
    "fixed": "(fixed comparison instead)",
}


def dissector(networks: dict[str, Network], pairs: dict[str, Pairs], first: int = 0) -> str:
    """An HTML fragment in which a linear head on digits' logits is taken apart, and trained on 1,000 pairs.

    `networks` have one linear layer on the logits of two digits as their head; `pairs` [B, 2, 14, 14] are those of the
    round that they were trained in, "train" and "test"; it opens with the test pair number `first`. Raises InputError
    for networks with another head.
    """
    test, given, missed, still = pairs["test"], [], [], []
    for name, network in networks.items():
        if _head_of(network) != "logits" or network.architecture.digits != () or network.architecture.images != 2:
            raise InputError(f"{name}: another head was given, allowed is one linear layer on two digits' logits.")
        logits = {part: _answered(network, pairs[part])[1] for part in ("train", "test")}
        right, digits = _answered(network, test)
        weight, bias = (part[1] - part[0] for part in network.head[-1].parameters())  # only the difference matters
        head = [*weight.tolist(), bias.item()]
        given.append({"name": name, "head": head} | {part: _base64(z.flatten(1), "<f2") for part, z in logits.items()})
        recognized = (digits.argmax(dim=2) == test.digits).all(dim=1)
        for wrong, most in ((~right & recognized, 8), (~right & ~recognized, 4)):
            missed += wrong.nonzero().flatten().tolist()[:most]
        count, of = int((~right & recognized).sum()), int(recognized.sum())
        still.append(f"trained {name}, the network gets {count} of the {of} pairs wrong whose digits it recognizes")
    question = ask(test.question, 2)
    # The first, some that a network gets wrong, and the first of all.
    shown = list(dict.fromkeys([first, *missed, *range(min(8, len(test)))]))
    scaled = test.images[shown] - test.images.amin()
    data = {"networks": given, "question": question.sentence, "yes": question.steps[0].tolist(), "shown": shown}
    data |= {"labels": {part: _base64(pairs[part].labels, "u1") for part in ("train", "test")}}
    data |= {"digits": _base64(test.digits, "u1"), "pairs": test.digits[shown].tolist()}
    data["pictures"] = _base64((255 * scaled / scaled.amax()).round(), "u1")
    counts = {part: f"{len(of_part):,}" for part, of_part in pairs.items()}
    return _template("dissector").render(
        data=data, transformations=TRANSFORMATIONS, still="; ".join(still), counts=counts
    )


def _answered(network: Network, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of B pairs whether the network's answer is correct, bool [B], and the digits' logits [B, 2, 10]."""
    answers, digits = predict(network, pairs.images)
    return answers.argmax(dim=1) == pairs.labels, digits  # pyright: ignore[reportReturnType]  # those here have some


def _template(name: str):
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True)
    return pages.get_template(f"{name}.html.j2")


def _head_of(network: Network) -> str | None:
    """What the page calls the network's head; None for one that it cannot compute."""
    match list(network.head):
        case [Fixed()]:
            return "fixed"
        case [nn.Sequential()] | [nn.ReLU() | nn.Softmax(), nn.Sequential()]:
            return BEFORE.get(type(network.head[0]), "logits")
    return None


@torch.no_grad()
def _described(name: str, network: Network) -> dict:
    """What the page computes, layer by layer, and the weights in the order in which it takes them."""
    head, architecture = _head_of(network), network.architecture
    if len(network.branches) > 1 or architecture.together or architecture.digits != () or head is None:
        raise InputError(
            f"{name}: the page computes one sub-network for both digits whose logits go to the head fixed or to one "
            f"linear layer, after {' or '.join(BEFORE.values())} or nothing."
        )
    probe, layers, weights = torch.zeros(1, 1, *IMAGE), [], []
    for module in network.eval().branches[0]:  # pyright: ignore[reportGeneralTypeIssues]  # an nn.Sequential
        layer, *parts = _layer(name, module, probe.shape[1:])
        layers += [layer] if layer else []
        weights += parts
        probe = module(probe)
    if head != "fixed":  # of its two logits only the difference matters
        weights += [part[1] - part[0] for part in network.head[-1].parameters()]
    halves = _base64(torch.cat([part.flatten() for part in weights]), "<f2")
    return {"head": head, "shift": architecture.tta_shift, "layers": layers, "weights": halves}


def _layer(name: str, module: nn.Module, shape) -> tuple:
    """A layer that gets maps or units of `shape`: its description, None where it does nothing, and its weights."""
    match module:
        case nn.Conv2d(stride=(1, 1), groups=1, padding=(padding, _), kernel_size=(kernel, _), out_channels=units):
            return {"kind": "conv2d", "units": units, "kernel": kernel, "padding": padding}, module.weight, module.bias
        case nn.BatchNorm2d() | nn.BatchNorm1d():  # not folded into a convolution: M6 pools between the two
            factor = module.weight / (module.get_buffer("running_var") + module.eps).sqrt()
            return {"kind": "scale"}, factor, module.bias - factor * module.get_buffer("running_mean")
        case nn.Sequential() if isinstance(last := module[-1], nn.Linear):
            weight, units = last.weight, last.out_features
            if len(shape) == 3:  # layers.Flatten has the channels last, the page first
                weight = weight.view(units, *shape[1:], shape[0]).permute(0, 3, 1, 2)
            return {"kind": "linear", "units": units}, weight, last.bias
        case MaxPool():
            return (
                {"kind": "max_pool", "kernel": module.kernel_size, "stride": module.stride, "padding": module.padding},
            )
        case nn.ReLU() | GlobalMaxPool() | GlobalAveragePool() | nn.Dropout() | nn.Dropout1d() | nn.Dropout2d():
            return ({"kind": SIMPLE[type(module)]} if type(module) in SIMPLE else None,)
    raise InputError(f"{name}: the layer {module} was given, which the page cannot compute.")


def _base64(values: Tensor, kind: str) -> str:
    return b64encode(values.numpy().astype(kind).tobytes()).decode()
