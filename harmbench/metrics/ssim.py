"""Structural similarity, in 3D.

Volumes have shape (x, y, z) and intensities in [0, 1], so that the data range is 1. A mask is the brain
of the reference, never of the harmonized volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from harmbench.arrays import Array, Box, Double, Mask, bounding_box
from harmbench.metrics.arrays import ImagePair, check_pair, slabs
from harmbench.metrics.declarations import SSIM, SSIM_BRAIN

__all__ = ["SSIM", "SSIM_BRAIN", "mean_ssims", "mean_ssims_of", "ssim", "ssim_map"]

_SIGMA = 1.5
_WINDOW = 11
"""Voxels along each axis of the truncated Gaussian window (Wang et al. 2004)."""
_C1, _C2 = 0.01**2, 0.03**2
"""What steadies the quotients, for a data range of 1 (Wang et al. 2004)."""
_SLAB = 16
"""Voxels of an axis whose similarity is computed at a time, which saves temporary volumes."""


def ssim(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Mean structural similarity of two volumes; see `ssim_map` and `mean_ssims`.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to average over, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return mean_ssims(harmonized, reference, (mask,))[0]


def mean_ssims(
    harmonized: Array, reference: Array, masks: Sequence[Mask | None]
) -> tuple[float, ...]:
    """Mean structural similarity over several regions, from one pass over the volumes.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        masks: the voxels of each region, shape (x, y, z), bool. `None`: all voxels whose window lies
            inside the volume, as is usual for the whole image. Empty: NaN.

    Returns:
        One mean for each region, in [-1, 1]; all NaN where an axis is shorter than the window.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    pair = check_pair(harmonized, reference)
    return mean_ssims_of(pair, [pair.within(mask).mask for mask in masks])


def mean_ssims_of(pair: ImagePair, masks: Sequence[Mask | None]) -> tuple[float, ...]:
    """`mean_ssims` of checked volumes, over checked masks; the pair's own mask does not count."""
    if min(pair.one.shape) < _WINDOW:
        return (math.nan,) * len(masks)
    rim = _WINDOW // 2
    whole = np.zeros(pair.one.shape, dtype=np.bool_)
    whole[rim:-rim, rim:-rim, rim:-rim] = True
    sums, voxels = [0.0] * len(masks), [0] * len(masks)
    for box, local in _ssim_slabs(*pair.images):
        for i, mask in enumerate(masks):
            values = local[(whole if mask is None else mask)[box]]
            sums[i] += float(np.sum(values, dtype=np.float64))
            voxels[i] += values.size
    return tuple(s / n if n else math.nan for s, n in zip(sums, voxels, strict=True))


def ssim_map(harmonized: Array, reference: Array) -> Array:
    """Structural similarity at every voxel (Wang et al. 2004, Eq. 13), in 3D.

    The original's settings, extended by one dimension: Gaussian window of sigma 1.5 truncated to 11
    voxels along each axis, K1 = 0.01, K2 = 0.03, population covariance, data range 1. Beyond the
    border the volumes are continued by reflection.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.

    Returns:
        Shape (x, y, z), in [-1, 1]; all NaN where an axis is shorter than the window.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    one, other = check_pair(harmonized, reference).images
    local = np.full(one.shape, np.nan, dtype=np.result_type(one, other))
    if min(one.shape) >= _WINDOW:
        for box, values in _ssim_slabs(one, other):
            local[box] = values
    return local


def _ssim_slabs(one: Array, other: Array) -> Iterator[tuple[Box, Array]]:
    """Yield where a slab lies and the structural similarity in it.

    Windows without signal are alike: only the box of what is not 0, and the reach of the windows around
    it, are computed.
    """
    near, found = _similarity_of_signal(one, other)
    axis = int(np.argmax(one.shape))
    for slab in slabs(one.shape, axis, _SLAB):
        box = _along(axis, slab)
        local = np.ones_like(one[box])
        start, stop = max(slab.start, near[axis].start), min(slab.stop, near[axis].stop)
        if start < stop:
            there = list(near)
            there[axis] = slice(start - slab.start, stop - slab.start)
            own = slice(start - near[axis].start, stop - near[axis].start)
            local[tuple(there)] = found[_along(axis, own)]
        yield box, local


def _along(axis: int, part: slice) -> Box:
    """Return the box of a part of one axis, and all of the others."""
    return tuple(part if i == axis else slice(None) for i in range(3))


def _similarity_of_signal(one: Array, other: Array) -> tuple[Box, Array]:
    """Return the box of what is not 0 in one of two volumes, with a margin, and the similarity in it."""
    from harmbench.metrics.windows import RADIUS, local_similarity  # compiles when first used

    signal = (one != 0) | (other != 0)
    if not signal.any():
        return (slice(0, 0),) * 3, np.ones((0, 0, 0), dtype=one.dtype)
    box = bounding_box(signal, margin=_WINDOW // 2)
    left, right = one[box], other[box]
    found, weights = np.empty(left.shape, dtype=one.dtype), _window()
    for slab in slabs(left.shape, thickness=_SLAB):
        low, high = max(0, slab.start - RADIUS), min(left.shape[0], slab.stop + RADIUS)
        # Copies: functions are compiled anew for arrays that are read-only.
        parts = [np.array(image[low:high], dtype=one.dtype, order="C") for image in (left, right)]
        planes = (slab.start - low, slab.stop - low)
        found[slab] = local_similarity(parts[0], parts[1], weights, _C1, _C2, *planes)
    return box, found


def _window() -> Double:
    """Return the weights of the window along an axis, shape (11,): what it makes of an impulse."""
    impulse = np.zeros(_WINDOW)
    impulse[_WINDOW // 2] = 1
    weights = ndimage.gaussian_filter1d(impulse, _SIGMA, radius=_WINDOW // 2, mode="constant")
    return np.asarray(weights, dtype=np.float64)
