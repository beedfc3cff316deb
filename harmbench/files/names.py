"""File names made from names: safe on every disk, and different for different names."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

from nibabel.filename_parser import splitext_addext

from harmbench.errors import RunError

__all__ = ["check_names", "file_label", "image_name", "same_on_disk"]

_LONGEST_BYTES = 200
"""Longest file name, without endings and a temporary file's prefix; disks allow 255 bytes."""


def file_label(name: str) -> str:
    """Turn a name into a safe file or folder name; different names stay different.

    Letters, digits and `-_.+` stay, except a dot at either end: `.` and `..` are folders, and a
    leading dot hides a file. An empty name becomes `%`.
    """
    last = len(name) - 1
    signs = (
        sign if sign.isalnum() or sign in "-_+" or (sign == "." and 0 < i < last) else _code(sign)
        for i, sign in enumerate(name)
    )
    return "".join(signs) or "%"


def _code(sign: str) -> str:
    # Six digits after a letter: " 28" can not be confused with the sign U+2028.
    return f"%{ord(sign):02X}" if ord(sign) < 0x100 else f"%u{ord(sign):06X}"


def same_on_disk(label: str) -> str:
    """Return a file name in the form that is equal on disks that ignore case and accent encoding."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", label).casefold())


def check_names(kind: str, labels: Mapping[str, str]) -> None:
    """Check that each of several names gives a file of its own.

    Args:
        kind: what the names are of, such as `method`.
        labels: each name, for messages, to its file name without endings.

    Raises:
        RunError: a name is empty or too long, or two become one file where the disk ignores case.
    """
    taken: dict[str, str] = {}
    for name, label in labels.items():
        if label == file_label(""):
            raise RunError(f"a {kind} has an empty name; give it one")
        if len(label.encode()) > _LONGEST_BYTES:
            raise RunError(
                f"{kind} {name!r}: the name is too long for a file "
                f"({len(label.encode())} bytes, at most {_LONGEST_BYTES})"
            )
        other = taken.setdefault(same_on_disk(label), name)
        if other != name:
            raise RunError(
                f"{kind}s {other!r} and {name!r} would share one file on a disk that ignores case or "
                "the form of accented letters; rename one"
            )


def image_name(path: Path) -> str:
    """Return an image's file name without its suffixes: `scan` for `scan.nii.gz`."""
    return str(splitext_addext(path.name)[0])
