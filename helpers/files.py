"""Files that people write, read with one sentence for what is wrong; files of ours, written whole or not at all."""

import os.path
from pathlib import Path
from uuid import uuid4

import yaml

from helpers.inputs import InputError, from_here

UNFINISHED = ".unfinished-"  # what a killed process may leave behind


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


def read_yaml(name: str, given, shipped: Path) -> tuple[Path, object]:
    """(path, content) of a YAML file: one in the folder `shipped`, given by its name, or another, by its path.

    Raises InputError that says `name` where there is none, where it is no YAML, and where a key is doubled or no text.
    """
    known = {path.relative_to(shipped).with_suffix("").as_posix(): path for path in sorted(shipped.rglob("[!.]*.yaml"))}
    path = known.get(str(given)) or from_here(str(given))
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
