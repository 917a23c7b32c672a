"""A run: one training as plain data, and what it takes to do it. All that a run can reach is imported from here."""

from dataclasses import asdict, dataclass, field

import torch

from helpers import fingerprint
from helpers.data import Pairs, draw_round, split, stream
from helpers.digits import Digits
from helpers.inputs import InputError
from helpers.models import Architecture
from helpers.training import Recipe, train


@dataclass(frozen=True)
class Model:
    """One line of a comparison: a network, its recipe, and what the table's further columns say of it."""

    name: str
    architecture: Architecture
    recipe: Recipe
    pairs: int = 1000  # training pairs a round
    labels: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.recipe.needs_digits() and not self.architecture.has_digits():
            raise InputError(
                f"model {self.name}: a loss of the digits was asked for (auxiliary, pretrain), but its network has no "
                "digits' logits; give it `digits`."
            )


@dataclass(frozen=True)
class Run:
    """One model in one round. A round is a replicate: its own pairs and, by its seed, initial weights and batches."""

    model: Model
    seed: int
    round: int
    fold: tuple[int, int] | None = None  # (k, of n): train without the k-th part of the pairs, which validates
    start: int = 0  # another one: other initial weights and batches on the same pairs

    def pairs(self, digits: Digits) -> dict[str, Pairs]:
        """The round's "train" and "test" pairs; with a fold its part of the training pairs stands as "validation"."""
        network, how = self.model.architecture, self.model.recipe.standardize
        drawn = draw_round(digits, self.seed, self.round, self.model.pairs, network.images, network.question, how)
        pairs = dict(zip(("train", "test"), drawn, strict=True))
        if self.fold:
            pairs["train"], pairs["validation"] = split(pairs["train"], *self.fold)
        return pairs

    def code(self) -> str:
        """The hash of the code that this process has loaded to train the run."""
        return fingerprint.of_code(fingerprint.words_of(asdict(self.model.architecture), asdict(self.model.recipe)))

    def description(self, digits: Digits, device: str) -> dict:
        """All that determines the run's result, the code aside, as plain data."""
        return {
            "architecture": asdict(self.model.architecture),
            "recipe": asdict(self.model.recipe),
            "pairs": self.model.pairs,
            "seed": self.seed,
            "round": self.round,
            "fold": self.fold,
            "start": self.start,
            "data": digits.fingerprint,
            "device": device,
        }


@dataclass(frozen=True)
class Trained:
    """What training a run gives."""

    rows: list[dict]  # of training.train
    weights: dict[str, torch.Tensor]
    code: str  # fingerprint of the code that did it


def train_run(run: Run, pairs: dict[str, Pairs], device: str) -> Trained:
    """Train a run on its pairs, in this process.

    Raises InputError where torch was in use before helpers could tell it which instructions to use.
    """
    if "AVX512" in torch.backends.cpu.get_cpu_capability():
        raise InputError("torch was used before helpers was imported; start the kernel again and import helpers first.")
    seed = stream(run.seed, run.round, run.fold, run.start)
    rows, network = train(run.model.architecture, run.model.recipe, pairs, seed, device)
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return Trained(rows, weights, run.code())
