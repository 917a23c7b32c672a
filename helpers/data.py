"""Digits, and the rounds of pairs drawn from them.

A round draws its own training and test pairs, averaged over 2×2 blocks from 28×28 to 14×14 pixels and standardized by
the mean and standard deviation of its own training digits.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from helpers.inputs import InputError
from helpers.questions import USUAL, ask


@dataclass(frozen=True, eq=False)
class Digits:
    """All digits of one source. Images are uint8 [N, 28, 28], labels uint8 [N]."""

    source: str  # what sources.load_digits takes to give the same again
    name: str  # what a reader is told, e.g. "MNIST (60,000 + 10,000 digits)"
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    fingerprint: str  # SHA-256 of the arrays


def make_digits(source: str, name: str, *arrays: np.ndarray) -> Digits:
    """Digits of four uint8 arrays (images [N, 28, 28] and labels [N], training and test), their sizes in the name."""
    fingerprint = hashlib.sha256()
    for array in arrays:
        fingerprint.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
    name = f"{name} ({len(arrays[0]):,} + {len(arrays[2]):,} digits)"
    return Digits(source, name, *arrays, fingerprint=fingerprint.hexdigest())


@dataclass(frozen=True, eq=False)
class Pairs:
    """B examples of n digit images (n = 2: pairs)."""

    images: Tensor  # float32 [B, n, 14, 14], standardized if not asked otherwise
    digits: Tensor  # int64 [B, n], classes 0 to 9
    labels: Tensor  # int64 [B], the answers to the question; of yes and no, 1 is yes
    question: str = USUAL

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "Pairs":
        return replace(self, images=self.images[index], digits=self.digits[index], labels=self.labels[index])

    def to(self, device: str) -> "Pairs":
        images, digits, labels = (part.to(device) for part in (self.images, self.digits, self.labels))
        return replace(self, images=images, digits=digits, labels=labels)

    def reshuffle_pairs(self) -> "Pairs":
        """The same digits in new examples, drawn with torch's current random state."""
        order = torch.randperm(self.digits.numel()).to(self.digits.device)
        images = self.images.flatten(0, 1)[order].view_as(self.images)
        digits = self.digits.flatten()[order].view_as(self.digits)
        labels = ask(self.question, digits.shape[1]).labels(digits)
        return replace(self, images=images, digits=digits, labels=labels)


def average_blocks(images: np.ndarray) -> Tensor:
    """Average uint8 [N, 28, 28] over 2×2 blocks to float32 [N, 14, 14], still from 0 to 255."""
    blocks = images.reshape(-1, 14, 2, 14, 2)
    return torch.from_numpy(blocks.sum(axis=(2, 4), dtype=np.uint16).astype(np.float32) / 4)


@lru_cache(maxsize=64)
def draw_round(
    digits: Digits,
    seed: int,
    round: int,
    pairs: int = 1000,
    images: int = 2,
    question: str = USUAL,
    standardize: bool | str = True,
    test_pairs: int = 1000,
) -> tuple[Pairs, Pairs]:
    """Draw one round's training and test examples; no digit is drawn twice.

    The pairs depend on (seed, round) alone: a smaller number of pairs is the beginning of a larger one, and the test
    pairs are the same whatever the number of training pairs. `standardize` by the training digits' mean and deviation
    (True), "each" of the two sets by its own, or leave pixels from 0 to 255 (False). Raises InputError where the source
    has too few digits.
    """
    have = {"pairs": len(digits.train_labels), "test_pairs": len(digits.test_labels)}
    for (name, count), want in zip(have.items(), (pairs, test_pairs), strict=True):
        if want * images > count:
            raise InputError(f"{name}: {want} was given, allowed is at most {count // images} from {digits.name}.")
    sets = []
    drawn = draw_digits(digits, seed, round, pairs * images, test_pairs * images)
    for (pictures, labels), count in zip(drawn, (pairs, test_pairs), strict=True):
        classes = torch.from_numpy(labels.astype(np.int64)).view(count, images)
        pictures = average_blocks(pictures).view(count, images, 14, 14)
        sets.append(Pairs(pictures, classes, ask(question, images).labels(classes), question))
    if standardize and not all(part.images.std() > 0 for part in sets):
        raise InputError(f"source: the images of {digits.name} are all alike, allowed are images to tell apart.")
    if standardize:
        measured = sets if standardize == "each" else [sets[0], sets[0]]
        sets = [
            replace(part, images=(part.images - by.images.mean()) / by.images.std())
            for part, by in zip(sets, measured, strict=True)
        ]
    return tuple(sets)


def draw_digits(digits: Digits, seed: int, round: int, train: int = 2000, test: int = 2000) -> list[tuple]:
    """One round's digits as they are in the source: (images [N, 28, 28], labels [N]) for training and for test."""
    generator = torch.Generator().manual_seed(derive_seed(seed, round, "pairs"))
    orders = [torch.randperm(len(labels), generator=generator) for labels in (digits.train_labels, digits.test_labels)]
    for_training, for_test = orders[0][:train].numpy(), orders[1][:test].numpy()
    return [
        (digits.train_images[for_training], digits.train_labels[for_training]),
        (digits.test_images[for_test], digits.test_labels[for_test]),
    ]


def split(pairs: Pairs, fold: int, folds: int) -> tuple[Pairs, Pairs]:
    """The `fold`-th of `folds` validation splits of training pairs: (the rest, the held-out part)."""
    held_out = torch.arange(len(pairs)) % folds == fold
    return pairs[~held_out], pairs[held_out]


def derive_seed(*key) -> int:
    """A seed of 63 bits for one purpose, e.g. derive_seed(seed, round, "pairs"): different keys, unrelated streams."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1
