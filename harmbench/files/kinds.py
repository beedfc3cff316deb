"""What is at a path where an image is expected: a file, or a pointer to content that is not there."""

from __future__ import annotations

import bz2
import errno
import gzip
import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

from typing_extensions import Buffer

from harmbench.errors import VolumeError

__all__ = [
    "CHUNK_BYTES",
    "EMPTY_FILE",
    "HEAD_BYTES",
    "decompressed",
    "looks_like",
    "pointer",
    "unexpanded",
    "why_no_file",
]

HEAD_BYTES = 1024
"""How many bytes at the beginning of a file identify it."""
CHUNK_BYTES = 1 << 20
"""How many bytes of a compressed file are read at a time."""
EMPTY_FILE = "an empty file"
"""The answer of `why_no_file` for a file without content."""

_ANNEX = "git-annex, which has not fetched it: `git annex get {name}` or `datalad get {name}`"


class _Gzip(gzip.GzipFile):
    """Gzip that decompresses into a given buffer in chunks, without a second copy of the whole."""

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (chunk := self.read(min(CHUNK_BYTES, len(view) - done))):
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
        return done


def why_no_file(path: Path) -> str | None:
    """Say why a path has no readable file, and how to get it; `None` for a file with contents."""
    name = path.name
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        if not too_long and path.is_symlink():
            return _dangling(path)
        if not too_long and path.with_name(f"{name}.dvc").is_file():
            return f"no such file; {name}.dvc is there: fetch it with `dvc pull {name}`"
        missing = too_long or isinstance(error, FileNotFoundError | NotADirectoryError | ValueError)
        return "no such file" if missing else f"cannot be read ({error})"
    if stat.S_ISDIR(found.st_mode):
        return "a folder, expected a file"
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file (a pipe, a socket or a device)"
    return EMPTY_FILE if found.st_size == 0 else None


def unexpanded(path: str) -> str:
    """Return a hint on a path, as it was written, that only a shell would find; empty for others."""
    if path.startswith("file:"):
        return "; give a path, not a URL"
    if path.startswith("~") or "$" in path:
        return "; ~ and variables such as $HOME are not replaced here: write the whole path"
    return ""


def _dangling(link: Path) -> str:
    target = os.readlink(link)  # noqa: PTH115 - as text, whatever it is
    if "annex/objects" in target.replace("\\", "/"):
        return f"a link into {_ANNEX.format(name=link.name)}"
    advice = f": fetch it with `dvc pull {link.name}`" if ".dvc/" in target else ""
    return f"a link to {target}, which is not there{advice}"


def decompressed(raw: BinaryIO, magic: bytes) -> tuple[BinaryIO, str]:
    """Return a reader of a file's decompressed content, and the name of its compression.

    Args:
        raw: the open file.
        magic: its first bytes, which identify the compression.

    Raises:
        VolumeError: the compression is not supported.
    """
    if magic.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, _Gzip(fileobj=raw, mode="rb")), "gzip"
    if magic.startswith(b"BZh"):
        return cast(BinaryIO, bz2.BZ2File(raw)), "bzip2"
    for start, name, advice in (
        (b"\x28\xb5\x2f\xfd", "Zstandard", "`unzstd`"),
        (b"\xfd7zXZ\x00", "xz", "`unxz`"),
        (b"PK\x03\x04", "ZIP", "`unzip`"),
    ):
        if magic.startswith(start):
            raise VolumeError(f"{name} compressed, which is not read: decompress it with {advice}")
    return raw, ""


def pointer(head: bytes, path: Path) -> str:
    """Describe a file that is only a pointer to an image elsewhere; empty for any other file.

    Args:
        head: the first bytes of the file, without compression.
        path: the file.
    """
    name = path.name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return f"a pointer of Git LFS, which has not fetched it: `git lfs pull --include {name}`"
    if len(head) < HEAD_BYTES and b"annex/objects/" in head and _is_text(head):
        return f"a pointer of {_ANNEX.format(name=name)}"
    if text.startswith((b"outs:", b"md5: ", b"- md5: ")) and _is_text(head):
        return f"a file of DVC that stands for another: fetch that with `dvc pull {name}`"
    if text[:14].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page, such as a server's error or login page: download the file again"
    if (
        len(head) < HEAD_BYTES
        and _is_text(head)
        and _is_file(path.parent / head.decode("latin-1").strip())
    ):
        return (
            "a text with the name of another file: links were lost in copying, copy the data anew"
        )
    return ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def looks_like(head: bytes) -> str:
    """Describe a file that no image class can read, by its first bytes."""
    if head[128:132] == b"DICM":
        return ": a DICOM file, convert the series with dcm2niix"
    if head and not any(head):
        return ": it begins with zeros, such as an unfinished download"
    if _is_text(head):
        start = " ".join(head.decode("utf-8", "replace").split())[:40]
        return f": a text that begins with “{start}”"
    return ", or a damaged one"


def _is_text(head: bytes) -> bool:
    return bool(head) and not any(byte < 9 or 13 < byte < 32 for byte in head)
