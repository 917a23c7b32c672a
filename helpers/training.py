"""One network trained on one round's pairs: a recipe in, one row per epoch out."""

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.augmentation import AUGMENTATIONS
from helpers.data import Pairs, stream
from helpers.inputs import InputError, number, one_of, whole_number
from helpers.models import Architecture, Network, build, named_part

EVALUATION_BATCH = 100  # pairs; larger batches leave the processor's cache


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. One line added to OPTIMIZERS or LOSSES makes its name known here."""

    optimizer: str = "sgd"
    learning_rate: float = 0.01
    settings: dict = field(default_factory=dict)  # the optimiser's own, e.g. {"momentum": 0.5}
    loss: str = "cross_entropy"  # of the comparison; the digits' is always the cross-entropy
    auxiliary: float = 0.0  # weight of the digits' losses, summed over the images; 0: no auxiliary loss
    batch_size: int = 50  # pairs
    epochs: int = 25
    schedule: str | dict = "constant"  # of the learning rate over all steps, one of SCHEDULES
    augmentation: str | dict = "none"  # of the training pictures, anew in every epoch, one of AUGMENTATIONS
    new_pairs: bool = False  # pair the training digits anew in every epoch
    measure_every: int = 1  # epochs between two measurements; the last epoch is always measured
    training_mode: bool = False  # also measure with the network left in training mode, as the first report seems to

    def __post_init__(self):
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("loss", self.loss, LOSSES)
        number("learning_rate", self.learning_rate, 0)
        number("auxiliary", self.auxiliary, 0)
        whole_number("batch_size", self.batch_size, 1)
        whole_number("epochs", self.epochs, 1)
        whole_number("measure_every", self.measure_every, 1)
        named_part("schedule", self.schedule, SCHEDULES, 0.5)
        named_part("augmentation", self.augmentation, AUGMENTATIONS, torch.zeros(1, 1, 14, 14))


OPTIMIZERS = {
    "sgd": lambda parameters, **settings: torch.optim.SGD(parameters, fused=True, **settings),
    "adam": lambda parameters, **settings: torch.optim.Adam(parameters, fused=True, **settings),
    "adamw": lambda parameters, **settings: torch.optim.AdamW(parameters, fused=True, **settings),
    "adagrad": lambda parameters, **settings: torch.optim.Adagrad(parameters, fused=True, **settings),
    "rmsprop": torch.optim.RMSprop,
}

LOSSES = {  # of the comparison's logits [B, 2] and labels [B]
    "cross_entropy": F.cross_entropy,
    "mean_squared_error": lambda logits, labels: F.mse_loss(logits.softmax(dim=1)[:, 1], labels.float()),
    "hinge": F.multi_margin_loss,
}


def one_cycle(progress: float, warm_up: float = 0.2) -> float:
    """Up in a line over the share `warm_up` of the training, then down to 0 along half a cosine."""
    if progress < warm_up:
        return progress / warm_up
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


SCHEDULES = {  # the learning rate's factor when a share `progress` (0 to 1) of the training is over
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "one_cycle": one_cycle,
}


def train(
    architecture: Architecture,
    recipe: Recipe,
    pairs: dict[str, Pairs],
    seed: int,
    device: str = "cpu",
    on_epoch=lambda row: None,
) -> tuple[list[dict], Network]:
    """Train on pairs["train"], measure on all `pairs` after every epoch, or as the recipe has it.

    Returns one row per measurement and the network.

    A row has `epoch` (from 1) and, for each set of pairs, the comparison's mean `loss` (nats) and `accuracy` and the
    `digit_accuracy` (shares of 1), e.g. `test_loss`, all with dropout off; with `recipe.training_mode` also
    `train_*_training_mode` and `test_*_training_mode`. The result depends on the arguments alone: one thread, and
    torch's random state is seeded and put back.
    """
    torch.set_num_threads(1)
    pairs = {name: part.to(device) for name, part in pairs.items()}
    with torch.random.fork_rng(devices=None if device == "cuda" else []):
        torch.manual_seed(stream(seed, "training"))
        network = build(architecture).to(device)
        optimizer = make_optimizer(recipe, network)
        rows = []
        for epoch in range(1, recipe.epochs + 1):
            seen = train_epoch(network, optimizer, recipe, pairs["train"], epoch)
            if epoch % recipe.measure_every and epoch != recipe.epochs:
                continue
            row = {"epoch": epoch}
            for name, part in pairs.items():
                row |= {f"{name}_{measure}": value for measure, value in evaluate(network, part, recipe.loss).items()}
            if recipe.training_mode:
                row |= {f"train_{measure}_training_mode": value for measure, value in seen.items()}
                row |= {
                    f"test_{measure}_training_mode": value
                    for measure, value in _evaluate_in_training_mode(network, pairs["test"], recipe).items()
                }
            rows.append(row)
            on_epoch(row)
    return rows, network


def make_optimizer(recipe: Recipe, network: Network) -> torch.optim.Optimizer:
    """The recipe's optimiser for the network. Raises InputError for settings that it does not know or allow."""
    try:
        return OPTIMIZERS[recipe.optimizer](network.parameters(), lr=recipe.learning_rate, **recipe.settings)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"settings: {recipe.settings!r} was given for the optimizer {recipe.optimizer}, allowed are "
            f"its own settings in torch.optim ({error})."
        ) from None


def train_epoch(network: Network, optimizer, recipe: Recipe, pairs: Pairs, epoch: int) -> dict[str, float]:
    """One pass over the pairs in random order; returns the measures of the batches as they went by."""
    network.train()
    # Indexed, paired and distorted once an epoch; the batches are slices, which are views.
    shuffled = pairs.paired_anew() if recipe.new_pairs else pairs[torch.randperm(len(pairs)).to(pairs.labels.device)]
    if recipe.augmentation != "none":
        digits = shuffled.images.flatten(0, 1).unsqueeze(1)
        distorted = named_part("augmentation", recipe.augmentation, AUGMENTATIONS, digits)
        shuffled = replace(shuffled, images=distorted.view_as(shuffled.images))
    outputs = []
    for start in range(0, len(pairs), recipe.batch_size):
        progress = (epoch - 1 + (start + recipe.batch_size / 2) / len(pairs)) / recipe.epochs
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * named_part("schedule", recipe.schedule, SCHEDULES, min(1.0, progress))
        batch = shuffled[start : start + recipe.batch_size]
        comparison, digits = network(batch.images)
        loss = LOSSES[recipe.loss](comparison, batch.labels)
        if recipe.auxiliary:
            # The mean over B·n digits, times n: the sum of the images' mean losses.
            digit_loss = F.cross_entropy(digits.flatten(0, 1), batch.digits.flatten()) * batch.digits.shape[1]
            loss = loss + recipe.auxiliary * digit_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        outputs.append((comparison.detach(), digits.detach()))
    return _measures(*map(torch.cat, zip(*outputs, strict=True)), shuffled, recipe.loss)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The comparison's logits [B, 2] and the digits' logits [B, n, 10], with dropout off."""
    network.eval()
    outputs = [network(batch) for batch in images.split(EVALUATION_BATCH)]
    return tuple(map(torch.cat, zip(*outputs, strict=True)))


def evaluate(network: nn.Module, pairs: Pairs, loss: str = "cross_entropy") -> dict[str, float]:
    """Mean loss and accuracy of the comparison and accuracy of the digits, with dropout off."""
    return _measures(*predict(network, pairs.images), pairs, loss)


@torch.no_grad()
def _evaluate_in_training_mode(network: Network, pairs: Pairs, recipe: Recipe) -> dict[str, float]:
    """As `evaluate`, but with dropout and batch statistics as in training; network and seed stay as they were."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        network.train()
        outputs = [network(batch) for batch in pairs.images.split(recipe.batch_size)]
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    return _measures(*map(torch.cat, zip(*outputs, strict=True)), pairs, recipe.loss)


def _measures(comparison: Tensor, digits: Tensor, pairs: Pairs, loss: str) -> dict[str, float]:
    return {
        "loss": round(LOSSES[loss](comparison, pairs.labels).item(), 6),
        "accuracy": (comparison.argmax(dim=1) == pairs.labels).double().mean().item(),
        "digit_accuracy": (digits.argmax(dim=2) == pairs.digits).double().mean().item(),
    }
