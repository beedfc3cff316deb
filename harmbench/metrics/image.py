"""How alike two images are, voxel by voxel.

Every metric compares volumes of shape (x, y, z) with intensities in [0, 1], so that the data range
is 1, either everywhere (`mask=None`) or in a mask: the brain of the reference, never of the
harmonized volume. Over an empty mask every metric is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import entr

from harmbench.arrays import Array, Box, Mask
from harmbench.metrics.arrays import check_images, select, slabs
from harmbench.metrics.base import Metric
from harmbench.metrics.histogram import BINS, bin_indices

__all__ = [
    "MSE",
    "MSE_BRAIN",
    "NMI",
    "NMI_BRAIN",
    "PSNR",
    "PSNR_BRAIN",
    "PSNR_LIMIT_DB",
    "SSIM",
    "SSIM_BRAIN",
    "mean_ssims",
    "mse",
    "nmi",
    "psnr",
    "ssim",
    "ssim_map",
]

PSNR_LIMIT_DB = 100.0
"""Highest PSNR that is reported: a root mean square difference of 1e-5, below 16-bit resolution."""

_SSIM_SIGMA = 1.5
_SSIM_WINDOW = 11
"""Voxels along each axis of the truncated Gaussian window (Wang et al. 2004)."""
_SSIM_SLAB = 16
"""Voxels of the volume's longest axis whose similarity is computed at a time."""

MSE = Metric(
    name="mse",
    title="MSE (whole volume)",
    unit="1",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="image",
    description="Mean squared difference over all voxels (Durrer et al. 2023, Eq. 6 divided by the "
    "number of voxels, as in its tables).",
)
MSE_BRAIN = Metric(
    name="mse_brain",
    title="MSE (brain)",
    unit="1",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="image",
    description="Mean squared difference over the reference's brain.",
)
PSNR = Metric(
    name="psnr",
    title="PSNR (whole volume)",
    unit="dB",
    lower=-math.inf,
    upper=PSNR_LIMIT_DB,
    better="higher",
    scope="image",
    description="Peak signal-to-noise ratio over all voxels, 10 log10(1 / MSE) with data range 1; "
    "100 dB, the limit, for identical images (Wang & Bovik 2009).",
)
PSNR_BRAIN = Metric(
    name="psnr_brain",
    title="PSNR (brain)",
    unit="dB",
    lower=-math.inf,
    upper=PSNR_LIMIT_DB,
    better="higher",
    scope="image",
    description="Peak signal-to-noise ratio over the reference's brain, 10 log10(1 / MSE) with data "
    "range 1; 100 dB, the limit, for identical images (Wang & Bovik 2009).",
)
SSIM = Metric(
    name="ssim",
    title="SSIM (whole volume)",
    unit="1",
    lower=-1,
    upper=1,
    better="higher",
    scope="image",
    description="Mean structural similarity over all voxels, in 3D with a Gaussian window of sigma "
    "1.5 voxels, background included (Wang et al. 2004, Eq. 13).",
)
SSIM_BRAIN = Metric(
    name="ssim_brain",
    title="SSIM (brain)",
    unit="1",
    lower=-1,
    upper=1,
    better="higher",
    scope="image",
    description="Mean structural similarity over the reference's brain, in 3D with a Gaussian window "
    "of sigma 1.5 voxels (Wang et al. 2004, Eq. 13).",
)
NMI = Metric(
    name="nmi",
    title="NMI (whole volume)",
    unit="1",
    lower=1,
    upper=2,
    better="higher",
    scope="image",
    description="Normalized mutual information over all voxels, (H(A) + H(B)) / H(A, B), from a "
    "joint histogram of 255 bins (Studholme et al. 1999).",
)
NMI_BRAIN = Metric(
    name="nmi_brain",
    title="NMI (brain)",
    unit="1",
    lower=1,
    upper=2,
    better="higher",
    scope="image",
    description="Normalized mutual information over the reference's brain, (H(A) + H(B)) / H(A, B), "
    "from a joint histogram of 255 bins (Studholme et al. 1999).",
)


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
    images = check_images({"harmonized": harmonized, "reference": reference}, mask)
    if mask is not None and not mask.any():
        return math.nan
    total, voxels = 0.0, 0
    for slab in slabs(images[0].shape):
        inside = None if mask is None else mask[slab]
        gap = np.subtract(*(select(image[slab], inside) for image in images))
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
    error = mse(harmonized, reference, mask)
    if math.isnan(error):
        return math.nan
    return min(PSNR_LIMIT_DB, -10 * math.log10(error)) if error else PSNR_LIMIT_DB


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
    for mask in masks:
        images = check_images({"harmonized": harmonized, "reference": reference}, mask)
    if min(images[0].shape) < _SSIM_WINDOW:
        return (math.nan,) * len(masks)
    rim = _SSIM_WINDOW // 2
    whole = np.zeros(images[0].shape, dtype=np.bool_)
    whole[rim:-rim, rim:-rim, rim:-rim] = True
    sums, voxels = [0.0] * len(masks), [0] * len(masks)
    for box, local in _ssim_slabs(*images):
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
    one, other = check_images({"harmonized": harmonized, "reference": reference})
    local = np.full(one.shape, np.nan, dtype=np.result_type(one, other))
    if min(one.shape) >= _SSIM_WINDOW:
        for box, values in _ssim_slabs(one, other):
            local[box] = values
    return local


def _ssim_slabs(one: Array, other: Array) -> Iterator[tuple[Box, Array]]:
    """Yield where a slab lies and the structural similarity in it.

    Slabs with the reach of the window around them give what the whole volume would, without the
    dozen temporary volumes that it takes.
    """
    from skimage.metrics import structural_similarity  # a slow import, not for the command line

    axis = int(np.argmax(one.shape))
    rim = _SSIM_WINDOW // 2
    for slab in slabs(one.shape, axis, _SSIM_SLAB):
        # At the border too there must be a window's width.
        start = max(0, min(slab.start - rim, one.shape[axis] - _SSIM_WINDOW))
        stop = max(min(slab.stop + rim, one.shape[axis]), start + _SSIM_WINDOW)
        around, box = [slice(None)] * 3, [slice(None)] * 3
        around[axis], box[axis] = slice(start, stop), slab
        _, local = structural_similarity(
            one[tuple(around)],
            other[tuple(around)],
            data_range=1.0,
            gaussian_weights=True,
            sigma=_SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        around[axis] = slice(slab.start - start, slab.stop - start)
        yield tuple(box), np.asarray(local)[tuple(around)]


def nmi(harmonized: Array, reference: Array, mask: Mask | None = None) -> float:
    """Normalized mutual information, (H(A) + H(B)) / H(A, B) (Studholme et al. 1999).

    From the joint histogram of 255 x 255 bins over [0, 1]: 1 for independent intensities, 2 where
    each determines the other. It measures how far one image predicts the other, whatever their
    contrast, so that a contrast left unharmonized may still score high. Two constant images have no
    information to share: NaN.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to compare, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    images = check_images({"harmonized": harmonized, "reference": reference}, mask)
    pairs = np.zeros(BINS * BINS, dtype=np.int64)
    for slab in slabs(images[0].shape):
        inside = None if mask is None else mask[slab]
        one, other = (bin_indices(image[slab], inside) for image in images)
        pairs += np.bincount(one.astype(np.int32) * BINS + other, minlength=pairs.size)
    joint = pairs.reshape(BINS, BINS)
    if np.count_nonzero(joint) < 2:
        return math.nan
    shares = joint / joint.sum()
    together = entr(shares).sum()
    apart = entr(shares.sum(axis=0)).sum() + entr(shares.sum(axis=1)).sum()
    # Rounding may leave the ratio a hair outside its bounds.
    return min(2.0, max(1.0, float(apart / together)))
