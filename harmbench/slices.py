"""Volumes as stacks of 2D slices: the part of each slice that a network gets, and the way back.

A network that halves its input needs slices whose sides are multiples of a power of two, and should not
compute on empty background. A `Window` is a rectangle at one position in all slices of a volume. `cut`
returns the stack of slices under it, padded with zeros where it extends beyond the volume; `paste` puts
a stack back in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array, foreground
from harmbench.errors import TrainingError, VolumeError
from harmbench.storage import key_of
from harmbench.task import Pair
from harmbench.volume import require_same_grid

__all__ = ["TrainingSlices", "Window", "map_slices", "round_up", "training_slices"]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle over every slice of a volume along one axis.

    Attributes:
        axis: the axis along which the volume is sliced (0 sagittal, 1 coronal, 2 axial).
        start: first row and column, in voxels of the slice; negative where it begins outside.
        size: number of rows and columns.

    Raises:
        VolumeError: the axis is not 0, 1 or 2, or the window is empty.
    """

    axis: int
    start: tuple[int, int]
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise VolumeError(f"a volume is sliced along axis 0, 1 or 2, not {self.axis}")
        if min(self.size) < 1:
            raise VolumeError(f"a window has at least one row and one column, not {self.size}")

    @classmethod
    def around(
        cls,
        mask: NDArray[np.bool_],
        axis: int,
        *,
        margin: int = 0,
        multiple: int = 1,
        at_least: tuple[int, int] = (1, 1),
    ) -> Window:
        """Return the smallest window that holds all of `mask` and `margin` voxels around it.

        Args:
            mask: shape (x, y, z); an empty mask counts as a full one.
            axis: the axis along which the volume is sliced.
            margin: voxels to keep on each side of the mask.
            multiple: the window's sides are rounded up to multiples of this.
            at_least: smallest number of rows and columns, before rounding up.
        """
        others = [other for other in range(3) if other != axis]
        starts, sizes = [], []
        for other, smallest in zip(others, at_least, strict=True):
            used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != other)))
            first, last = (used[0], used[-1]) if used.size else (0, mask.shape[other] - 1)
            extent = int(last - first) + 1
            size = round_up(max(extent + 2 * margin, smallest), multiple)
            sizes.append(size)
            starts.append(int(first) - (size - extent) // 2)
        return cls(axis, (starts[0], starts[1]), (sizes[0], sizes[1]))

    def cut(self, data: Array) -> Array:
        """Return the slices under the window: (x, y, z) to (slices, rows, columns), zero-padded."""
        stack = np.moveaxis(data, self.axis, 0)
        inside, outside = self._overlap(stack.shape[1:])
        cut = np.zeros((stack.shape[0], *self.size), dtype=data.dtype)
        cut[inside] = stack[outside]
        return cut

    def paste(self, slices: Array, shape: tuple[int, int, int]) -> Array:
        """Return a volume of `shape` with `slices` under the window and zeros elsewhere.

        `paste(cut(data), data.shape)` is `data` wherever the window covers it.

        Raises:
            VolumeError: `slices` is not the stack that `cut` gives for a volume of `shape`.
        """
        expected = (shape[self.axis], *self.size)
        if slices.shape != expected:
            raise VolumeError(f"slices of shape {slices.shape}, the window holds {expected}")
        data = np.zeros(shape, dtype=slices.dtype)
        stack = np.moveaxis(data, self.axis, 0)
        inside, outside = self._overlap(stack.shape[1:])
        stack[outside] = slices[inside]
        return data

    def _overlap(self, plane: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return where window and slices overlap, as indices of a cut and of the volume's stack."""
        inside, outside = [slice(None)], [slice(None)]
        for start, size, extent in zip(self.start, self.size, plane, strict=True):
            first, last = max(start, 0), max(min(start + size, extent), 0)
            first = min(first, last)
            inside.append(slice(first - start, last - start) if last > first else slice(0, 0))
            outside.append(slice(first, last) if last > first else slice(0, 0))
        return tuple(inside), tuple(outside)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def map_slices(
    function: Callable[[NDArray[np.float32], NDArray[np.intp]], NDArray[np.float32]],
    data: NDArray[np.float32],
    brain: NDArray[np.bool_],
    *,
    axis: int,
    multiple: int = 1,
    crop: bool = True,
    skip_empty: bool = True,
    at_least: tuple[int, int] = (1, 1),
    batch_size: int,
    progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.float32]:
    """Apply `function` to the slices of a volume and stack its results.

    Args:
        function: maps slices, shape (batch, rows, columns), and their numbers along the axis, shape
            (batch,), to slices of the same shape.
        data: shape (x, y, z).
        brain: where the brain is, same shape.
        axis: the axis along which the volume is sliced.
        multiple: rows and columns are rounded up to multiples of this.
        crop: whether `function` gets only the brain's bounding box; the result is 0 outside it.
        skip_empty: whether to leave slices without brain at 0 instead.
        at_least: smallest number of rows and columns, before rounding up; smaller slices are padded.
        batch_size: number of slices that `function` gets at once, at most.
        progress: called after every batch with the number of slices done and their total.

    Returns:
        Shape of `data`.
    """
    box = brain if crop else np.ones_like(brain)
    window = Window.around(box, axis, multiple=multiple, at_least=at_least)
    stack = window.cut(data)
    used = window.cut(brain).any(axis=(1, 2))
    chosen = np.flatnonzero(used if skip_empty else np.ones_like(used))
    result = np.zeros_like(stack)
    for first in range(0, len(chosen), batch_size):
        numbers = chosen[first : first + batch_size]
        result[numbers] = function(stack[numbers], numbers)
        if progress is not None:
            progress(first + len(numbers), len(chosen))
    x, y, z = data.shape
    return window.paste(result, (x, y, z))


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSlices:
    """All slices of the training subjects, in memory.

    Attributes:
        source, target: float32, shape (slices, rows, columns), values in [0, 1].
        key: SHA-256 of the volumes and of how they were cut.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    key: str

    def __len__(self) -> int:
        return int(self.source.shape[0])

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of every slice."""
        _, rows, columns = self.source.shape
        return rows, columns

    def examples(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return source and target of at most `count` slices, spread over all of them."""
        count = min(count, len(self))
        # Middles of equal shares: the ends of the stack are slices with hardly any brain.
        numbers = ((np.arange(count) + 0.5) * len(self) / count).astype(np.int64)
        return self.source[numbers], self.target[numbers]


def training_slices(
    pairs: Sequence[Pair],
    *,
    axis: int,
    multiple: int = 1,
    crop: bool = True,
    margin: int = 0,
    skip_empty: bool = True,
    at_least: tuple[int, int] = (1, 1),
) -> TrainingSlices:
    """Cut the training volumes into slices of one size, going through `pairs` once.

    Args:
        pairs: the training subjects; volumes may differ in shape from subject to subject.
        axis: the axis along which volumes are sliced.
        multiple: rows and columns are rounded up to multiples of this.
        crop: whether to cut the empty background away, around each subject's brain (both scans).
        margin: voxels of background to keep around the largest brain.
        skip_empty: whether to leave out slices in which both scans are empty.
        at_least: smallest number of rows and columns, before rounding up; smaller slices are padded.

    Raises:
        TrainingError: there are no pairs, or no slice has anything in it.
        VolumeError: source and target of a pair lie on different grids.
    """
    cuts: list[Array] = []  # one (2, slices, rows, columns) per subject, as small as its brain
    keys: list[object] = [axis, multiple, crop, margin, skip_empty, at_least]
    for pair in pairs:
        names = (f"source of {pair.subject}", f"target of {pair.subject}")
        require_same_grid(pair.source, pair.target, names)
        mask = foreground(pair.source.data) | foreground(pair.target.data)
        window = Window.around(mask if crop else np.ones_like(mask), axis)
        used = window.cut(mask).any(axis=(1, 2)) if skip_empty else slice(None)
        cuts.append(np.stack([window.cut(v.data)[used] for v in (pair.source, pair.target)]))
        keys.append((pair.source.key, pair.target.key))
    count = sum(cut.shape[1] for cut in cuts)
    if not count or not any(cut.any() for cut in cuts):
        raise TrainingError("there is nothing to learn from: no training slice has a voxel above 0")
    border = 2 * margin if crop else 0
    rows, columns = (
        round_up(max(smallest, *(cut.shape[side] + border for cut in cuts)), multiple)
        for side, smallest in zip((2, 3), at_least, strict=True)
    )
    stacks = np.zeros((2, count, rows, columns), dtype=np.float32)
    first = 0
    while cuts:
        cut = cuts.pop(0)  # freed one by one: both copies are never in memory together
        _, slices, height, width = cut.shape
        top, left = (rows - height) // 2, (columns - width) // 2
        stacks[:, first : first + slices, top : top + height, left : left + width] = cut
        first += slices
    return TrainingSlices(stacks[0], stacks[1], key_of(keys))
