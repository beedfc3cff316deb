"""How alike two images are, voxel by voxel.

Every metric compares volumes of shape (x, y, z) with intensities in [0, 1], so that the data range
is 1, either everywhere (`mask=None`) or in a mask: the brain of the reference, never of the
harmonized volume. Over an empty mask every metric is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import entr

from harmbench.metrics.arrays import Array, Mask, check_images, select
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
    "mean_ssim",
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
    one, other = (select(image, mask) for image in images)
    return float(np.mean(np.square(one - other), dtype=np.float64))


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
    """Mean structural similarity of two volumes; see `ssim_map` and `mean_ssim`.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        mask: the voxels to average over, shape (x, y, z), bool; `None`: all. Empty: NaN.

    Raises:
        MetricError: the arrays do not fit together or are not finite.
    """
    check_images({"harmonized": harmonized, "reference": reference}, mask)
    return mean_ssim(ssim_map(harmonized, reference), mask)


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
    from skimage.metrics import structural_similarity  # a slow import, not for the command line

    one, other = check_images({"harmonized": harmonized, "reference": reference})
    if min(one.shape) < _SSIM_WINDOW:
        return np.full(one.shape, np.nan, dtype=np.float32)
    _, local = structural_similarity(
        one,
        other,
        data_range=1.0,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(local)


def mean_ssim(local: Array, mask: Mask | None = None) -> float:
    """Average a map of structural similarity.

    Args:
        local: `ssim_map` of two volumes, shape (x, y, z).
        mask: the voxels to average over, shape (x, y, z), bool. `None`: all voxels whose window lies
            inside the volume, as is usual for the whole image. Empty: NaN.

    Returns:
        The mean, in [-1, 1]; NaN where the map is.
    """
    if mask is None:
        rim = _SSIM_WINDOW // 2
        inside = tuple(slice(rim, extent - rim) for extent in local.shape)
        values = local[inside] if min(local.shape) >= _SSIM_WINDOW else local
    else:
        values = local[mask]
    return float(np.mean(values, dtype=np.float64)) if values.size else math.nan


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
    one, other = (bin_indices(image, mask) for image in images)
    pairs = one.astype(np.int32) * BINS + other
    joint = np.bincount(pairs, minlength=BINS * BINS).reshape(BINS, BINS)
    if np.count_nonzero(joint) < 2:
        return math.nan
    shares = joint / one.size
    together = entr(shares).sum()
    apart = entr(shares.sum(axis=0)).sum() + entr(shares.sum(axis=1)).sum()
    # Rounding may leave the ratio a hair outside its bounds.
    return min(2.0, max(1.0, float(apart / together)))
