"""Finished runs, one file each under a name that everything which determines the result goes into.

Nothing is ever updated: another recipe, seed, digit, library or line of training code is another name. A file is
written whole or not at all, and its checksum is verified whenever it is read.
"""

import ast
import hashlib
import io
import json
import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from helpers.inputs import ROOT, InputError

FOLDER_VARIABLE = "RUN_STORE"
CODE = ("data", "models", "augmentation", "training")  # the modules whose code can change a result
UNFINISHED = ".unfinished-"  # what a killed process may leave behind
ENTRY = "train"  # the function that everything else in them serves


def folder() -> Path:
    return Path(os.environ.get(FOLDER_VARIABLE) or ROOT / "data" / "runs")


def name_of(description: dict) -> str:
    """The name of the run with this description (plain data): a SHA-256 of it, of torch and of the code it uses."""
    words = _strings(description)
    whole = {"run": description, "torch": torch.__version__, "code": _code_fingerprint(frozenset(words))}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def write(name: str, description: dict, rows: list[dict], weights: dict, seconds: float) -> None:
    """Store a finished run at once. Raises InputError where the disk refuses, e.g. because it is full."""
    table = pd.DataFrame(rows)
    content = io.BytesIO()
    np.savez(
        content,
        description=json.dumps(description),
        seconds=seconds,
        columns=list(table.columns),
        rows=table.to_numpy(np.float64),
        **{f"weight {key}": value.cpu().numpy() for key, value in weights.items()},
    )
    try:
        write_whole(_path(name), hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    except OSError as error:
        raise InputError(
            f"{FOLDER_VARIABLE}: {str(folder())!r} was given as the folder of finished runs, allowed is "
            f"one that can be written to ({error.strerror})."
        ) from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process is killed and whoever writes the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            Path(file.name).unlink()
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def read(name: str) -> tuple[pd.DataFrame, dict, float] | None:
    """A finished run's rows, weights and training time in seconds; None where there is none.

    A damaged file is reported, removed and then treated as if it had never been there.
    """
    try:
        stored = _path(name).read_bytes()
        if hashlib.sha256(stored[32:]).digest() != stored[:32]:
            raise ValueError("its checksum is wrong")
        with np.load(io.BytesIO(stored[32:]), allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        rows = pd.DataFrame(content["rows"], columns=content["columns"].tolist()).astype({"epoch": int})
        weights = {
            key.removeprefix("weight "): torch.from_numpy(value)
            for key, value in content.items()
            if key.startswith("weight ")
        }
        return rows, weights, float(content["seconds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        print(f"The stored run {name[:12]} is damaged: {error}; it is trained again.", file=sys.stderr)
        _path(name).unlink(missing_ok=True)
        return None


def clear() -> str:
    """Empty the store, and forget the searches kept beside it; returns a sentence that says what was removed."""
    kinds = {
        path: path.suffix == ".run" or path.name.startswith((UNFINISHED, "tuning.db")) for path in folder().glob("*")
    }
    files = [path for path, ours in kinds.items() if ours]
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return f"Removed {len(files):,} files of finished runs and searches ({size / 1e6:.1f} MB) from {folder()}."


def _path(name: str) -> Path:
    return folder() / f"{name}.run"


def _strings(value) -> set[str]:
    """All strings in nested plain data, keys included."""
    if isinstance(value, dict):
        return set().union(*map(_strings, value.keys()), *map(_strings, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_strings, value))
    return {value} if isinstance(value, str) else set()


# ------------------------------------------------------------------------------------------------ the code of a run


@lru_cache
def _code_fingerprint(words: frozenset[str]) -> str:
    """SHA-256 of the definitions that ENTRY reaches by name, comments and layout aside.

    Of a table such as LAYERS or OPTIMIZERS only the entries count whose key is among `words`, so a new optimiser
    leaves the finished runs of all others valid.
    """
    definitions = _definitions()
    reached, waiting = {}, [ENTRY, "draw_round", "split"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in definitions:
            continue
        nodes = definitions[name]
        if isinstance(nodes, ast.Dict):
            nodes = [
                part
                for key, value in zip(nodes.keys, nodes.values, strict=True)
                if key.value in words
                for part in (key, value)
            ]
        else:
            nodes = [nodes]
        reached[name] = [ast.dump(node) for node in nodes]
        waiting += [getattr(part, "id", getattr(part, "attr", None)) for node in nodes for part in ast.walk(node)]
    return hashlib.sha256(json.dumps(reached, sort_keys=True).encode()).hexdigest()


def _definitions() -> dict[str, ast.AST]:
    """The top-level functions, classes and constants of CODE by name, without docstrings; tables as ast.Dict."""
    found = {}
    for module in CODE:
        for node in ast.parse((ROOT / "helpers" / f"{module}.py").read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                for part in ast.walk(node):
                    if isinstance(part, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(part) is not None:
                        part.body = part.body[1:]
                found[node.name] = node
            elif isinstance(node, ast.Assign):
                table = isinstance(node.value, ast.Dict) and all(isinstance(k, ast.Constant) for k in node.value.keys)
                found[node.targets[0].id] = node.value if table else node
    return found
