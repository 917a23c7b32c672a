"""Files that people write, read with one sentence for what is wrong; files of ours, written whole or not at all."""

from pathlib import Path
from uuid import uuid4

import yaml

from helpers.inputs import InputError, from_here

UNFINISHED = ".unfinished-"  # what a killed process may leave behind


def read_yaml(name: str, given, shipped: Path) -> tuple[Path, object]:
    """(path, content) of a YAML file: one in the folder `shipped`, given by its name, or another, by its path.

    Raises InputError that says `name` where there is none or where it is no YAML.
    """
    known = {path.relative_to(shipped).with_suffix("").as_posix(): path for path in sorted(shipped.rglob("*.yaml"))}
    path = known.get(str(given)) or from_here(str(given))
    if not path.is_file():
        raise InputError(
            f"{name}: {str(given)!r} was given, but there is no file {path}; allowed is one of {', '.join(known)}, or "
            "the path of a YAML file."
        )
    try:
        return path, yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: {path} is no YAML file ({' '.join(str(error).split())}).") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whenever the process is killed and whoever writes the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{uuid4()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
