"""A run: one training as plain data, its name, what it takes to do it, and the store of finished runs.

A run's name is a hash of its description and of a *canary*, a tiny training of that very network by that very recipe:
it changes with what the code at hand does, and not with how it is written.
"""

import hashlib
import io
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from helpers import augment, layers, training
from helpers.data import Digits, Pairs, derive_seed, draw_round, make_digits, split
from helpers.inputs import ROOT, UNFINISHED, InputError, resolve_path, write_whole
from helpers.models import Architecture
from helpers.questions import CLASSES
from helpers.training import Recipe, train

CANARY_PAIRS = 24  # of which a third is held out
STEP, NOISE = 1e-4, 2e-5  # a canary's numbers are rounded to STEP; another processor may differ by NOISE at most
TABLES = (  # in which a notebook may put parts of its own
    layers.LAYERS, layers.INITIALIZATIONS, training.OPTIMIZERS, training.LOSSES, training.SCHEDULES,
    augment.AUGMENTATIONS,
)  # fmt: skip
SHIPPED = [dict(table) for table in TABLES]
STORE_VARIABLE = "RUN_STORE"  # environment variable that names the folder of finished runs


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

    def pairs(self, digits: Digits, draw=draw_round, test_pairs: int = 1000) -> dict[str, Pairs]:
        """The round's "train" and "test" pairs; with a fold its part of the training pairs is the "validation"."""
        network, how = self.model.architecture, self.model.recipe.standardize
        asked = network.images, network.question, how
        drawn = draw(digits, self.seed, self.round, self.model.pairs, *asked, test_pairs)
        pairs: dict[str, Pairs] = dict(zip(("train", "test"), drawn, strict=True))
        if self.fold:
            pairs["train"], pairs["validation"] = split(pairs["train"], *self.fold)
        return pairs

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


def train_run(run: Run, pairs: dict[str, Pairs], device: str) -> Trained:
    """Train a run on its pairs, in this process.

    Raises InputError where torch was in use before helpers could tell it which instructions to use.
    """
    if "AVX512" in torch.backends.cpu.get_cpu_capability():
        raise InputError("torch was used before helpers was imported; start the kernel again and import helpers first.")
    seed = derive_seed(run.seed, run.round, run.fold, run.start)
    rows, network = train(run.model.architecture, run.model.recipe, pairs, seed, device)
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return Trained(rows, weights)


# -------------------------------------------------------------------------------------------------------------- names


def canary(model: Model) -> tuple[float, ...]:
    """The measures of a tiny training of the model: two epochs on made pairs, through all that a run goes through.

    It takes 20 to 200 ms, and is done again for every list of runs, because the code may have changed in a notebook.
    Raises InputError where the model cannot be trained.
    """
    count = CANARY_PAIRS * model.architecture.images
    i, y, x = np.ogrid[:count, :28, :28]
    places = 2 + 12 * (i % CLASSES // 5), 5 * (i % CLASSES % 5)
    inside = (y >= places[0]) & (y < places[0] + 8) & (x >= places[1]) & (x < places[1] + 5)
    images = np.where(inside, 230, (7919 * i + 104729 * y + 1299709 * x * y) % 97).astype(np.uint8)
    labels = (np.arange(count) % CLASSES).astype(np.uint8)
    digits = make_digits("canary", "made digits", images, labels, images[::-1].copy(), labels[::-1].copy())
    fitted = CANARY_PAIRS - len(range(0, CANARY_PAIRS, 3))
    fitted -= round(model.recipe.held_out * fitted)
    alone = (
        model.pairs - round(model.recipe.held_out * model.pairs)
    ) % model.recipe.batch_size == 1  # a last batch of 1
    tiny = replace(
        model.recipe,
        epochs=2,
        pretrain=min(model.recipe.pretrain, 1),
        views_per_pair=min(model.recipe.views_per_pair, 2),
        batch_size=fitted - 1 if alone else math.ceil(fitted / 2),
        measure_every=1,
    )
    run = Run(replace(model, recipe=tiny, pairs=CANARY_PAIRS), seed=1, round=2, fold=(0, 3), start=4)
    try:
        pairs = run.pairs(digits, draw_round.__wrapped__, CANARY_PAIRS)
        rows = train_run(run, pairs, "cpu").rows
    except InputError:
        raise
    except Exception as error:  # whatever torch says of what nobody has thought of
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"model {model.name} cannot be trained: {said}.") from None
    return tuple(float(value) for row in rows for value in row.values())


def names_of(description: dict, numbers: tuple[float, ...]) -> list[str]:
    """The names that the run with this description and this canary may have; the first is that which it gets.

    More than one where a number lies so near the edge of rounding that another processor may round it otherwise.
    """
    versions = [version(package).split("+")[0] for package in ("torch", "numpy")]
    choices = [list(dict.fromkeys(_rounded(number + noise) for noise in (0, -NOISE, NOISE))) for number in numbers]
    known = hashlib.sha256(json.dumps([description, versions], sort_keys=True).encode())
    few = product(*choices) if math.prod(map(len, choices)) <= 4096 else [[choice[0] for choice in choices]]
    names = []
    for choice in few:
        names.append(known.copy())
        names[-1].update(repr(list(choice)).encode())
    return [name.hexdigest() for name in names]


def _rounded(number: float) -> int | str:
    return round(number / STEP) if math.isfinite(number) else str(number)


def additions() -> list[dict]:
    """What a notebook has put into TABLES, for workers, which do not know it."""
    return [
        {name: entry for name, entry in table.items() if shipped.get(name) is not entry}
        for table, shipped in zip(TABLES, SHIPPED, strict=True)
    ]


def same_canary(mine: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return len(mine) == len(other) and all(
        abs(a - b) <= NOISE or (math.isnan(a) and math.isnan(b)) for a, b in zip(mine, other, strict=True)
    )


# -------------------------------------------------------------------------------------------------------------- store
# One file for each finished run, under its name. Nothing is ever updated: another recipe, seed, digit, library or
# behavior of the code is another name. A file is written whole or not at all, and its checksum is verified.


def store_folder() -> Path:
    named = os.environ.get(STORE_VARIABLE)
    return resolve_path(named) if named else ROOT / "data" / "runs"


def store_run(name: str, description: dict, trained: Trained, folder: Path) -> None:
    """Store a finished run at once. Raises InputError where the disk refuses, e.g. because it is full."""
    table = pd.DataFrame(trained.rows)
    weights: dict = {f"weight {key}": value.numpy() for key, value in trained.weights.items()}
    content = io.BytesIO()
    np.savez(
        content,
        description=json.dumps(description),
        columns=list(table.columns),
        rows=table.to_numpy(np.float64),
        **weights,
    )
    try:
        write_whole(folder / f"{name}.run", hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    except OSError as error:
        raise _no_store(error, folder, "written to") from None


def is_stored(name: str) -> bool:
    return (store_folder() / f"{name}.run").exists()


def read_run(name: str) -> tuple[pd.DataFrame, dict] | None:
    """A finished run's rows and weights; None where there is none.

    A damaged file is reported, removed and then treated as if it had never been there. Raises InputError where the file
    is there but cannot be read.
    """
    path = store_folder() / f"{name}.run"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_store(error, store_folder(), "read") from None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        print(f"The stored run {name[:16]} is damaged: its checksum is wrong; it is trained again.", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
    with np.load(io.BytesIO(content[32:]), allow_pickle=False) as file:
        parts = {key: file[key] for key in file.files}
    rows = pd.DataFrame(parts["rows"], columns=parts["columns"].tolist()).astype({"epoch": int})
    weights = {key.removeprefix("weight "): value for key, value in parts.items() if key.startswith("weight ")}
    return rows, {key: torch.from_numpy(value) for key, value in weights.items()}


def description_of(short: str) -> dict | None:
    """The description of the run whose name begins so; None where it is not in the store."""
    for path in store_folder().glob(f"{short}*.run"):
        with np.load(io.BytesIO(path.read_bytes()[32:]), allow_pickle=False) as file:
            return json.loads(str(file["description"]))
    return None


def clear_store() -> str:
    """Empty the store; returns a sentence that says what was removed."""
    files = [path for path in store_folder().glob("*") if path.suffix == ".run" or path.name.startswith(UNFINISHED)]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return f"Removed {len(files):,} files of finished runs ({size / 1e6:.1f} MB) from {store_folder()}."


def _no_store(error: OSError, folder: Path, how: str) -> InputError:
    return InputError(
        f"{STORE_VARIABLE}: {str(folder)!r} was given as the folder of finished runs, allowed is one that can "
        f"be {how} ({error.strerror})."
    )
