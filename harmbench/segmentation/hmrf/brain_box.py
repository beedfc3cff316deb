"""Memory layout of the `hmrf` segmenter: the brain's bounding box, with the axes in FSL's order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from harmbench.arrays import Array, bounding_box

__all__ = ["BrainBox"]

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class BrainBox:
    """The box of the brain in a volume, and which of its voxels are brain.

    In the box, axes are (z, y, x), x runs from right to left, and one voxel of margin surrounds the
    brain. FSL uses this order for every file. Results of in-place sweeps depend slightly on the
    order.

    Attributes:
        shape: of the volume, (x, y, z).
        box: where the brain lies in the volume turned to (z, y, x), without margin.
        brain: (z, y, x) of the box.
        first, last: (z, y), int32, outermost brain voxels of each row; 1 and 0 where there are none.
    """

    shape: tuple[int, ...]
    box: tuple[slice, ...]
    brain: NDArray[np.bool_]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    @classmethod
    def of(cls, brain: NDArray[np.bool_]) -> Self:
        """Lay out a volume in RAS orientation, shape (x, y, z), with at least one brain voxel."""
        turned = _turn(brain)
        box = bounding_box(turned)
        # Not np.pad, which may lay out its result in the order of the transposed input.
        inner = np.zeros([side.stop - side.start + 2 for side in box], dtype=np.bool_)
        inner[1:-1, 1:-1, 1:-1] = turned[box]
        some = inner.any(axis=2)
        first = np.where(some, inner.argmax(axis=2), 1).astype(np.int32)
        last = np.where(some, inner.shape[2] - 1 - inner[:, :, ::-1].argmax(axis=2), 0)
        return cls(brain.shape, box, inner, first, last.astype(np.int32))

    def to_box(self, data: Array) -> NDArray[np.float32]:
        """Return the box (z, y, x) of a volume (x, y, z), float32, 0 outside the brain."""
        boxed = np.zeros(self.brain.shape, dtype=np.float32)
        boxed[1:-1, 1:-1, 1:-1] = _turn(data)[self.box]
        boxed[~self.brain] = 0
        return boxed

    def to_volume(self, boxed: NDArray[Number], background: float = 0) -> NDArray[Number]:
        """Return a read-only volume (x, y, z) of a box (z, y, x), `background` outside the box."""
        volume = np.full(self.shape, background, dtype=boxed.dtype)
        _turn(volume)[self.box] = boxed[1:-1, 1:-1, 1:-1]
        volume.flags.writeable = False
        return volume

    def smoothed_rows(self) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """Return the first and last voxel, (z, y) each, that smoothing along z, y and x must find.

        Along x these are the brain's; along y they are whole rows where there is brain; along z they
        are what has brain above or below it, outside of which the field is 0.
        """
        some, length = self.first <= self.last, self.brain.shape[2]
        lowest = np.where(some, self.first, length).min(axis=0)
        highest = np.where(some, self.last, -1).max(axis=0)
        column = [np.broadcast_to(side, some.shape) for side in (lowest, highest)]
        whole = [np.where(some, 0, 1), np.where(some, length - 1, 0)]
        return [
            (np.ascontiguousarray(one, np.int32), np.ascontiguousarray(other, np.int32))
            for one, other in (column, whole, (self.first, self.last))
        ]


def _turn(data: NDArray[Number]) -> NDArray[Number]:
    """View a volume's (x, y, z) as (z, y, x) with x reversed."""
    return data[::-1].transpose(2, 1, 0)
