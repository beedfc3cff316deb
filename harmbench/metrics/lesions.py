"""Lesions of white matter: whether they can still be seen, how large they look, and errors inside them.

Lesions are hypointense on T1-weighted scans. The white matter around them is what the reference's
segmentation calls white matter from 1 to 4 mm away from the mask: the rim, whose voxels are mixed, and
grey matter do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from harmbench.arrays import Array, Mask, bounding_box
from harmbench.metrics.arrays import (
    ImagePair,
    Spacing,
    check_mask,
    check_pair,
    check_spacing,
)
from harmbench.metrics.base import Score
from harmbench.metrics.image import mse_of
from harmbench.metrics.lesion_declarations import (
    LESION_CONTRAST_CHANGE,
    LESION_METRICS,
    LESION_VOLUME,
    LESION_VOLUME_DIFFERENCE,
    MSE_LESIONS,
)

__all__ = ["LESION_METRICS", "lesion_contrast", "score_lesions", "surrounding_white_matter"]

_NEAREST_MM, _FURTHEST_MM = 1.0, 4.0


def score_lesions(
    harmonized: Array,
    reference: Array,
    lesions: Mask,
    white_matter: Mask | None,
    *,
    spacing_mm: Sequence[float],
) -> list[Score]:
    """Compute all metrics of lesions of one harmonized volume.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, same shape and range.
        lesions: mask of the lesions, same shape, bool.
        white_matter: white matter of the reference, same shape, bool; `None` where it was not
            segmented, which leaves all but the error inside lesions undefined.
        spacing_mm: distance between voxel centres along each axis.

    Returns:
        One score per metric, in the order of `LESION_METRICS`. A metric without a value, such as any
        over an empty mask, is NaN with the status `undefined`. So are contrast and volume where the
        reference's lesions are not darker than what surrounds them.

    Raises:
        MetricError: the arrays do not fit together or are not finite, or the spacing is out of range.
    """
    pair = check_pair(harmonized, reference, lesions)
    spacing = check_spacing(spacing_mm)
    seen = None
    if white_matter is not None and lesions.any():
        check_mask(white_matter)
        around = surrounding_white_matter(lesions, white_matter, spacing_mm=spacing)
        seen = _seen(pair, lesions, around, spacing)
    change, volume, difference = seen or (math.nan,) * 3
    values = {
        MSE_LESIONS: mse_of(pair),
        LESION_CONTRAST_CHANGE: change,
        LESION_VOLUME: volume,
        LESION_VOLUME_DIFFERENCE: difference,
    }
    return [
        Score(metric.name, value, "", "undefined" if math.isnan(value) else "ok")
        for metric, value in values.items()
    ]


def surrounding_white_matter(
    lesions: Mask, white_matter: Mask, *, spacing_mm: Sequence[float]
) -> Mask:
    """Return the white matter more than 1 and up to 4 mm from the lesions, shape (x, y, z), bool.

    The rim is at least one voxel wide.
    """
    box = _with_margin(lesions, spacing_mm)
    inside = lesions[box]
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    nearest = max(_NEAREST_MM, *spacing_mm)
    around = np.zeros_like(lesions)
    furthest = nearest + _FURTHEST_MM - _NEAREST_MM
    around[box] = white_matter[box] & (distance > nearest) & (distance <= furthest)
    return around


def _with_margin(lesions: Mask, spacing_mm: Sequence[float]) -> tuple[slice, ...]:
    """Box of the lesions with all that may surround them."""
    reach = max(_NEAREST_MM, *spacing_mm) + _FURTHEST_MM
    margins = [math.ceil(reach / mm) + 1 for mm in spacing_mm]
    return tuple(
        slice(max(0, part.start - margin), part.stop + margin)
        for part, margin in zip(bounding_box(lesions), margins, strict=True)
    )


def lesion_contrast(image: Array, lesions: Mask, around: Mask) -> float:
    """How far lesions lie below the white matter around them, as a share of that.

    Args:
        image: shape (x, y, z), 0 or above.
        lesions, around: masks, same shape, bool; see `surrounding_white_matter`.

    Returns:
        1 - mean of the lesions / mean around them; NaN where a mask is empty or the latter is 0.
    """
    if not lesions.any() or not around.any():
        return math.nan
    level = float(image[around].mean(dtype=np.float64))
    return 1 - float(image[lesions].mean(dtype=np.float64)) / level if level > 0 else math.nan


@dataclass(frozen=True, slots=True)
class _Region:
    """The lesions, what surrounds them, and the volume of a voxel in mm3."""

    lesions: Mask
    around: Mask
    voxel_mm3: float

    def volume_mm3(self, image: Array, depth: float) -> float:
        """Volume darker than the mean of the surroundings by a share `depth` of that."""
        level = float(image[self.around].mean(dtype=np.float64))
        region = self.lesions | self.around
        return int(np.count_nonzero(image[region] < (1 - depth) * level)) * self.voxel_mm3


def _seen(
    pair: ImagePair, lesions: Mask, around: Mask, spacing: Spacing
) -> tuple[float, float, float]:
    """Change of contrast (%), volume (mm3) and its relative difference (%); NaN where undefined."""
    found, wanted = (lesion_contrast(image, lesions, around) for image in pair.images)
    if not wanted > 0:
        return math.nan, math.nan, math.nan
    region = _Region(lesions, around, math.prod(spacing))
    volume, reference = (region.volume_mm3(image, wanted / 2) for image in pair.images)
    difference = 100 * (volume - reference) / reference if reference > 0 else math.nan
    return 100 * (found / wanted - 1), volume, difference
