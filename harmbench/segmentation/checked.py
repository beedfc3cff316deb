"""Calls of a segmenter, with the same checks of volume and labels for every segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from harmbench.errors import HarmbenchError, SegmentationError, SegmenterError
from harmbench.segmentation.base import TISSUES, BatchSegmenter, Segmenter, check_segmentable
from harmbench.segmentation.contrast import Contrast
from harmbench.segmentation.plausible import check_plausible
from harmbench.segmentation.result import Segmented
from harmbench.volume import Volume

__all__ = ["contrast_of", "segment", "segment_batch", "try_segment"]


def contrast_of(segmenter: Segmenter) -> Contrast:
    """Return the contrast that a segmenter assumes; T1w where it has none."""
    return cast(Contrast, getattr(segmenter, "contrast", "T1w"))


def segment(segmenter: Segmenter, volume: Volume) -> Volume:
    """Return a segmenter's labels, checked.

    Raises:
        UnsegmentableError: the volume cannot be segmented.
        ImplausibleLabelsError: the labels cannot be a brain's tissues.
        SegmenterError: the segmenter failed in any other way.
    """
    check_segmentable(volume)
    try:
        labels = segmenter.segment(volume)
    except Exception as error:
        raise _as_segmentation_error(error) from error
    return _checked(segmenter, volume, labels)


def try_segment(segmenter: Segmenter, volume: Volume) -> Segmented:
    """Return a segmenter's labels, checked, or why there are none."""
    try:
        return Segmented(segment(segmenter, volume))
    except SegmentationError as error:
        return Segmented.failed(error, segmenter.name)


def segment_batch(segmenter: BatchSegmenter, volumes: Sequence[Volume]) -> list[Segmented]:
    """Segment several volumes in one call; each result is that of `try_segment`."""
    found: dict[int, Segmented] = {}
    for number, volume in enumerate(volumes):
        try:
            check_segmentable(volume)
        except SegmentationError as error:
            found[number] = Segmented.failed(error, segmenter.name)
    usable = [number for number in range(len(volumes)) if number not in found]
    for number, made in zip(usable, _batch(segmenter, [volumes[i] for i in usable]), strict=True):
        try:
            if isinstance(made, SegmentationError):
                raise made
            found[number] = Segmented(_checked(segmenter, volumes[number], made))
        except SegmentationError as error:
            found[number] = Segmented.failed(error, segmenter.name)
    return [found[number] for number in range(len(volumes))]


def _batch(segmenter: BatchSegmenter, volumes: Sequence[Volume]) -> Sequence[object]:
    if not volumes:
        return []
    try:
        made = segmenter.segment_batch(volumes)
    except Exception as error:  # noqa: BLE001 - whatever a segmenter raises costs its own labels
        return [_as_segmentation_error(error)] * len(volumes)
    if len(made) != len(volumes):
        wrong = SegmenterError(f"{len(made)} segmentations of {len(volumes)} volumes")
        return [wrong] * len(volumes)
    return made


def _as_segmentation_error(error: Exception) -> SegmentationError:
    if isinstance(error, SegmentationError):
        return error
    if isinstance(error, HarmbenchError):
        return SegmenterError(str(error))
    return SegmenterError(f"{type(error).__name__}: {error}")


def _checked(segmenter: Segmenter, volume: Volume, labels: object) -> Volume:
    if not isinstance(labels, Volume) or labels.kind != "label":
        raise SegmenterError(f"returned {type(labels).__name__}, expected a Volume of labels")
    if not labels.same_grid(volume):
        raise SegmenterError("its labels lie on another grid than the volume")
    if labels.data.max() > max(TISSUES.values()):
        raise SegmenterError(f"label {labels.data.max()}; allowed: 0 to {max(TISSUES.values())}")
    check_plausible(labels.data, volume.data, contrast_of(segmenter))
    return labels
