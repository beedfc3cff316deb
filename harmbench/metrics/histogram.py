"""Similarity of two distributions of intensity.

Histograms have 255 bins over the fixed range [0, 1], the same for every image, so that counts of
different images, methods and subjects can be compared; values outside are clipped first. A `mask`
restricts a comparison to its voxels; over an empty mask every metric is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array, Mask
from harmbench.metrics.arrays import ImagePair, check_images, check_pair, select, slabs
from harmbench.metrics.declarations import AHD, AHD_NORMALIZED, WASSERSTEIN

__all__ = [
    "AHD",
    "AHD_NORMALIZED",
    "BINS",
    "WASSERSTEIN",
    "ahd",
    "ahd_normalized",
    "ahd_normalized_of",
    "ahd_of",
    "bin_indices",
    "histogram",
    "wasserstein",
    "wasserstein_of",
]

BINS = 255
"""Number of histogram bins (Durrer et al. 2023, Sec. 4)."""


def bin_indices(image: Array, mask: Mask | None = None) -> NDArray[np.uint8]:
    """Return the bin of each voxel: bin i holds intensities in [i/255, (i+1)/255), the last one 1 too.

    Args:
        image: shape (x, y, z), finite; values outside [0, 1] count as 0 or 1.
        mask: the voxels to use, same shape, bool; `None`: all.

    Returns:
        Shape (n,), from 0 to 254.
    """
    values = np.clip(select(image, mask), 0, 1)
    values *= BINS
    indices: NDArray[np.uint8] = np.minimum(values, BINS - 1, out=values).astype(np.uint8)
    return indices


def histogram(image: Array, mask: Mask | None = None) -> NDArray[np.int64]:
    """Count the voxels in each of 255 bins over [0, 1].

    Args:
        image: shape (x, y, z); values outside [0, 1] count as 0 or 1.
        mask: the voxels to count, shape (x, y, z), bool; `None`: all.

    Returns:
        Counts, shape (255,).

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    (image,) = check_images({"image": image}, mask)
    return _counts(image, mask)


def ahd(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Absolute histogram difference: the sum over bins of |count - count of the reference|.

    Raw counts of voxels, as in Durrer et al. 2023, Eq. 7, so that it grows with the volume; from 0
    to twice the number of voxels. An empty mask gives NaN.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to count, shape (x, y, z), bool; `None`: all, background included.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return ahd_of(check_pair(harmonized, reference, mask))


def ahd_of(pair: ImagePair) -> float:
    """`ahd` of checked volumes."""
    if pair.is_empty:
        return math.nan
    one, other = (_counts(image, pair.mask) for image in pair.images)
    return float(np.abs(one - other).sum())


def ahd_normalized(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """AHD over twice the number of compared voxels: the total variation distance, in [0, 1].

    0 for equal histograms, 1 for histograms without a bin in common. It does not grow with the
    volume; over the whole volume, background that both images share dilutes it. An empty mask gives
    NaN.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to count, shape (x, y, z), bool; `None`: all.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return ahd_normalized_of(check_pair(harmonized, reference, mask))


def ahd_normalized_of(pair: ImagePair) -> float:
    """`ahd_normalized` of checked volumes."""
    voxels = pair.one.size if pair.mask is None else int(np.count_nonzero(pair.mask))
    return ahd_of(pair) / (2 * voxels) if voxels else math.nan


def wasserstein(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """1-Wasserstein (earth mover's) distance of two distributions of intensity.

    Both images have the same number of voxels n, so that the optimal transport pairs them by rank:
    the mean of |x_(i) - y_(i)| over the sorted intensities (Villani 2009, Chap. 6). Exact, without
    bins, and in units of intensity; values outside [0, 1] are not clipped. An empty mask gives NaN.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to compare, shape (x, y, z), bool; `None`: all.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    return wasserstein_of(check_pair(harmonized, reference, mask))


def wasserstein_of(pair: ImagePair) -> float:
    """`wasserstein` of checked volumes."""
    if pair.is_empty:
        return math.nan
    one, other = (np.sort(select(image, pair.mask)) for image in pair.images)
    gap = np.subtract(one, other, out=one)
    return float(np.mean(np.abs(gap, out=gap), dtype=np.float64))


def _counts(image: Array, mask: Mask | None) -> NDArray[np.int64]:
    counts = np.zeros(BINS, dtype=np.int64)
    for slab in slabs(image.shape):
        inside = None if mask is None else mask[slab]
        counts += np.bincount(bin_indices(image[slab], inside), minlength=BINS)
    return counts
