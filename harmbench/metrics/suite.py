"""The two functions that score a volume: all image metrics, and all tissue metrics.

Volumes are checked once, where they enter; the metrics' `_of` functions take them as checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harmbench.arrays import Array, Mask
from harmbench.errors import MetricError
from harmbench.metrics import histogram, image, overlap, ssim, structure, volumetry
from harmbench.metrics.arrays import (
    ImagePair,
    Spacing,
    check_axis,
    check_images,
    check_spacing,
)
from harmbench.metrics.base import Metric, Score
from harmbench.metrics.declarations import METRICS
from harmbench.segmentation.base import TISSUES

__all__ = ["METRICS", "score_image", "score_tissues"]


def score_image(
    harmonized: Array,
    reference: Array,
    source: Array | None,
    mask: Mask,
    *,
    spacing_mm: Sequence[float],
    stacking_axis: int = 0,
) -> list[Score]:
    """Compute all image metrics of one harmonized volume.

    Args:
        harmonized: a method's output, shape (x, y, z), intensities in [0, 1].
        reference: the real target scan, shape (x, y, z), intensities in [0, 1].
        source: the method's input, shape (x, y, z), intensities in [0, 1]; `None` where it
            is not known, which leaves `gradient_correlation` undefined.
        mask: brain of the reference, shape (x, y, z), bool.
        spacing_mm: distance between voxel centres along each axis.
        stacking_axis: the axis along which slices were stacked: 0, 1 or 2.

    Returns:
        One score per image metric, in the order of `METRICS`. A metric without a value, such as a
        brain metric over an empty mask, is NaN with the status `undefined`.

    Raises:
        MetricError: the arrays do not fit together or are not finite, or the spacing or the axis is
            out of range.
    """
    known = {} if source is None else {"source": source}
    one, other, *rest = check_images(
        {"harmonized": harmonized, "reference": reference, **known}, mask
    )
    spacing = check_spacing(spacing_mm)
    check_axis(stacking_axis)
    whole, brain = ImagePair(one, other), ImagePair(one, other, mask)
    mse, mse_brain = image.mse_of(whole), image.mse_of(brain)
    whole_ssim, brain_ssim = ssim.mean_ssims_of(whole, (None, mask))
    anatomy = (
        structure.gradient_correlation_of(ImagePair(one, rest[0], mask), mask, spacing)
        if rest
        else math.nan
    )
    bright = structure.bright_voxel_excess_of(brain, mask, structure.BRIGHT_PERCENTILE)
    values = {
        image.MSE: mse,
        image.MSE_BRAIN: mse_brain,
        image.PSNR: image.psnr_from(mse),
        image.PSNR_BRAIN: image.psnr_from(mse_brain),
        ssim.SSIM: whole_ssim,
        ssim.SSIM_BRAIN: brain_ssim,
        image.NMI: image.nmi_of(whole),
        image.NMI_BRAIN: image.nmi_of(brain),
        histogram.AHD: histogram.ahd_of(whole),
        histogram.AHD_NORMALIZED: histogram.ahd_normalized_of(brain),
        histogram.WASSERSTEIN: histogram.wasserstein_of(brain),
        structure.GRADIENT_CORRELATION: anatomy,
        structure.STRIPE_INDEX: structure.stripe_index_of(brain, mask, stacking_axis),
        structure.BRIGHT_VOXEL_EXCESS: bright,
    }
    return [_score(metric, value) for metric, value in values.items()]


def score_tissues(
    labels: Array,
    reference_labels: Array,
    *,
    spacing_mm: Sequence[float],
    tissues: Mapping[str, int] = TISSUES,
    backend: overlap.Backend = "nearest",
) -> list[Score]:
    """Compute all tissue metrics of one segmentation against the reference's.

    Args:
        labels: segmentation of the harmonized volume, shape (x, y, z), whole numbers, 0 background.
        reference_labels: segmentation of the reference, same shape.
        spacing_mm: distance between voxel centres along each axis.
        tissues: name to label of the classes to score.
        backend: what computes surface distances, see `overlap.surface_distances`.

    Returns:
        For each tissue, one score per tissue metric in the order of `METRICS`. Where a tissue is
        missing from one or both segmentations, Dice and distances are the values that `overlap`
        documents, with the status `empty`; a relative difference to no volume is `undefined`.

    Raises:
        MetricError: a segmentation is not a 3D array of whole numbers or has a label that is
            neither 0 nor in `tissues`; the shapes differ; `tissues` is empty, or has a label twice
            or the background's; the spacing is not positive or the backend unknown.
    """
    _check_tissues(tissues)
    for name, array in (("labels", labels), ("reference_labels", reference_labels)):
        _check_labels(array, name, tissues)
    if labels.shape != reference_labels.shape:
        raise MetricError(
            f"shapes differ: labels {labels.shape}, reference_labels {reference_labels.shape}"
        )
    spacing = check_spacing(spacing_mm)
    overlap.check_backend(backend)
    scores = []
    for tissue, label in tissues.items():
        mask, reference = labels == label, reference_labels == label
        scores += _score_tissue(tissue, mask, reference, spacing, backend)
    return scores


def _score_tissue(
    tissue: str, mask: Mask, reference: Mask, spacing: Spacing, backend: overlap.Backend
) -> list[Score]:
    distances = overlap.surface_distances(mask, reference, spacing_mm=spacing, backend=backend)
    status = "ok" if mask.any() and reference.any() else "empty"
    agreement = {
        overlap.DICE: overlap.dice(mask, reference),
        overlap.HD: distances.hd_mm,
        overlap.HD95: distances.hd95_mm,
        overlap.ASSD: distances.assd_mm,
    }
    # A missing tissue's volume is measured, 0 mm3: no penalty takes its place.
    volumes = {
        volumetry.VOLUME: volumetry.volume_mm3(mask, spacing_mm=spacing),
        volumetry.VOLUME_DIFFERENCE: volumetry.volume_difference_mm3(
            mask, reference, spacing_mm=spacing
        ),
        volumetry.RELATIVE_VOLUME_DIFFERENCE: volumetry.relative_volume_difference(mask, reference),
    }
    return [
        *(_score(metric, value, tissue, status) for metric, value in agreement.items()),
        *(_score(metric, value, tissue) for metric, value in volumes.items()),
    ]


def _score(metric: Metric, value: float, tissue: str = "", status: str = "ok") -> Score:
    return Score(metric.name, value, tissue, "undefined" if math.isnan(value) else status)


def _check_tissues(tissues: Mapping[str, int]) -> None:
    if not tissues:
        raise MetricError("tissues is empty; expected at least one name and label, such as GM: 2")
    labels = list(tissues.values())
    if 0 in labels or len(set(labels)) < len(labels):
        raise MetricError(
            f"tissues is {dict(tissues)}; every tissue needs a label of its own, and 0 is background"
        )


def _check_labels(labels: Array, name: str, tissues: Mapping[str, int]) -> None:
    if labels.ndim != 3 or labels.size == 0:
        raise MetricError(f"{name} has shape {labels.shape}; expected three non-empty axes")
    if labels.dtype.kind not in "iu":
        raise MetricError(f"{name} has dtype {labels.dtype}; labels are whole numbers")
    known = {0, *tissues.values()}
    if sum(int(np.count_nonzero(labels == label)) for label in known) == labels.size:
        return
    unknown = sorted({int(label) for label in np.unique(labels)} - known)
    if unknown:
        named = ", ".join(f"{label} {tissue}" for tissue, label in tissues.items())
        raise MetricError(f"{name} has unknown labels {unknown}; allowed: 0 background, {named}")
