"""A run's name: a hash of its description, of the code that this process has loaded and of torch and numpy's versions.

The sources are read when the first of helpers is imported, and have to be the same still when the first run is named:
so they are what was loaded in between. What is edited later in a live kernel does not train there, and changes no name.
"""

import ast
import hashlib
import json
import re
import sys
from collections import Counter
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from helpers.inputs import InputError

START = "runs"  # the module from which all that a run can reach is imported
ENTRIES = ("train_run", "draw_round")  # what is called from outside of the code that trains
TABLES = ("LAYERS", "HEADS", "OPTIMIZERS", "LOSSES", "SCHEDULES", "AUGMENTATIONS")  # a run names what it takes of them
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
    """The source of every helper that a run can reach, by the imports in them, wherever they stand."""
    found, waiting = {}, {"__init__", START}
    while waiting:
        name = waiting.pop()
        found[name] = SOURCES[name]
        imports = " ".join(re.findall(IMPORT, SOURCES[name]))
        waiting |= (set(re.findall(r"\w+", imports)) & SOURCES.keys()) - found.keys()
    return found


@lru_cache
def _first_loaded() -> dict:
    """What marks a module as loaded once, for all that are reached, once it is sure that SOURCES was loaded."""
    modules = [import_module(f"helpers.{name}".removesuffix(".__init__")) for name in reached()]
    now = _read_all()
    for name, source in reached().items():
        if now.get(name) != source:
            raise InputError(f"helpers/{name}.py was changed while this process was loading; start the kernel again.")
    return {module.__name__: module.__spec__ for module in modules}


@lru_cache
def hash_of(sources: tuple, words: frozenset[str]) -> str:
    """SHA-256 of sources, ((name, text), ...), and of the versions of torch and numpy, for a run with these words.

    Everything counts but what certainly cannot matter: comments, layout, docstrings, entries of TABLES that the run
    does not name, and functions and classes whose name the rest of the code does not contain.
    """
    statements = [node for _, source in sources for node in ast.parse(source).body]
    parts = [(_own_name(node), json.dumps(_plain(node, words))) for node in statements]
    before = []
    while len(before) != len(parts):
        before, mentions = (parts, Counter(w for name, code in parts for w in set(re.findall(r"\w+", code)) - {name}))
        parts = [(name, code) for name, code in before if name is None or name in ENTRIES or mentions[name]]
    versions = [version(package).split("+")[0] for package in ("torch", "numpy")]
    return hashlib.sha256(json.dumps([versions, parts]).encode()).hexdigest()


def _own_name(node: ast.AST) -> str | None:
    """The name of a function or class whose definition does no more than define it."""
    plain = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.decorator_list
    return node.name if plain and not node.name.startswith("__") else None


def _plain(node, words: frozenset[str]):
    """A syntax tree as nested lists, the same in all versions of Python, without docstrings and unused entries."""
    if isinstance(node, list):
        return [_plain(part, words) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []  # a docstring
    if isinstance(getattr(node, "value", None), ast.Dict) and re.match(rf"({'|'.join(TABLES)})\b", ast.unparse(node)):
        entries = zip(node.value.keys, node.value.values, strict=True)
        return [_plain(list(entry), words) for entry in entries if getattr(entry[0], "value", None) in {None, *words}]
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *([name, _plain(value, words)] for name, value in fields)]
