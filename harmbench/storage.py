"""Files that are either old or new, never half; and keys of values and files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

__all__ = [
    "atomic",
    "cache_root",
    "file_key",
    "key_of",
    "read_json",
    "why_not_writable",
    "write_json",
    "write_text",
]

TEMPORARY_PREFIX = ".tmp-"
"""How the names of half-written files begin."""

PROBE_PREFIX = ".harmbench-"
"""How the names of folders begin that are made to see whether one can be."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` and rename it onto `path` when the block succeeds.

    The temporary name keeps the suffixes of `path`, since image writers choose a format by them.
    A block that raises, or a process that is killed, leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; a result is as readable as any other file of its owner.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def why_not_writable(folder: Path) -> str | None:
    """Say why a folder, which need not exist yet, cannot be made or written to; `None`: it can."""
    existing = folder.absolute()
    while not existing.exists():
        if existing.is_symlink():
            return f"cannot be a folder, {existing} is a link that leads nowhere"
        existing = existing.parent
    if not existing.is_dir():
        return f"cannot be a folder, {existing} is a file"
    try:
        # Asked by doing: permission bits say nothing of full or read-only disks, nor to root.
        with tempfile.TemporaryDirectory(prefix=PROBE_PREFIX, dir=existing):
            return None
    except OSError as error:
        return f"cannot write in {existing} ({error.strerror})"


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def cache_root() -> Path:
    """Folder of what can be made again: `$HARMBENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("HARMBENCH_CACHE") or platformdirs.user_cache_dir("harmbench"))


def read_json(path: Path) -> Any:
    """Read JSON; `None` where the file is absent."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def key_of(*parts: Any) -> str:
    """SHA-256 (hexadecimal) of JSON-like values, independent of the order of mapping keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_key(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's bytes."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
