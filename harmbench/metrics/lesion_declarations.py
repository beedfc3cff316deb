"""Declarations of the metrics of lesions: only subjects with a mask of lesions have them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from harmbench.metrics.base import Metric
from harmbench.metrics.declarations import METRICS

__all__ = [
    "ALL_METRICS",
    "LESION_CONTRAST_CHANGE",
    "LESION_METRICS",
    "LESION_VOLUME",
    "LESION_VOLUME_DIFFERENCE",
    "MSE_LESIONS",
]

MSE_LESIONS = Metric(
    name="mse_lesions",
    title="MSE (lesions)",
    unit="1",
    lower=0,
    upper=math.inf,
    better="lower",
    scope="lesion",
    description="Mean squared difference over the voxels of the lesions' mask.",
)
LESION_CONTRAST_CHANGE = Metric(
    name="lesion_contrast_change",
    title="Lesion contrast, change",
    unit="%",
    lower=-math.inf,
    upper=math.inf,
    better="zero",
    scope="lesion",
    description="How far the mean of the lesions lies below that of the white matter around them, as "
    "a share of the latter, minus the reference's, in percent of the reference's (this project's "
    "definition): -100 where lesions cannot be seen any more.",
)
LESION_VOLUME = Metric(
    name="lesion_volume_mm3",
    title="Lesion volume",
    unit="mm3",
    lower=0,
    upper=math.inf,
    better="none",
    scope="lesion",
    description="Volume of the voxels in the mask and the white matter around it that are darker than "
    "that white matter by half of the reference's lesion contrast (this project's definition).",
)
LESION_VOLUME_DIFFERENCE = Metric(
    name="lesion_volume_difference",
    title="Relative lesion volume difference",
    unit="%",
    lower=-100,
    upper=math.inf,
    better="zero",
    scope="lesion",
    description="The lesion volume of the harmonized volume minus the reference's, by the same "
    "threshold, in percent of the reference's.",
)

LESION_METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            MSE_LESIONS,
            LESION_CONTRAST_CHANGE,
            LESION_VOLUME,
            LESION_VOLUME_DIFFERENCE,
        )
    }
)
"""The declarations of lesions' metrics by name, in the order of tables."""

ALL_METRICS: Mapping[str, Metric] = MappingProxyType({**METRICS, **LESION_METRICS})
"""Every declaration: those that every volume has, then those of lesions."""
