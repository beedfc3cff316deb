"""Files and folders that are written whole or not at all; keys of values and of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from harmbench.bounded import JSON_BYTES, open_regular, parse_json, read_bytes
from harmbench.owners import is_gone_tag, this_process

__all__ = [
    "atomic",
    "cache_root",
    "discard",
    "file_key",
    "has_writer",
    "key_of",
    "read_json",
    "remove",
    "remove_stale",
    "sync",
    "time_on",
    "whole_folder",
    "why_not_writable",
    "write_bytes",
    "write_json",
    "write_text",
]

TEMPORARY_PREFIX = ".tmp-"
"""How the names of files and folders begin that are not finished; which process made them follows."""

PROBE_PREFIX = ".harmbench-"
"""How the names of folders begin that are made to test whether a place is writable."""

_CANNOT_SYNC = {errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.EISDIR}


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` and rename it onto `path` when the block succeeds.

    The temporary name keeps the suffixes of `path`, since image writers choose a format by them.
    A block that raises, or a process that is killed, leaves `path` as it was.

    Args:
        path: the file.
        durable: whether the new contents are on the disk, not only in its cache, when this returns.
            A loss of power then leaves the old file or the new one, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    handle, name = tempfile.mkstemp(prefix=_own_prefix(), suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _use_default_permissions(temporary, 0o666)
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        # A full disk is met in the middle of a file, where the system does not say of which.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _own_prefix() -> str:
    return f"{TEMPORARY_PREFIX}{this_process().tag}-"


def has_writer(name: str) -> bool | None:
    """Whether the process still runs that made a temporary file or folder; `None` if nobody can tell.

    Args:
        name: of the file, without its folder.
    """
    parts = name.removeprefix(TEMPORARY_PREFIX).split("-")
    gone = is_gone_tag("-".join(parts[:3])) if len(parts) > 3 else None
    return None if gone is None else not gone


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, from the system's cache onto the disk.

    Disks that cannot do that for folders, such as some network disks, are left alone.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(handle)


@contextmanager
def whole_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a new temporary folder and move it to `folder` when the block succeeds.

    A block that raises leaves `folder` as it was. A process that is killed may leave a folder whose
    name begins with `TEMPORARY_PREFIX` beside it.

    Args:
        folder: where the contents go; without `replace` it must be absent or empty.
        replace: whether a folder that is already there is replaced.

    Raises:
        OSError: `folder` has contents and `replace` is false.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=folder.parent))
    try:
        yield fresh
        _use_default_permissions(fresh, 0o777)
        for place, _, files in os.walk(fresh, topdown=False):
            for name in files:
                sync(Path(place, name))
            sync(Path(place))
        if replace:
            discard(folder)
        fresh.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder, if it exists, in one rename, then delete its contents."""
    grave = Path(tempfile.mkdtemp(prefix=_own_prefix(), dir=folder.parent))
    try:
        folder.rename(grave / folder.name)
    except FileNotFoundError:
        pass
    finally:
        shutil.rmtree(grave, ignore_errors=True)


def remove_stale(path: Path, age_s: float) -> None:
    """Remove a file, link or folder that was last changed more than `age_s` seconds ago.

    Younger ones may belong to a process that is running. Never raises.
    """
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime > age_s:
            remove(path)


def time_on(folder: Path) -> float:
    """Return the time of the disk that a folder is on, which another machine may keep.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.NamedTemporaryFile(prefix=_own_prefix(), dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its contents, as far as that is possible; never raises."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _use_default_permissions(path: Path, mode: int) -> None:
    """Give a temporary file or folder, which is private, the permissions that any new one has."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def why_not_writable(folder: Path) -> str | None:
    """Say why a folder, which need not exist yet, cannot be made or written to; `None` if it can."""
    existing = folder.absolute()
    while not existing.exists():
        if existing.is_symlink():
            return f"cannot be a folder, {existing} is a link that leads nowhere"
        existing = existing.parent
    if not existing.is_dir():
        return f"cannot be a folder, {existing} is a file"
    try:
        # Permission bits do not show full or read-only disks, and do not bind root: try it.
        with tempfile.TemporaryDirectory(prefix=PROBE_PREFIX, dir=existing):
            return None
    except OSError as error:
        return f"cannot write in {existing} ({error.strerror})"


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write `text` (UTF-8) atomically; `durable` as in `atomic`."""
    with atomic(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write bytes atomically; `durable` as in `atomic`."""
    with atomic(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Write `value` as indented JSON, atomically; `durable` as in `atomic`."""
    text = json.dumps(value, indent=2, sort_keys=True, default=str) + "\n"
    write_text(path, text, durable=durable)


def cache_root() -> Path:
    """Folder of what can be made again: `$HARMBENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("HARMBENCH_CACHE") or platformdirs.user_cache_dir("harmbench"))


def read_json(path: Path) -> object:
    """Read JSON; `None` where the file is absent.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON in UTF-8, has a field twice, is larger than `JSON_BYTES`, or no
            regular file.
    """
    try:
        return parse_json(read_bytes(path, JSON_BYTES).decode("utf-8"))
    except FileNotFoundError:
        return None


def key_of(*parts: object) -> str:
    """SHA-256 (hexadecimal) of JSON-like values, independent of the order of mapping keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_key(path: Path) -> str:
    """SHA-256 (hexadecimal) of a regular file's bytes."""
    with open_regular(path) as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
