"""Small files of unknown origin: opened without waiting, read up to a size, parsed without surprises.

A pipe or a device in the place of a file is refused before it is opened for good, so that no reader
waits for a writer that never comes. A file larger than its limit is refused before its content is in
memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

__all__ = [
    "JSON_BYTES",
    "TABLE_BYTES",
    "YAML_BYTES",
    "UnfitFileError",
    "open_regular",
    "parse_json",
    "read_bytes",
]

JSON_BYTES: Final = 32 << 20
"""Largest JSON file that is read; Python needs up to some 100 bytes for each of its bytes."""
TABLE_BYTES: Final = 256 << 20
"""Largest table or other text that is read."""
YAML_BYTES: Final = 1 << 20
"""Largest configuration that is read."""

_LONGEST_INTEGER = 400
_LONGEST_NAME = 60


class UnfitFileError(OSError, ValueError):
    """What is at a path is not a regular file, or it is too large.

    It is both, since callers take a file that cannot be read and one with unfit content differently.
    """


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; what is none is refused without waiting.

    Raises:
        OSError: there is no such file, or it is a folder.
        UnfitFileError: it is a pipe, a socket or a device.
    """

    def opener(name: str, flags: int) -> int:
        # Without O_NONBLOCK, opening a pipe waits for its writer. It has no effect on regular files.
        handle = os.open(name, flags | os.O_NONBLOCK)
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode):
            return handle
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        raise UnfitFileError(
            errno.EINVAL, "not a regular file (a pipe, a socket or a device)", name
        )

    return open(path, "rb", opener=opener)


def read_bytes(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        OSError: as `open_regular`.
        UnfitFileError: it is larger, or no regular file.
    """
    with open_regular(path) as file:
        # A file that grows while it is read is caught by the one byte more.
        if os.fstat(file.fileno()).st_size > most or len(raw := file.read(most + 1)) > most:
            limit = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most} bytes"
            raise UnfitFileError(errno.EFBIG, f"too large, at most {limit} are read", str(path))
    return raw


def parse_json(text: str) -> object:
    """Parse JSON; a field that is there twice is an error, since readers disagree on which one counts.

    Raises:
        ValueError: the text is not JSON (`json.JSONDecodeError` with the place), it is nested too
            deeply, one object has a field twice, or a number has too many digits.
    """
    try:
        found: object = json.loads(text, object_pairs_hook=_without_repeats, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:_LONGEST_NAME]!r} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
