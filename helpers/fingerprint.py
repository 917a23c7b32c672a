"""A run's name: a hash of its description, of the code that this process has loaded and of torch and numpy's versions.

The sources are read when the first of helpers is imported, and have to be the same still when the first run is named:
so they are what was loaded in between. What is edited later in a live kernel does not train there, and changes no name.
"""

import ast
import hashlib
import json
import re
import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from helpers.inputs import InputError

TABLES = (
    "LAYERS",
    "INITIALIZATIONS",
    "OPTIMIZERS",
    "LOSSES",
    "SCHEDULES",
    "AUGMENTATIONS",
)  # a run names what it takes of them
IMPORT = r"(?m)^\s*(?:from|import)\s+(?:helpers\b|\.)(?:[^\n(]*\([^)]*\)|[^\n]*)"


def _read_all() -> dict[str, str]:
    return {path.stem: path.read_text() for path in Path(__file__).parent.glob("*.py")}


SOURCES = _read_all()


def name_of(description: dict, code: str) -> str:
    """The name of the run with this description (plain data), trained by this code (of `of_code`)."""
    return hashlib.sha256(json.dumps({"run": description, "code": code}, sort_keys=True).encode()).hexdigest()


def words_of(architecture: dict, recipe: dict) -> frozenset[str]:
    """The words of a run's architecture and recipe, as plain data, that may name entries of TABLES."""
    return frozenset(re.findall(r"\w+", json.dumps([architecture, recipe])))


def of_code(words: frozenset[str]) -> str:
    """Hash of what a run with these words in its description can reach. Raises InputError where that is not loaded."""
    if any(sys.modules[name].__spec__ is not spec for name, spec in _first_loaded().items()):
        raise InputError("Code of helpers/ was loaded a second time; start the kernel again.")
    return hash_of(tuple(sorted(reached().items())), words)


@lru_cache
def reached() -> dict[str, str]:
    """The source of every helper that a run can reach: of helpers/runs and of all that it and they import anywhere."""
    found, waiting = {}, {"__init__", "runs"}
    while waiting:
        name = waiting.pop()
        found[name] = SOURCES[name]
        imported = re.findall(r"\w+", " ".join(re.findall(IMPORT, SOURCES[name])))
        waiting |= (SOURCES.keys() & imported) - found.keys()
    return found


@lru_cache
def _first_loaded() -> dict:
    """What marks a module as loaded once, for all that are reached, once it is sure that SOURCES was loaded."""
    modules = [import_module(f"helpers.{name}".removesuffix(".__init__")) for name in reached()]
    if changed := [name for name, _ in reached().items() - _read_all().items()]:
        raise InputError(f"helpers/{changed[0]}.py was changed while this process loaded it; start the kernel again.")
    return {module.__name__: module.__spec__ for module in modules}


@lru_cache
def hash_of(sources: tuple, words: frozenset[str]) -> str:
    """SHA-256 of sources, ((name, text), ...), and of the versions of torch and numpy, for a run with these words.

    Everything counts but what certainly cannot matter: comments, layout, docstrings, and entries of TABLES that the
    run does not name.
    """
    code = [_plain(ast.parse(source).body, words) for _, source in sources]
    versions = [version(package).split("+")[0] for package in ("torch", "numpy")]
    return hashlib.sha256(json.dumps([versions, code]).encode()).hexdigest()


def _plain(node, words: frozenset[str]):
    """A syntax tree as nested lists, the same in all versions of Python, without docstrings and unused entries."""
    if not isinstance(node, ast.AST):
        return [_plain(part, words) for part in node] if isinstance(node, list) else repr(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []  # a docstring
    if isinstance(getattr(node, "value", None), ast.Dict) and re.match(
        rf"({'|'.join(TABLES)})\b(?!\[)", ast.unparse(node)
    ):
        entries = zip(node.value.keys, node.value.values, strict=True)
        return [_plain(list(entry), words) for entry in entries if getattr(entry[0], "value", None) in {None, *words}]
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *([name, _plain(value, words)] for name, value in fields)]
