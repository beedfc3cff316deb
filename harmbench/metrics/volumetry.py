"""Tissue volumes and how far they are from the reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harmbench.arrays import Mask
from harmbench.metrics.arrays import check_mask, check_masks, check_spacing
from harmbench.metrics.declarations import RELATIVE_VOLUME_DIFFERENCE, VOLUME, VOLUME_DIFFERENCE

__all__ = [
    "RELATIVE_VOLUME_DIFFERENCE",
    "VOLUME",
    "VOLUME_DIFFERENCE",
    "relative_volume_difference",
    "volume_difference_mm3",
    "volume_mm3",
]


def volume_mm3(mask: Mask, *, spacing_mm: Sequence[float]) -> float:
    """Volume of a tissue in mm3: number of voxels times the volume of one; 0 for an empty mask.

    Args:
        mask: the tissue, shape (x, y, z), bool.
        spacing_mm: distance between voxel centres along each axis.

    Raises:
        MetricError: the mask is not a boolean 3D array, or the spacing is not positive.
    """
    check_mask(mask)
    return int(np.count_nonzero(mask)) * math.prod(check_spacing(spacing_mm))


def volume_difference_mm3(mask: Mask, reference: Mask, *, spacing_mm: Sequence[float]) -> float:
    """Absolute difference of two volumes in mm3 (Durrer et al. 2023, Table 2).

    An empty mask has the volume 0.

    Args:
        mask: the tissue as segmented in the harmonized volume, shape (x, y, z), bool.
        reference: the tissue as segmented in the reference, same shape, bool.
        spacing_mm: distance between voxel centres along each axis.

    Raises:
        MetricError: the masks do not fit together, or the spacing is not positive.
    """
    check_masks({"mask": mask, "reference": reference})
    volume = volume_mm3(mask, spacing_mm=spacing_mm)
    return abs(volume - volume_mm3(reference, spacing_mm=spacing_mm))


def relative_volume_difference(mask: Mask, reference: Mask) -> float:
    """Difference of two volumes in percent of the reference's; positive where `mask` is larger.

    An empty `mask` gives -100, two empty masks 0, and an empty `reference` alone NaN.

    Args:
        mask: the tissue as segmented in the harmonized volume, shape (x, y, z), bool.
        reference: the tissue as segmented in the reference, same shape, bool.

    Raises:
        MetricError: the masks do not fit together.
    """
    check_masks({"mask": mask, "reference": reference})
    found, expected = int(np.count_nonzero(mask)), int(np.count_nonzero(reference))
    if expected == 0:
        return 0.0 if found == 0 else math.nan
    return 100 * (found - expected) / expected
