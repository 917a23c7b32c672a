"""Small made-up digits for all tests that need no real ones, and a store of finished runs of each test's own."""

import numpy as np
import pytest
import yaml

from helpers import report, store
from helpers.data import FILES, Digits, _digits
from helpers.experiments import LOG_VARIABLE, Setting
from helpers.inputs import ROOT


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


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def write_plan(path, **plan):
    path.write_text(yaml.safe_dump(plan))
    return path


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory, many_digits):
    """The made digits as a folder of IDX files."""
    folder = tmp_path_factory.mktemp("Made")
    parts = many_digits.train_images, many_digits.train_labels, many_digits.test_images, many_digits.test_labels
    for name, array in zip(FILES, parts, strict=True):
        write_idx(folder / name, array)
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory, made_folder):
    """Folders of two reports on made digits: the quick plan, and some of it again, with nothing left to train."""
    plan = yaml.safe_load((ROOT / "notebooks" / "plans" / "quick.yaml").read_text())
    folders = []
    with pytest.MonkeyPatch.context() as patch:
        for turn in ("first", "second"):
            folder = tmp_path_factory.mktemp(turn)
            patch.setenv(store.FOLDER_VARIABLE, str((folders or [folder])[0] / "runs"))
            patch.setenv(LOG_VARIABLE, "1")
            plan["parameters"] |= {"output": str(folder), "source": str(made_folder)}
            if turn == "second":
                plan["notebooks"] = [
                    entry for entry in plan["notebooks"] if "01" in str(entry) or "M1 to M4" in str(entry)
                ]
            report.build_report(write_plan(folder / "quick.yaml", **plan), folder / "report")
            folders.append(folder)
    return folders
