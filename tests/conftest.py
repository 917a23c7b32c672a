"""Small made-up digits for all tests that need no real ones, and a store of finished runs of each test's own."""

import numpy as np
import pytest

from helpers import store
from helpers.data import Digits, _digits
from helpers.experiments import Setting


def made_digits(train: int = 600, test: int = 600, noise: float = 20.0, seed: int = 0) -> Digits:
    """Ten classes, each a bright square at a place of its own in 28×28, with noise."""
    generator = np.random.default_rng(seed)
    parts = []
    for count in (train, test):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = generator.normal(30, noise, (count, 28, 28)).clip(0, 255)
        for image, label in zip(images, labels, strict=True):
            top, left = 2 + 12 * (label // 5), 5 * (label % 5)
            image[top : top + 8, left : left + 5] = 230
        order = generator.permutation(count)
        parts += [images.astype(np.uint8)[order], labels[order]]
    return _digits("made", "made digits", *parts)


@pytest.fixture(scope="session")
def digits() -> Digits:
    return made_digits()


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """The folder of finished runs of this test."""
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def many_digits() -> Digits:
    """Enough for rounds of 1,000 pairs."""
    return made_digits(2000, 2000)


@pytest.fixture
def setting(many_digits) -> Setting:
    return Setting(many_digits, rounds=2, jobs=1)
