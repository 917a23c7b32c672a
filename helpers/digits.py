"""All digits of one source, as plain arrays."""

import hashlib
from dataclasses import dataclass

import numpy as np

CLASSES = 10


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
    """Digits of four arrays (training images and labels, test images and labels), with their sizes in the name."""
    fingerprint = hashlib.sha256()
    for array in arrays:
        fingerprint.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
    return Digits(source, f"{name} ({len(arrays[0]):,} + {len(arrays[2]):,} digits)", *arrays, fingerprint.hexdigest())
