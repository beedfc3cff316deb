"""One file of an image as a stream of bytes, and how much of it is believed before memory is taken.

What a header declares costs memory before it is known to be there, and what is compressed can grow a
thousandfold. Both have limits: see `ImageStream.check`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import psutil

from harmbench.errors import VolumeError
from harmbench.files.kinds import CHUNK_BYTES

__all__ = ["FREE_BYTES", "FREE_VOXELS", "MOST_PER_BYTE", "ImageStream", "check_declared"]

FREE_VOXELS: Final = 512**3
"""Number of voxels that any file may have, however small it is: masks compress to almost nothing."""
FREE_BYTES: Final = 4 * FREE_VOXELS
"""Number of bytes without compression that any file may have."""
MOST_PER_BYTE: Final = 30
"""Number of voxels, and of bytes without compression, for each byte of a larger file."""

# Largest expansion by deflate, and how many bytes may follow a file's declared end.
_GZIP_RATIO = 1032
_MOST_EXTRA = 64 << 20
# A file that declares this many times its size is counted before memory is taken for it.
_COUNTED_RATIO = 50
_COUNTED_BYTES = 64 << 20
_BYTES_OF_VOXEL = 4


@dataclass(frozen=True, slots=True)
class ImageStream:
    """One file of an image, open; `data` gives its bytes without compression.

    Attributes:
        path: the file.
        data: open for reading.
        size: of the file, in bytes.
        compression: `gzip`, `bzip2`, or empty.
        head: the first bytes without compression.
    """

    path: Path
    data: BinaryIO
    size: int
    compression: str
    head: bytes

    @property
    def largest(self) -> float:
        """Upper bound on the number of bytes without compression."""
        return self.size * {"": 1.0, "gzip": float(_GZIP_RATIO)}.get(self.compression, np.inf)

    def check(self, declared: int, voxels: int) -> None:
        """Refuse, before memory is taken, a file too short or too large for what its header declares.

        Args:
            declared: number of bytes without compression, up to the end of the voxels.
            voxels: how many there are.

        Raises:
            VolumeError: the file holds less than it declares, or it declares more than
                `check_declared` allows.
        """
        self._require(declared, self.largest)
        check_declared(self.size, declared, voxels)
        if self._is_suspect(declared):
            self._require(declared, self._count(declared))

    def _require(self, declared: int, found: float) -> None:
        if declared > found:
            packed = f" ({self.compression})" if self.compression else ""
            raise VolumeError(
                f"truncated, or not its header: it has {self.size} bytes{packed} where the header "
                f"declares {declared}"
            )

    def _is_suspect(self, declared: int) -> bool:
        most = max(_COUNTED_BYTES, _COUNTED_RATIO * self.size)
        return self.compression != "" and declared > most

    def _count(self, most: int) -> int:
        """Return the number of bytes without compression, or `most` if there are more."""
        self.data.seek(0)
        count = 0
        while count < most and (chunk := self.data.read(CHUNK_BYTES)):
            count += len(chunk)
        self.data.seek(0)
        return min(count, most)

    def drain(self) -> int:
        """Read the rest, so that checksums are verified; return its number of bytes.

        Raises:
            VolumeError: the rest is longer than the declared content.
        """
        if not self.compression:
            return self.size - self.data.tell()
        extra = 0
        while chunk := self.data.read(CHUNK_BYTES):
            extra += len(chunk)
            if extra > max(_MOST_EXTRA, self.data.tell() - extra):
                raise VolumeError("it is more than twice as long as its header declares")
        return extra


def check_declared(size: int, declared: int, voxels: int) -> None:
    """Refuse an image that declares more than files of its size hold, or than this machine holds.

    Args:
        size: of its files, in bytes.
        declared: bytes of its voxels.
        voxels: how many there are.

    Raises:
        VolumeError: more than `FREE_VOXELS` or `FREE_BYTES` and more than `MOST_PER_BYTE` for each byte
            stored, or more voxels than the machine's memory holds.
    """
    allowed = MOST_PER_BYTE * size
    if voxels > max(FREE_VOXELS, allowed) or declared > max(FREE_BYTES, allowed):
        raise VolumeError(
            f"its {size} bytes declare {voxels} voxels of {declared} bytes in all; no scan compresses "
            f"so well (at most {FREE_VOXELS} voxels, or {MOST_PER_BYTE} per byte)"
        )
    memory = psutil.virtual_memory().total
    if voxels * _BYTES_OF_VOXEL > memory:
        raise VolumeError(
            f"its {voxels} voxels need {voxels * _BYTES_OF_VOXEL / 1e9:.3g} GB of memory; this "
            f"machine has {memory / 1e9:.3g} GB"
        )
