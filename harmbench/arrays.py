"""Arrays of volumes: finite values, the range [0, 1], foreground, bounding box, mean and spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = [
    "ROUNDING",
    "Array",
    "Box",
    "Double",
    "Mask",
    "Matrix",
    "Single",
    "bounding_box",
    "count_not_finite",
    "fill_holes",
    "foreground",
    "in_unit_range",
    "is_spacing",
    "mean_and_sd",
    "outside_unit_range",
]

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Single = NDArray[np.float32]
Double = NDArray[np.float64]
Matrix = NDArray[np.float64]
"""A (4, 4) affine, or a (3, 3) part of one."""
Box = tuple[slice, ...]
"""One slice per axis."""

ROUNDING = 1e-6
"""How far intensities may lie outside [0, 1] through rounding alone."""


def count_not_finite(data: Array) -> int:
    """Count the NaN and infinite values of an array, any shape with at least one axis."""
    # Plane by plane, so that temporary arrays stay in the processor's cache.
    return sum(int(np.count_nonzero(~np.isfinite(plane))) for plane in data)


def in_unit_range(data: Array) -> bool:
    """Whether all values of a finite array, any non-empty shape, lie in [0, 1], up to `ROUNDING`."""
    return float(data.min()) >= -ROUNDING and float(data.max()) <= 1 + ROUNDING


def outside_unit_range(data: Array) -> Mask:
    """Return where a finite array lies outside [0, 1] by more than `ROUNDING`; same shape, bool."""
    return np.asarray((data < -ROUNDING) | (data > 1 + ROUNDING), dtype=np.bool_)


def is_spacing(spacing_mm: Sequence[float]) -> bool:
    """Whether these are three positive, finite lengths."""
    return len(spacing_mm) == 3 and all(np.isfinite(mm) and mm > 0 for mm in spacing_mm)


def fill_holes(mask: Mask) -> Mask:
    """Return a mask, shape (x, y, z), with the background that it encloses completely."""
    return np.asarray(ndimage.binary_fill_holes(mask), dtype=np.bool_)


def foreground(data: Array) -> Mask:
    """Return the brain of a skull-stripped volume, shape (x, y, z).

    The brain is every voxel above 0, with the holes between them. Clipping at a low percentile sets
    single brain voxels to exactly 0. They are tissue; the background reaches the volume's border.
    """
    return fill_holes(data > 0)


def bounding_box(mask: Mask, margin: int = 0) -> Box:
    """Return the smallest box that holds all voxels of a mask.

    Args:
        mask: any shape, with at least one voxel.
        margin: voxels to add on each side, as far as the array reaches.

    Returns:
        One slice per axis.

    Raises:
        ValueError: the mask has no voxel.
    """
    sides = []
    for axis, extent in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        if not filled.size:
            raise ValueError("an empty mask has no bounding box")
        first, last = int(filled[0]), int(filled[-1])
        sides.append(slice(max(0, first - margin), min(extent, last + 1 + margin)))
    return tuple(sides)


def mean_and_sd(
    samples: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Compute mean and standard deviation (n - 1), with one array in memory at a time (Welford 1962).

    Args:
        samples: one or more arrays of one shape; sums are kept in float64.

    Returns:
        Mean and standard deviation, float32, shape of a sample. The deviation of a single sample is
        `None`.

    Raises:
        ValueError: there is no sample.
    """
    count = 0
    mean: NDArray[np.float64] = np.zeros(())
    squares: NDArray[np.float64] = np.zeros(())
    for sample in samples:
        count += 1
        gap = sample - mean
        mean = mean + gap / count
        squares = squares + gap * (sample - mean)
    if count == 0:
        raise ValueError("no samples")
    deviation = np.sqrt(squares / (count - 1)).astype(np.float32) if count > 1 else None
    return mean.astype(np.float32), deviation
