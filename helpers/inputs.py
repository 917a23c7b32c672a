"""What a person may get wrong, answered in one sentence; and files read and written safely."""

import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

ROOT = Path(__file__).resolve().parents[1]
UNFINISHED = ".unfinished-"  # what a killed process may leave behind


class InputError(ValueError):
    """Bad input; its message is one sentence that names the parameter, what was given and what is allowed."""

    def _render_traceback_(self) -> list[str]:
        """Shown by IPython instead of a stack trace: whoever mistyped a parameter needs the sentence only."""
        return [f"InputError: {self}"]


def whole_number(name: str, value, least: int, most: int = 10**6) -> int:
    """Return `value` if it is a whole number from `least` to `most`, else raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name}: {value!r:.100} was given, allowed is a whole number from {least} to {most}.")
    return value


def number(name: str, value, least: float, most: float = float("inf")) -> float:
    """Return `value` as a float if it is a number from `least` to `most`, else raise InputError."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not finite or not least <= value <= most:
        within = f"from {least:g} to {most:g}" if most != float("inf") else f"of at least {least:g}"
        hint = f" (YAML takes it for text; write {float(value):.1e})" if _is_number(value) else ""
        raise InputError(f"{name}: {value!r} was given, allowed is a number {within}{hint}.")
    return float(value)


def _is_number(text) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?e[-+]?\d+", text) is not None


def one_of(name: str, value, allowed) -> str:
    """Return `value` if it is among `allowed`, of the same type too, else raise InputError."""
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        raise InputError(f"{name}: {value!r} was given, allowed is one of {', '.join(map(str, allowed))}.")
    return value


def list_of(name: str, values, check, *limits) -> list:
    """Return `values` if it is a list whose entries all pass `check`, e.g. `number`, else raise InputError."""
    if not isinstance(values, list | tuple):
        raise InputError(
            f"{name}: {values!r} was given, allowed is a list; with papermill it is given as -y '{name}: [1, 2]'."
        )
    checked = [check(name, value, *limits) for value in values]
    for value in checked:
        if checked.count(value) > 1:
            raise InputError(f"{name}: {value!r} was given twice, allowed is every value once.")
    return checked


def known_keys(where: str, mapping, allowed) -> dict:
    """Return `mapping` if it is one and all its keys are among `allowed`, else raise InputError."""
    if not isinstance(mapping, dict):
        raise InputError(f"{where}: {mapping!r} was given, allowed is a mapping of {', '.join(allowed)}.")
    for key in mapping:
        if key not in allowed:
            few = f"one of {', '.join(allowed)}" if allowed else "nothing"
            raise InputError(f"{where}: {key!r} was given, allowed is {few}.")
    return mapping


def resolve_path(path: str | Path) -> Path:
    """A path as a person at a prompt means it: from the current folder, `~` being home."""
    return Path(os.path.abspath(os.path.expanduser(str(path))))


def writable_folder(name: str, folder: str | Path) -> Path:
    """Return `folder`, made if need be, if files can be made in it, else raise InputError."""
    folder = resolve_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise unwritable(name, folder, error) from None
    return folder


def unwritable(name: str, folder: str | Path, error: OSError | ValueError) -> InputError:
    """The sentence for a folder that cannot be written to, or not any more."""
    why = getattr(error, "strerror", None) or str(error)
    return InputError(f"{name}: {str(folder)!r} was given, allowed is a folder that can be written to ({why}).")


def print_anything() -> None:
    """Let a terminal whose code page lacks a sign, such as ×, show a substitute instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while runs were trained; its message says what is kept."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]


def is_live() -> bool:
    """Whether a person is at the other end of this kernel: Jupyter's servers and VS Code say so, papermill does not."""
    return bool(os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID"))


# ----------------------------------------------------------------------------------------------------------- files


class _Strict(yaml.SafeLoader):
    """YAML whose mappings have each key once, and all keys as text, and that does not contain itself."""

    def construct_object(self, node, deep=False):
        return super().construct_object(node, deep=True)  # which refuses what is inside itself

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise InputError(f"line {line} has the key {key!r}, which is no text; write it in quotes")
            if key in seen:
                raise InputError(f"line {line} has the key {key!r} a second time")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(name: str, given, shipped: Path) -> tuple[Path, Any]:
    """(path, content) of a YAML file: one in the folder `shipped`, given by its name, or another, by its path.

    Raises InputError that says `name` where there is none, where it is no YAML, and where a key is doubled or no text.
    """
    known = {path.relative_to(shipped).with_suffix("").as_posix(): path for path in sorted(shipped.rglob("[!.]*.yaml"))}
    path = known.get(str(given)) or resolve_path(str(given))
    if not os.path.isfile(path):
        raise InputError(
            f"{name}: {str(given)!r} was given, but there is no file {path}; allowed is one of {', '.join(known)}, or "
            "the path of a YAML file."
        )
    try:
        return path, yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except InputError as error:
        raise InputError(f"{name}: {path}, {error}.") from None
    except RecursionError:
        raise InputError(f"{name}: {path} is nested too deeply.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{name}: {path} is no YAML file ({' '.join(str(error).split())}).") from None
    except OSError as error:
        raise InputError(f"{name}: {path} cannot be read ({error.strerror}).") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process is killed and whoever writes the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{uuid4()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
