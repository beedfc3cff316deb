"""Similarity of two images, voxel by voxel.

Every metric compares volumes of shape (x, y, z) with intensities in [0, 1], so that the data range
is 1, either everywhere (`mask=None`) or in a mask: the brain of the reference, never of the
harmonized volume. Over an empty mask every metric is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import entr

from harmbench.arrays import Array, Mask
from harmbench.metrics.arrays import ImagePair, check_pair, select, slabs
from harmbench.metrics.declarations import (
    MSE,
    MSE_BRAIN,
    NMI,
    NMI_BRAIN,
    PSNR,
    PSNR_BRAIN,
    PSNR_LIMIT_DB,
)
from harmbench.metrics.histogram import BINS, bin_indices

__all__ = [
    "MSE",
    "MSE_BRAIN",
    "NMI",
    "NMI_BRAIN",
    "PSNR",
    "PSNR_BRAIN",
    "PSNR_LIMIT_DB",
    "mse",
    "mse_of",
    "nmi",
    "nmi_of",
    "psnr",
    "psnr_from",
]


def mse(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Mean squared difference, in squared units of the intensity range.

    Durrer et al. 2023 print a sum (Eq. 6); their tables can only be means over all voxels.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to compare, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return mse_of(check_pair(harmonized, reference, mask))


def mse_of(pair: ImagePair) -> float:
    """`mse` of checked volumes."""
    if pair.is_empty:
        return math.nan
    total, voxels = 0.0, 0
    for slab in slabs(pair.one.shape):
        inside = None if pair.mask is None else pair.mask[slab]
        gap = np.subtract(*(select(image[slab], inside) for image in pair.images))
        total += float(np.sum(np.square(gap, out=gap), dtype=np.float64))
        voxels += gap.size
    return total / voxels


def psnr(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB for a data range of 1, 10 log10(1 / MSE), at most 100 dB.

    Identical images would have an infinite ratio; the limit keeps them comparable and averages
    finite.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to compare, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return psnr_from(mse(harmonized, reference, mask))


def psnr_from(error: float) -> float:
    """`psnr` in dB where the mean squared difference is `error`."""
    if math.isnan(error):
        return math.nan
    return min(PSNR_LIMIT_DB, -10 * math.log10(error)) if error else PSNR_LIMIT_DB


def nmi(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Normalized mutual information, (H(A) + H(B)) / H(A, B) (Studholme et al. 1999).

    From the joint histogram of 255 x 255 bins over [0, 1]: 1 for independent intensities, 2 where
    each determines the other. It measures how well one image predicts the other, whatever their
    contrast, so that an image with the wrong contrast can still score high. Two constant images
    have no entropy: NaN.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to compare, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return nmi_of(check_pair(harmonized, reference, mask))


def nmi_of(pair: ImagePair) -> float:
    """`nmi` of checked volumes."""
    pairs = np.zeros(BINS * BINS, dtype=np.int64)
    for slab in slabs(pair.one.shape):
        inside = None if pair.mask is None else pair.mask[slab]
        one, other = (bin_indices(image[slab], inside) for image in pair.images)
        pairs += np.bincount(one.astype(np.int32) * BINS + other, minlength=pairs.size)
    joint = pairs.reshape(BINS, BINS)
    if np.count_nonzero(joint) < 2:
        return math.nan
    shares = joint / joint.sum()
    together = entr(shares).sum()
    apart = entr(shares.sum(axis=0)).sum() + entr(shares.sum(axis=1)).sum()
    # Rounding can put the ratio slightly outside its bounds.
    return min(2.0, max(1.0, float(apart / together)))
