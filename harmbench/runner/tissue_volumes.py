"""Tissue volumes of real scans: what volume corrections are fitted on, and scored against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmbench.metrics.volumetry import (
    RELATIVE_VOLUME_DIFFERENCE,
    VOLUME,
    VOLUME_DIFFERENCE,
    volume_mm3,
)
from harmbench.results import ScoreRow
from harmbench.segmentation import TISSUES
from harmbench.segmentation.result import Segmented, Unsegmented

__all__ = ["VOLUME_METRICS", "MeasuredScan", "RealVolumes", "measured", "volume_rows"]

VOLUME_METRICS = (VOLUME.name, VOLUME_DIFFERENCE.name, RELATIVE_VOLUME_DIFFERENCE.name)
"""Metrics that need a tissue's volume alone, and no image."""


@dataclass(frozen=True, slots=True)
class MeasuredScan:
    """The tissue volumes of a real scan; exactly one of the two is there.

    Attributes:
        volumes_mm3: in the order of `TISSUES`; `None` without labels.
        failure: why there are no labels; `None` where there are.
    """

    volumes_mm3: tuple[float, ...] | None = None
    failure: Unsegmented | None = None


RealVolumes = Mapping[tuple[str, str], MeasuredScan]
"""(subject, session) to what was measured there."""


def measured(found: Segmented) -> MeasuredScan:
    """Measure the tissue volumes of a segmentation."""
    if found.labels is None:
        return MeasuredScan(failure=found.failure)
    labels = found.labels
    volumes = (
        volume_mm3(labels.data == label, spacing_mm=labels.spacing_mm) for label in TISSUES.values()
    )
    return MeasuredScan(tuple(volumes))


def volume_rows(volumes_mm3: Sequence[float], reference_mm3: Sequence[float]) -> list[ScoreRow]:
    """Compare a subject's volumes with those of the reference.

    Args:
        volumes_mm3, reference_mm3: in the order of `TISSUES`.

    Returns:
        One row for each of `VOLUME_METRICS` and tissue. A relative difference to no volume is
        undefined.
    """
    rows = []
    for tissue, volume, wanted in zip(TISSUES, volumes_mm3, reference_mm3, strict=True):
        difference = volume - wanted
        relative = 100 * difference / wanted if wanted else (0.0 if volume == 0 else math.nan)
        values = {
            VOLUME: volume,
            VOLUME_DIFFERENCE: abs(difference),
            RELATIVE_VOLUME_DIFFERENCE: relative,
        }
        for metric, value in values.items():
            status = "undefined" if math.isnan(value) else "ok"
            rows.append(
                ScoreRow(
                    metric=metric.name, tissue=tissue, value=value, unit=metric.unit, status=status
                )
            )
    return rows
