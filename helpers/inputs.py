"""What a person may get wrong, answered in one sentence."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class InputError(ValueError):
    """Bad input; its message is one sentence that names the parameter, what was given and what is allowed."""

    def _render_traceback_(self) -> list[str]:
        """Shown by IPython instead of a stack trace: whoever mistyped a parameter needs the sentence only."""
        return [f"InputError: {self}"]


def whole_number(name: str, value, least: int, most: int | None = None) -> int:
    """Return `value` if it is a whole number from `least` to `most`, else raise InputError."""
    within = f"from {least} to {most}" if most is not None else f"of at least {least}"
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise InputError(f"{name}: {value!r} was given, allowed is a whole number {within}.")
    return value


def number(name: str, value, least: float, most: float = float("inf")) -> float:
    """Return `value` as a float if it is a number from `least` to `most`, else raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        within = f"from {least:g} to {most:g}" if most != float("inf") else f"of at least {least:g}"
        raise InputError(f"{name}: {value!r} was given, allowed is a number {within}.")
    return float(value)


def one_of(name: str, value, allowed) -> str:
    """Return `value` if it is among `allowed`, else raise InputError."""
    if value not in list(allowed):
        raise InputError(f"{name}: {value!r} was given, allowed is one of {', '.join(map(str, allowed))}.")
    return value


def writable_folder(name: str, folder: str | Path) -> Path:
    """Return `folder` (relative to the project's root), made if need be, if a file can be written there."""
    folder = ROOT / folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"{name}: {str(folder)!r} was given, allowed is a folder that can be written to ({error.strerror})."
        ) from None
    return folder
