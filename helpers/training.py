"""One network trained on one round's pairs: a recipe in, one row per epoch out."""

import inspect
import math
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.augment import AUGMENTATIONS
from helpers.data import Pairs, derive_seed
from helpers.inputs import InputError, known_keys, number, one_of, whole_number
from helpers.layers import named_part
from helpers.models import Architecture, Network, build

EVALUATION_BATCH = 100  # pairs; larger batches leave the processor's cache
LAST_EPOCHS = 5  # whose mean is the study's endpoint


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. A line added to OPTIMIZERS, LOSSES or SCHEDULES makes its name known here."""

    optimizer: str = "sgd"
    learning_rate: float = 0.01
    settings: dict = field(default_factory=dict)  # the optimizer's own, e.g. {"momentum": 0.5}
    loss: str = "cross_entropy"  # of the answer; the digits' is always the cross-entropy
    comparison: float = 1.0  # weight of the answer's loss; 0: the digits' loss alone is trained
    auxiliary: float = 0.0  # weight of the digits' losses, summed over the images; 0: no auxiliary loss
    pretrain: int = 0  # so many of the epochs come first, with the digits' loss alone
    freeze: bool = False  # after these only the head is trained
    head_rate: float = 1.0  # factor of the head's learning rate
    batch_size: int = 50  # pairs
    epochs: int = 25
    schedule: str | dict = "constant"  # of the learning rate over all steps, one of SCHEDULES
    augmentation: str | dict = "none"  # of the training images, different in every epoch, one of AUGMENTATIONS
    views_per_pair: int = 1  # of each pair in a step, each with a distortion of its own
    shuffle: bool = True  # the batches, in every epoch
    new_pairs: bool = False  # pair the training digits again in every epoch
    label_smoothing: float = 0.0  # of the digits' loss: share of the target spread over all ten classes
    standardize: bool | str = True  # by the training digits' mean and deviation; "each" set by its own; False: 0 to 255
    held_out: float = 0.0  # share of the training pairs that is not trained on and chooses the best epoch; 0: the last
    patience: int = 5  # epochs without improvement on these pairs after which training stops
    measure_every: int = 1  # epochs between two measurements; the last LAST_EPOCHS are always measured
    measure_in_train_mode: bool = False  # also measure with the network left in training mode

    def __post_init__(self):
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("loss", self.loss, LOSSES)
        number("learning_rate", self.learning_rate, 0)
        number("head_rate", self.head_rate, 0)
        number("comparison", self.comparison, 0)
        number("auxiliary", self.auxiliary, 0)
        number("held_out", self.held_out, 0, 0.9)
        number("label_smoothing", self.label_smoothing, 0, 1)
        whole_number("batch_size", self.batch_size, 1, 10**5)
        whole_number("views_per_pair", self.views_per_pair, 1, 100)
        whole_number("epochs", self.epochs, 1, 10**5)
        whole_number("patience", self.patience, 1)
        whole_number("pretrain", self.pretrain, 0, self.epochs)
        whole_number("measure_every", self.measure_every, 1)
        one_of("standardize", self.standardize, (True, "each", False))
        for switch in ("shuffle", "new_pairs", "freeze", "measure_in_train_mode"):
            one_of(switch, getattr(self, switch), (True, False))
        if self.new_pairs and not self.shuffle:
            raise InputError("shuffle: False was given, but new_pairs shuffles all digits; allowed is one of the two.")
        if not self.comparison and not self.auxiliary:
            raise InputError("comparison: 0 was given, allowed with an auxiliary loss above 0, or nothing is trained.")
        named_part("schedule", self.schedule, SCHEDULES, 0.5, 1)
        named_part("augmentation", self.augmentation, AUGMENTATIONS, None)
        check_optimizer(self)

    def needs_digits(self) -> bool:
        return bool(self.auxiliary or self.pretrain)

    def weights(self, epoch: int) -> tuple[float, float]:
        """Of the answer's and of the digits' loss in an epoch, counted from 1."""
        return (0.0, self.auxiliary or 1.0) if epoch <= self.pretrain else (self.comparison, self.auxiliary)

    def epochs_measured(self) -> list[int]:
        """The epochs, counted from 1, after which the network is measured."""
        epochs = range(1, self.epochs + 1)
        return [e for e in epochs if e % self.measure_every == 0 or e > self.epochs - LAST_EPOCHS]


OPTIMIZERS = {  # in PyTorch's form for all parameters at once where there is one
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
}

LOSSES = {  # of the answers' logits [B, answers] and labels [B]
    "cross_entropy": F.cross_entropy,
    "mean_squared_error": lambda logits, labels: F.mse_loss(
        logits.softmax(dim=1), F.one_hot(labels, logits.shape[1]).float()
    ),
    "hinge": F.multi_margin_loss,
}


def one_cycle(progress: float, epochs: int, warm_up: float = 0.2) -> float:
    """Up in a line over the share `warm_up` of the training, then down to 0 along half a cosine."""
    if progress < warm_up:
        return progress / warm_up
    return (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


SCHEDULES = {  # the learning rate's factor when a share `progress` (0 to 1) of so many epochs is over
    "constant": lambda progress, epochs: 1.0,
    "linear": lambda progress, epochs: 1 - progress,
    "one_cycle": one_cycle,
    "step": lambda progress, epochs, every, factor=0.1: factor ** (progress * epochs // every),
    "exponential": lambda progress, epochs, factor: factor ** (progress * epochs // 1),  # constant within an epoch
}


def train(
    architecture: Architecture, recipe: Recipe, pairs: dict[str, Pairs], seed: int, device: str = "cpu"
) -> tuple[list[dict], Network]:
    """Train on pairs["train"], measure on all `pairs` after every epoch, or as the recipe has it.

    Returns one row per measurement and the network. A row has `epoch` (from 1) and, for each set of pairs, the
    answer's mean `loss` (nats) and `accuracy` and, where the network has digits' logits, the `digit_accuracy` (shares
    of 1), e.g. `test_loss`, all with dropout off; with `recipe.measure_in_train_mode` also `train_*_training_mode` and
    `test_*_training_mode`. With `recipe.held_out` every row, like the network at the end, is of the best epoch so far.
    The result depends on the arguments alone; one thread is used, and torch's threads and random state are put back.
    """
    pairs = {name: part.to(device) for name, part in pairs.items()}
    if recipe.held_out:
        fitted = len(pairs["train"]) - round(recipe.held_out * len(pairs["train"]))
        pairs["train"], held_out = pairs["train"][:fitted], pairs["train"][fitted:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with preserve_rng_state(device):
            torch.manual_seed(derive_seed(seed, "training"))
            network = build(architecture).to(device)
            optimizer = make_optimizer(recipe, network)
            rows, measured, lowest, best_epoch = [], set(recipe.epochs_measured()), math.inf, 0
            for epoch in range(1, recipe.epochs + 1):
                if not recipe.held_out:
                    seen = train_epoch(network, optimizer, recipe, pairs["train"], epoch)
                    measures = _measured(network, recipe, pairs, seen, device) if epoch in measured else {}
                elif epoch - best_epoch <= recipe.patience:
                    seen = train_epoch(network, optimizer, recipe, pairs["train"], epoch)
                    loss = _trained_loss(network, recipe, held_out, epoch)
                    if loss < lowest or epoch <= max(1, recipe.pretrain):
                        lowest, best_epoch = (loss, epoch) if epoch > recipe.pretrain else (math.inf, epoch)
                        best = {name: value.clone() for name, value in network.state_dict().items()}
                        measures = _measured(network, recipe, pairs, seen, device)
                if epoch in measured:
                    rows.append({"epoch": epoch} | measures)
            if recipe.held_out:
                network.load_state_dict(best)
            return rows, network
    finally:
        torch.set_num_threads(threads)


@contextmanager
def preserve_rng_state(device: str):
    """Put the random state of the processor and of the device back as it was."""
    accelerator = {"cuda": torch.cuda, "mps": torch.mps}.get(device)
    before = accelerator.get_rng_state() if accelerator else None
    with torch.random.fork_rng(devices=[]):
        yield
    if accelerator:
        accelerator.set_rng_state(before)


def make_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer for the network. Raises InputError for settings that it does not know or allow."""
    optimizer = OPTIMIZERS[recipe.optimizer]
    forms = [{"fused": True}] if "fused" in inspect.signature(optimizer).parameters else []
    parameters = list(network.parameters())
    if recipe.head_rate != 1:
        head = list(network.get_submodule("head").parameters())
        parameters = [{"params": parameters[: len(parameters) - len(head)]}, {"params": head, "head": True}]
    try:
        for form in forms:
            with suppress(RuntimeError):  # not for this device
                return optimizer(parameters, lr=recipe.learning_rate, **form, **recipe.settings)
        return optimizer(parameters, lr=recipe.learning_rate, **recipe.settings)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{_settings(recipe)}: {recipe.settings!r} was given, but: {error}.") from None


def check_optimizer(recipe: Recipe) -> None:
    """Refuse settings that the recipe's optimizer does not know or allow."""
    not_ours = ("params", "lr", "fused", "foreach", "capturable", "differentiable")
    known = [name for name in inspect.signature(OPTIMIZERS[recipe.optimizer]).parameters if name not in not_ours]
    defaults = inspect.signature(OPTIMIZERS[recipe.optimizer]).parameters
    for name, value in known_keys(_settings(recipe), recipe.settings, known).items():
        usual = defaults[name].default
        if isinstance(usual, tuple):  # e.g. Adam's betas
            if not isinstance(value, list | tuple) or len(value) != len(usual):
                raise InputError(f"{_settings(recipe)}: {name}: {value!r} was given, allowed are {len(usual)} numbers.")
        elif isinstance(value, list | tuple):
            raise InputError(f"{_settings(recipe)}: {name}: {value!r} was given, allowed is a number.")
        for part in value if isinstance(value, list | tuple) else [value]:
            number(f"{_settings(recipe)}: {name}", part + 0 if isinstance(part, bool) else part, 0)
    if recipe.settings.keys() - {"momentum", "weight_decay"}:
        # What goes together torch knows best, but it takes seconds to ask.
        make_optimizer(recipe, nn.ModuleDict({"head": nn.Linear(1, 1)}))


def _settings(recipe: Recipe) -> str:
    return f"settings of the optimizer {recipe.optimizer}"


def train_epoch(network: Network, optimizer, recipe: Recipe, pairs: Pairs, epoch: int) -> dict[str, float]:
    """One pass over the pairs; returns the measures of the batches as they went by."""
    network.train()
    if recipe.freeze and epoch > recipe.pretrain:
        for part in (network.branches, network.sides):
            part.eval().requires_grad_(False)
    # Indexed, paired and distorted once an epoch; the batches are slices, which are views.
    if recipe.new_pairs:
        pairs = pairs.reshuffle_pairs()
    elif recipe.shuffle:
        pairs = pairs[torch.randperm(len(pairs)).to(pairs.labels.device)]
    augment, settings = named_part("augmentation", recipe.augmentation, AUGMENTATIONS, None)
    flat = pairs.images.flatten(0, 1).unsqueeze(1)
    shown = torch.stack([augment(flat, **settings).view_as(pairs.images) for _ in range(recipe.views_per_pair)])
    factor, settings = named_part("schedule", recipe.schedule, SCHEDULES, 0.5, 1)
    outputs = []
    for start in range(0, len(pairs), recipe.batch_size):
        progress = (epoch - 1 + (start + recipe.batch_size / 2) / len(pairs)) / recipe.epochs
        for group in optimizer.param_groups:
            rate = recipe.learning_rate * (recipe.head_rate if group.get("head") else 1)
            group["lr"] = rate * factor(min(1.0, progress), recipe.epochs, **settings)
        batch = pairs[start : start + recipe.batch_size]
        images = shown[:, start : start + recipe.batch_size]  # [views, B, n, 14, 14]
        answers, digits = network(images.flatten(0, 1))
        classes = batch.digits.repeat(recipe.views_per_pair, 1)
        loss = loss_of(recipe, epoch, answers, digits, batch.labels.repeat(recipe.views_per_pair), classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        outputs.append([None if part is None else part[: len(batch)].detach() for part in (answers, digits)])
    return _measures(*_joined(outputs), pairs, recipe.loss)


def loss_of(
    recipe: Recipe, epoch: int, answers: Tensor, digits: Tensor | None, labels: Tensor, classes: Tensor
) -> Tensor:
    """The loss trained in this epoch, of logits [B, answers] and [B, n, 10] for labels [B] and classes [B, n]."""
    answer_weight, digit_weight = recipe.weights(epoch)
    loss = answer_weight * LOSSES[recipe.loss](answers, labels) if answer_weight else 0.0
    if digit_weight:
        # The mean over B·n digits, times n: the sum of the images' mean losses.
        logits = digits.flatten(0, 1)  # pyright: ignore[reportOptionalMemberAccess]  # a Model without has no weight
        of_digits = F.cross_entropy(logits, classes.flatten(), label_smoothing=recipe.label_smoothing)
        loss = loss + digit_weight * of_digits * classes.shape[1]
    return loss  # pyright: ignore[reportReturnType]  # no number: one of the weights is above 0


@torch.inference_mode()
def _trained_loss(network: Network, recipe: Recipe, pairs: Pairs, epoch: int) -> float:
    return loss_of(recipe, epoch, *predict(network, pairs.images), pairs.labels, pairs.digits).item()


def _joined(outputs: list) -> tuple[Tensor, Tensor | None]:
    answers, digits = zip(*outputs, strict=True)
    return torch.cat(answers), None if digits[0] is None else torch.cat(digits)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of images [B, n, 14, 14] the answers' [B, answers] and the digits' logits [B, n, 10], if any, dropout off."""
    network.eval()
    return _joined([network(batch) for batch in images.split(EVALUATION_BATCH)])


def evaluate(network: nn.Module, pairs: Pairs, loss: str = "cross_entropy") -> dict[str, float]:
    """Mean loss (nats) and accuracy of the answer and accuracy of the digits (shares of 1), with dropout off."""
    return _measures(*predict(network, pairs.images), pairs, loss)


def _measured(network: Network, recipe: Recipe, pairs: dict[str, Pairs], seen: dict, device: str) -> dict[str, float]:
    """One row: every set of `pairs` with dropout off, and what the recipe wants to know of the training mode."""
    row = {}
    for name, part in pairs.items():
        row |= {f"{name}_{measure}": value for measure, value in evaluate(network, part, recipe.loss).items()}
    if recipe.measure_in_train_mode:
        row |= {f"train_{measure}_training_mode": value for measure, value in seen.items()}
        left = _evaluate_in_training_mode(network, pairs["test"], recipe, device)
        row |= {f"test_{measure}_training_mode": value for measure, value in left.items()}
    return row


@torch.no_grad()
def _evaluate_in_training_mode(network: Network, pairs: Pairs, recipe: Recipe, device: str) -> dict[str, float]:
    """As `evaluate`, but with dropout and batch statistics as in training; all is put back as it was."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with preserve_rng_state(device):
        network.train()
        outputs = _joined([network(batch) for batch in pairs.images.split(recipe.batch_size)])
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    return _measures(*outputs, pairs, recipe.loss)


def _measures(answers: Tensor, digits: Tensor | None, pairs: Pairs, loss: str) -> dict[str, float]:
    """Of logits the mean loss and accuracies. A network that has diverged has none: a logit that is no number names
    no class."""
    shares = {"accuracy": (answers, pairs.labels)} | (
        {} if digits is None else {"digit_accuracy": (digits, pairs.digits)}
    )
    measures = {"loss": round(LOSSES[loss](answers, pairs.labels).item(), 6)}
    for name, (logits, classes) in shares.items():
        right = (logits.argmax(dim=-1) == classes).cpu().double().mean().item()
        measures[name] = right if math.isfinite(measures["loss"]) and not logits.isnan().any() else math.nan
    return measures
