"""Finished runs, one file each under a name that everything which determines the result goes into.

Nothing is ever updated: another recipe, seed, digit, library or line of training code is another name. A file is
written whole or not at all, and its checksum is verified whenever it is read.
"""

import hashlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from helpers.files import UNFINISHED, write_whole
from helpers.inputs import ROOT, InputError, from_here
from helpers.runs import Trained

FOLDER_VARIABLE = "RUN_STORE"


def folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    return from_here(named) if named else ROOT / "data" / "runs"


def write(name: str, description: dict, trained: Trained) -> None:
    """Store a finished run at once. Raises InputError where the disk refuses, e.g. because it is full."""
    table = pd.DataFrame(trained.rows)
    content = io.BytesIO()
    np.savez(
        content,
        description=json.dumps(description),
        columns=list(table.columns),
        rows=table.to_numpy(np.float64),
        **{f"weight {key}": value.numpy() for key, value in trained.weights.items()},
    )
    try:
        write_whole(folder() / f"{name}.run", hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    except OSError as error:
        raise _refused(error, "written to") from None


def read(name: str) -> tuple[pd.DataFrame, dict] | None:
    """A finished run's rows and weights; None where there is none.

    A damaged file is reported, removed and then treated as if it had never been there. Raises InputError where the file
    is there but cannot be read.
    """
    path = folder() / f"{name}.run"
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(error, "read") from None
    if hashlib.sha256(stored[32:]).digest() != stored[:32]:
        print(f"The stored run {name[:16]} is damaged: its checksum is wrong; it is trained again.", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None
    with np.load(io.BytesIO(stored[32:]), allow_pickle=False) as file:
        content = {key: file[key] for key in file.files}
    rows = pd.DataFrame(content["rows"], columns=content["columns"].tolist()).astype({"epoch": int})
    weights = {key.removeprefix("weight "): value for key, value in content.items() if key.startswith("weight ")}
    return rows, {key: torch.from_numpy(value) for key, value in weights.items()}


def description_of(short: str) -> dict | None:
    """The description of the run whose name begins so; None where it is not in the store."""
    for path in folder().glob(f"{short}*.run"):
        with np.load(io.BytesIO(path.read_bytes()[32:]), allow_pickle=False) as file:
            return json.loads(str(file["description"]))
    return None


def clear() -> str:
    """Empty the store; returns a sentence that says what was removed."""
    files = [path for path in folder().glob("*") if path.suffix == ".run" or path.name.startswith(UNFINISHED)]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return f"Removed {len(files):,} files of finished runs ({size / 1e6:.1f} MB) from {folder()}."


def _refused(error: OSError, how: str) -> InputError:
    return InputError(
        f"{FOLDER_VARIABLE}: {str(folder())!r} was given as the folder of finished runs, allowed is one that can be "
        f"{how} ({error.strerror})."
    )
