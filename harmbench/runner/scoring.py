"""From a method's output to rows of scores: finish, segment, measure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from harmbench.arrays import Mask, count_not_finite, foreground, outside_unit_range
from harmbench.errors import MethodError, VolumeError
from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.metrics.lesions import score_lesions
from harmbench.metrics.overlap import Backend
from harmbench.metrics.suite import METRICS, score_image, score_tissues
from harmbench.results import ScoreRow
from harmbench.segmentation import TISSUES
from harmbench.segmentation.result import Segmented
from harmbench.volume import Step, Volume, require_same_grid

__all__ = ["finish_volume", "missing_rows", "score_rows"]


def finish_volume(
    output: Volume, source: Volume, *, mask_background: bool = True
) -> tuple[Volume, float]:
    """Check a method's output against the contract and bring it into the range of the cohort.

    Values are clipped to [0, 1]; with `mask_background`, voxels outside the brain of the
    skull-stripped source (0, and not enclosed by brain) become 0. Both are the same for every
    method.

    Returns:
        The finished volume and the share of brain voxels that had to be clipped.

    Raises:
        MethodError: the output is not a volume of intensities, its grid is not the source's, or
            values are not finite.
    """
    if not isinstance(output, Volume):
        raise MethodError(f"harmonize returned {type(output).__name__}, expected a Volume")
    if output.kind != "intensity":
        raise MethodError(
            f"harmonize returned a volume of kind '{output.kind}', not of intensities"
        )
    try:
        require_same_grid(output, source, ("the harmonized volume", "the source"))
    except VolumeError as error:
        raise MethodError(f"{error}: harmonize must keep the source's grid") from error
    bad = count_not_finite(output.data)
    if bad:
        raise MethodError(f"harmonize returned {bad} voxels that are NaN or infinite")
    brain = foreground(source.data)
    outside = outside_unit_range(output.data)
    clipped = float(np.count_nonzero(outside & brain) / max(1, np.count_nonzero(brain)))
    data = np.clip(output.data, 0, 1)
    if mask_background:
        data = data * brain
    step = Step("finish", {"clip": [0, 1], "mask_background": mask_background})
    finished = Volume(data, source.affine, space=source.space, history=(*output.history, step))
    return finished, clipped


def score_rows(
    harmonized: Volume,
    reference: Volume,
    source: Volume | None,
    segmented: Segmented,
    reference_segmented: Segmented,
    *,
    lesions: Mask | None = None,
    stacking_axis: int = 0,
    surface_backend: Backend = "nearest",
) -> list[ScoreRow]:
    """Compute every metric of one harmonized volume.

    Args:
        harmonized: the volume to score.
        reference: the real target scan.
        source: the volume that was harmonized; `None` where it is not known.
        segmented, reference_segmented: their segmentations.
        lesions: mask of the reference's lesions, shape (x, y, z), bool; `None` where there is none,
            and no metric of lesions.
        stacking_axis: axis along which slices were stacked.
        surface_backend: what computes surface distances.

    Returns:
        One row for each metric and tissue: metric, tissue, value, unit, status.
    """
    scores = score_image(
        harmonized.data,
        reference.data,
        None if source is None else source.data,
        reference.data > 0,
        spacing_mm=reference.spacing_mm,
        stacking_axis=stacking_axis,
    )
    rows = [_row(s.metric, s.tissue, s.value, s.status) for s in scores]
    if lesions is not None:
        rows += _lesion_rows(harmonized, reference, lesions, reference_segmented)
    if segmented.labels is None or reference_segmented.labels is None:
        done = {(row["metric"], row["tissue"]) for row in rows}
        missing = [one for one in _all_scores() if one not in done]
        status = _status_without(segmented, reference_segmented)
        return rows + [_row(*one, np.nan, status) for one in missing]
    tissue_scores = score_tissues(
        segmented.labels.data,
        reference_segmented.labels.data,
        spacing_mm=reference.spacing_mm,
        tissues=TISSUES,
        backend=surface_backend,
    )
    return rows + [_row(s.metric, s.tissue, s.value, s.status) for s in tissue_scores]


def _lesion_rows(
    harmonized: Volume, reference: Volume, lesions: Mask, reference_segmented: Segmented
) -> list[ScoreRow]:
    labels = reference_segmented.labels
    scores = score_lesions(
        harmonized.data,
        reference.data,
        lesions,
        None if labels is None else labels.data == TISSUES["WM"],
        spacing_mm=reference.spacing_mm,
    )
    return [_row(s.metric, s.tissue, s.value, s.status) for s in scores]


def _status_without(*segmented: Segmented) -> str:
    """Return the status of what needs all these labels, where some are missing."""
    statuses = {one.failure.status for one in segmented if one.failure is not None}
    only_implausible = statuses == {"segmentation_implausible"}
    return "segmentation_implausible" if only_implausible else "segmentation_failed"


def _all_scores(lesions: bool = False) -> Iterator[tuple[str, str]]:
    for name, metric in (ALL_METRICS if lesions else METRICS).items():
        for tissue in TISSUES if metric.scope == "tissue" else ("",):
            yield name, tissue


def _row(metric: str, tissue: str, value: float, status: str) -> ScoreRow:
    unit = ALL_METRICS[metric].unit
    return ScoreRow(metric=metric, tissue=tissue, value=value, unit=unit, status=status)


def missing_rows(
    status: str, metrics: Collection[str] | None = None, *, lesions: bool = False
) -> list[ScoreRow]:
    """Return one row without a value for every metric and tissue, so that no case is dropped.

    Args:
        status: of the rows.
        metrics: names of the metrics to return rows for; `None`: all.
        lesions: whether the subject has a mask of lesions, and so the metrics of lesions.
    """
    scores = (one for one in _all_scores(lesions) if metrics is None or one[0] in metrics)
    return [_row(*one, np.nan, status) for one in scores]
