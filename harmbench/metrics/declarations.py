"""Every metric's declaration: its unit, its range, and which way is better.

The functions stand in the other modules. This one imports no array library, to be listed at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from harmbench.metrics.base import Metric

__all__ = [
    "AHD",
    "AHD_NORMALIZED",
    "ASSD",
    "BRIGHT_VOXEL_EXCESS",
    "DICE",
    "GRADIENT_CORRELATION",
    "HD",
    "HD95",
    "METRICS",
    "MSE",
    "MSE_BRAIN",
    "NMI",
    "NMI_BRAIN",
    "PSNR",
    "PSNR_BRAIN",
    "PSNR_LIMIT_DB",
    "RELATIVE_VOLUME_DIFFERENCE",
    "SSIM",
    "SSIM_BRAIN",
    "STRIPE_INDEX",
    "VOLUME",
    "VOLUME_DIFFERENCE",
    "WASSERSTEIN",
]

PSNR_LIMIT_DB = 100.0
"""Highest PSNR that is reported: a root mean square difference of 1e-5, below 16-bit resolution."""

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
AHD = Metric(
    name="ahd",
    title="AHD (whole volume)",
    unit="voxels",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="image",
    description="Sum over 255 bins of the absolute difference of voxel counts, background included "
    "(Durrer et al. 2023, Eq. 7).",
)
AHD_NORMALIZED = Metric(
    name="ahd_normalized",
    title="AHD, normalized (brain)",
    unit="1",
    lower=0,
    upper=1,
    better="lower",
    scope="image",
    description="AHD in the reference's brain over twice its number of voxels, which is the total "
    "variation distance of the two histograms: the share of voxels in the wrong bin.",
)
WASSERSTEIN = Metric(
    name="wasserstein",
    title="Wasserstein distance (brain)",
    unit="1",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="image",
    description="How far intensities must move on average to turn one brain's distribution into the "
    "other's (1-Wasserstein distance; Villani 2009, Chap. 6), in units of the intensity range.",
)
GRADIENT_CORRELATION = Metric(
    name="gradient_correlation",
    title="Gradient correlation with the source",
    unit="1",
    lower=-1,
    upper=1,
    better="higher",
    scope="image",
    description="Pearson correlation of the gradient magnitudes of the harmonized volume and its "
    "source inside the reference's brain: anatomy preserved (this project's definition).",
)
STRIPE_INDEX = Metric(
    name="stripe_index",
    title="Stripe index",
    unit="1",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="image",
    description="Mean over slices of how far the slice's intensity difference to the reference is "
    "off the mean of its two neighbours', in the brain (this project's definition).",
)
BRIGHT_VOXEL_EXCESS = Metric(
    name="bright_voxel_excess",
    title="Bright-voxel excess",
    unit="%",
    lower=-100,
    upper=100,
    better="zero",
    scope="image",
    description="Share of brain voxels above the 99th percentile of the reference's brain, minus "
    "the reference's own share (this project's definition).",
)
DICE = Metric(
    name="dice",
    title="Dice",
    unit="1",
    lower=0,
    upper=1,
    better="higher",
    scope="tissue",
    description="Twice the shared voxels over the sum of both tissues' voxels (Dice 1945).",
)
HD = Metric(
    name="hd",
    title="HD",
    unit="mm",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="tissue",
    description="Hausdorff distance: the largest distance from a point of one surface to the other "
    "surface (Huttenlocher et al. 1993); one stray voxel decides it.",
)
HD95 = Metric(
    name="hd95",
    title="HD95",
    unit="mm",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="tissue",
    description="95th percentile of the distances from each point of either surface to the other "
    "surface, both directions pooled (Huttenlocher et al. 1993, as in medpy).",
)
ASSD = Metric(
    name="assd",
    title="ASSD",
    unit="mm",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="tissue",
    description="Average symmetric surface distance: mean of the distances from each point of either "
    "surface to the other surface, both directions pooled (Heimann et al. 2009, as in medpy).",
)
VOLUME = Metric(
    name="volume_mm3",
    title="Volume",
    unit="mm3",
    lower=0,
    upper=math.inf,
    better="none",
    scope="tissue",
    description="Volume of the tissue in the harmonized volume: its voxels times the volume of one.",
)
VOLUME_DIFFERENCE = Metric(
    name="volume_difference_mm3",
    title="Volume difference (absolute)",
    unit="mm3",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="tissue",
    description="Absolute difference between a tissue's volume and the reference's "
    "(Durrer et al. 2023, Table 2).",
)
RELATIVE_VOLUME_DIFFERENCE = Metric(
    name="relative_volume_difference",
    title="Relative volume difference",
    unit="%",
    lower=-100,
    upper=math.inf,
    better="zero",
    scope="tissue",
    description="A tissue's volume minus the reference's, in percent of the reference's "
    "(Heimann et al. 2009, signed).",
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            MSE,
            MSE_BRAIN,
            PSNR,
            PSNR_BRAIN,
            SSIM,
            SSIM_BRAIN,
            NMI,
            NMI_BRAIN,
            AHD,
            AHD_NORMALIZED,
            WASSERSTEIN,
            GRADIENT_CORRELATION,
            STRIPE_INDEX,
            BRIGHT_VOXEL_EXCESS,
            DICE,
            HD,
            HD95,
            ASSD,
            VOLUME,
            VOLUME_DIFFERENCE,
            RELATIVE_VOLUME_DIFFERENCE,
        )
    }
)
"""Every metric's declaration by its name, in the order of tables."""
