"""Sums that show damage: the SHA-256 of a file, and the sum that a JSON file holds of itself.

A file without a sum was written by an earlier harmbench; it is read unverified.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from harmbench.storage import file_key, key_of, read_json, write_json

__all__ = ["SUM", "file_sums", "is_sealed", "read_sealed", "why_not_as_written", "write_sealed"]

SUM: Final = "sha256"
"""The field of a JSON file with the sum of all others."""

_DIGITS: Final = 64


def write_sealed(path: Path, values: Mapping[str, object], *, durable: bool = True) -> None:
    """Write a JSON object with a sum of its own contents, atomically.

    Args:
        path: the file.
        values: what it holds; no field is called `SUM`.
        durable: whether it survives a loss of power.
    """
    plain = json.loads(json.dumps(dict(values), default=str))
    write_json(path, {**plain, SUM: key_of(plain)}, durable=durable)


def read_sealed(path: Path) -> object:
    """Read JSON; where an object has a sum of its own contents, it is checked, and left out.

    Returns:
        What the file holds; `None` where there is no file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or its contents are not those that were written.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        return values
    if SUM not in values:
        if any(_is_sum(values, name) for name in values):
            raise ValueError(
                "its contents are not those that were written: their SHA-256 has no name"
            )
        return values
    own = {name: value for name, value in values.items() if name != SUM}
    if values[SUM] != key_of(own):
        raise ValueError("its contents are not those that were written: their SHA-256 differs")
    return own


def _is_sum(values: Mapping[str, object], field: str) -> bool:
    """Whether a field holds the sum of all others."""
    value = values[field]
    if not isinstance(value, str) or len(value) != _DIGITS:
        return False
    return value == key_of({name: own for name, own in values.items() if name != field})


def is_sealed(path: Path) -> bool:
    """Whether a file is JSON with a sum of its own contents; the sum may be wrong."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and SUM in values


def file_sums(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name relative to `root`, with `/` between parts.

    Raises:
        OSError: a file cannot be read.
    """
    return {path.relative_to(root).as_posix(): file_key(path) for path in sorted(paths)}


def why_not_as_written(path: Path, wanted: str) -> str | None:
    """Say why a file is not as it was written; `None` where it is.

    Args:
        path: the file.
        wanted: its SHA-256 when it was written.
    """
    try:
        found = file_key(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == wanted else "damaged or changed, its SHA-256 is not the recorded one"
