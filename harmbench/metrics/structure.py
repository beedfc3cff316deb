"""Faults of generated volumes: changed anatomy, stripes between slices, hyperintense regions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Array, Mask, bounding_box
from harmbench.errors import MetricError
from harmbench.metrics.arrays import (
    ImagePair,
    Spacing,
    check_axis,
    check_pair,
    check_spacing,
    slabs,
)
from harmbench.metrics.declarations import BRIGHT_VOXEL_EXCESS, GRADIENT_CORRELATION, STRIPE_INDEX

__all__ = [
    "BRIGHT_PERCENTILE",
    "BRIGHT_VOXEL_EXCESS",
    "GRADIENT_CORRELATION",
    "STRIPE_INDEX",
    "bright_voxel_excess",
    "bright_voxel_excess_of",
    "gradient_correlation",
    "gradient_correlation_of",
    "stripe_index",
    "stripe_index_of",
]

BRIGHT_PERCENTILE = 99.0
"""Brain percentile of the reference above which a voxel is bright.

Not the 99.9th: scans prepared as in Durrer et al. 2023 are clipped there, which makes it 1, and no
voxel of a volume in [0, 1] could be brighter.
"""

_GRADIENT_SLAB = 16
"""Planes whose gradients are computed at a time."""


def gradient_correlation(
    harmonized: Array, source: Array, mask: Mask, *, spacing_mm: Sequence[float]
) -> float:
    """Pearson correlation of gradient magnitudes: whether edges are where the source has them.

    Gradients are central differences in intensity per mm, taken at the brain voxels whose six face
    neighbours are brain too, since the outline of the skull-stripped brain, equal in both images,
    would raise the correlation. A linear change of contrast leaves it at 1. A change that differs
    between tissues lowers it a little; blur, noise or invented edges lower it more.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        source: the method's input, same shape and range.
        mask: the brain, shape (x, y, z), bool.
        spacing_mm: distance between voxel centres along each axis.

    Returns:
        In [-1, 1]; NaN where the brain has no such voxel, or where the gradient magnitude of one
        image is the same everywhere up to the rounding of float32 intensities.

    Raises:
        MetricError: the arrays do not fit together, are not finite, or the spacing is not positive.
    """
    pair = check_pair(harmonized, source, mask, "source")
    return gradient_correlation_of(pair, mask, check_spacing(spacing_mm))


def gradient_correlation_of(pair: ImagePair, mask: Mask, spacing: Spacing) -> float:
    """`gradient_correlation` of checked volumes, mask and spacing in mm."""
    inner = ndimage.binary_erosion(mask)
    if not inner.any():
        return math.nan
    box = bounding_box(mask)
    inside = inner[box]
    magnitudes = [_gradient_magnitudes(image[box], inside, spacing) for image in pair.images]
    for image, magnitude in zip(pair.images, magnitudes, strict=True):
        rounding = np.finfo(np.float32).eps * np.abs(image[box]).max() / min(spacing)
        if magnitude.std() <= rounding:
            return math.nan
    one, other = magnitudes
    one -= one.mean()
    other -= other.mean()
    return float(np.clip(one @ other / np.sqrt((one @ one) * (other @ other)), -1, 1))


def stripe_index(
    harmonized: Array, reference: Array, mask: Mask, *, stacking_axis: int = 0
) -> float:
    """Mean offset of slices against their neighbours along the stacking axis.

    A stripe is an offset of a slice that its neighbours do not have. With d = harmonized -
    reference, i the slice, j the place in it, B_i the places that are brain in the slices i - 1, i
    and i + 1, and n_i their number:

        s_i = (1 / n_i) sum over j in B_i of d_ij - (d_(i-1)j + d_(i+1)j) / 2
        index = (sum over i of n_i |s_i|) / (sum over i of n_i)

    The second difference removes errors that change linearly along the axis, such as a smooth bias.
    The mean over a slice removes noise and local errors. The weights give the small outermost slices
    little influence. One slice
    off by a, among N slices of equal brain area, gives 2a / (N - 2), if it is neither of the first
    two nor of the last two. The reference scores 0. An unharmonized volume scores above 0, since
    anatomy varies from slice to slice: compare with the row of the untreated source.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the brain, shape (x, y, z), bool.
        stacking_axis: the axis along which slices were stacked: 0, 1 or 2.

    Returns:
        At least 0, in units of the intensity range; NaN where no place is brain in three
        consecutive slices.

    Raises:
        MetricError: the arrays do not fit together, are not finite, or the axis is not 0, 1 or 2.
    """
    check_axis(stacking_axis)
    return stripe_index_of(check_pair(harmonized, reference, mask), mask, stacking_axis)


def stripe_index_of(pair: ImagePair, mask: Mask, stacking_axis: int) -> float:
    """`stripe_index` of checked volumes, mask and axis."""
    if not mask.any():
        return math.nan
    box = bounding_box(mask)
    one, other = (np.moveaxis(image[box], stacking_axis, 0) for image in pair.images)
    brain = np.moveaxis(mask[box], stacking_axis, 0)
    inside = brain[:-2] & brain[1:-1] & brain[2:]
    voxels = np.count_nonzero(inside, axis=(1, 2))  # n_i, shape (slices - 2,)
    if not voxels.sum():
        return math.nan
    sums = np.zeros(voxels.size)  # n_i s_i
    for i in range(voxels.size):
        below, own, above = (one[j] - other[j] for j in (i, i + 1, i + 2))
        jumps = own - (below + above) / 2
        sums[i] = np.sum(jumps, dtype=np.float64, where=inside[i])
    return float(np.abs(sums).sum() / voxels.sum())


def bright_voxel_excess(
    harmonized: Array,
    reference: Array,
    mask: Mask,
    *,
    percentile: float = BRIGHT_PERCENTILE,
) -> float:
    """Percentage of brain voxels that are hyperintense, beyond what the reference has.

    A voxel is bright if it is above the given percentile of the reference's brain. Positive values:
    hyperintense regions; negative: the brightest tissue is too dark, as after blurring.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the brain, shape (x, y, z), bool.
        percentile: 0 to 100, of the reference's brain intensities.

    Returns:
        In percent of the brain voxels, -100 to 100; NaN for an empty mask.

    Raises:
        MetricError: the arrays do not fit together or are not finite, or the percentile is not in
            0 to 100.
    """
    if not 0 <= percentile <= 100:
        raise MetricError(f"percentile is {percentile}; allowed: 0 to 100")
    return bright_voxel_excess_of(check_pair(harmonized, reference, mask), mask, percentile)


def bright_voxel_excess_of(pair: ImagePair, mask: Mask, percentile: float) -> float:
    """`bright_voxel_excess` of checked volumes, mask and percentile."""
    if not mask.any():
        return math.nan
    ours, theirs = (image[mask] for image in pair.images)
    # An array, not a number, so that voxels are compared with it in double precision.
    threshold = np.percentile(theirs.astype(np.float64), [percentile], overwrite_input=True)
    excess = int(np.count_nonzero(ours > threshold)) - int(np.count_nonzero(theirs > threshold))
    return 100 * excess / ours.size


def _gradient_magnitudes(image: Array, where: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Gradient magnitude in intensity per mm at the voxels of `where`, shape (n,)."""
    squares = np.zeros(int(np.count_nonzero(where)), dtype=np.float64)
    done = 0
    for slab in slabs(image.shape, thickness=_GRADIENT_SLAB):
        chosen = where[slab]
        part = squares[done : done + int(np.count_nonzero(chosen))]
        done += part.size
        # One plane more on either side, so that differences are central within the slab.
        start = max(0, slab.start - 1)
        around = image[start : slab.stop + 1]
        own = slice(slab.start - start, slab.stop - start)
        for axis, step in enumerate(spacing):
            part += np.square(np.gradient(around, step, axis=axis)[own][chosen], dtype=np.float64)
    return np.sqrt(squares, out=squares)
