"""One scan of another tool: reading and segmenting it. Needs no pandas, which takes time to import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from harmbench.cohorts.base import Rescale, rescale_volume
from harmbench.cohorts.foreground import odd_foreground
from harmbench.cohorts.intensities import out_of_range, with_notes
from harmbench.cohorts.raw_values import no_scan_values
from harmbench.errors import SegmentationError, VolumeError
from harmbench.notes import summarize
from harmbench.runner.outside_files import check_label_file
from harmbench.segmentation import TISSUES, contrast_notes, find_contrast, make_segmenter
from harmbench.segmentation.checked import segment
from harmbench.volume import Volume, read, write

__all__ = ["read_scan", "segment_scan"]


def read_scan(path: Path, rescale: Rescale) -> Volume:
    """Read a volume that another tool made, with notes on its foreground.

    Raises:
        VolumeError: it is unreadable, holds no values of a scan, or lies outside [0, 1].
    """
    try:
        raw = read(path)
        if unusable := no_scan_values(raw.data):
            raise VolumeError(unusable)
        volume = rescale_volume(raw, rescale, where=str(path))
    except VolumeError as error:
        raise VolumeError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    # An empty volume has scores too, except those of tissues.
    problem = out_of_range(volume, "--rescale percentile") if volume.data.any() else None
    if problem is not None:
        raise VolumeError(f"{path}: {problem}")
    return with_notes(volume, *odd_foreground(volume, str(path)))


def segment_scan(
    scan: Path,
    labels: Path,
    segmenter: str = "auto",
    rescale: Rescale = "none",
    contrast: str = "auto",
    say: Callable[[str], object] | None = None,
) -> list[dict[str, str | int | float]]:
    """Segment one skull-stripped scan and write its labels on the scan's own grid.

    Args:
        scan: the file to segment.
        labels: the file to write.
        segmenter: `auto`, or the name of one.
        rescale: how to bring intensities into [0, 1].
        contrast: of the scan; `auto`: as its file name says, T1w where it says nothing.
        say: called with each note on the scan.

    Returns:
        One row per tissue: tissue, label, voxels, volume_mm3, segmenter.

    Raises:
        VolumeError: the scan is unreadable, not finite or out of range; or `labels` is the scan, or
            holds something else than tissues, or would be taken for a scan of the scan's data set.
        SegmentationError: it cannot be segmented; nothing is written.
    """
    check_label_file(labels, scan)
    chosen = make_segmenter(segmenter, contrast=find_contrast([scan], contrast))
    volume = read_scan(scan, rescale)
    if say is not None:
        for text in summarize((*contrast_notes([scan], contrast), *volume.notes)):
            say(f"note: {text}")
    try:
        found = segment(chosen, volume)
    except SegmentationError as error:
        raise SegmentationError(f"{scan}: {chosen.name}: {error}") from error
    write(found, labels)
    voxel_mm3 = float(abs(np.linalg.det(found.affine[:3, :3])))
    rows: list[dict[str, str | int | float]] = []
    for tissue, label in TISSUES.items():
        voxels = int(np.count_nonzero(found.data == label))
        rows.append(
            {
                "tissue": tissue,
                "label": label,
                "voxels": voxels,
                "volume_mm3": voxels * voxel_mm3,
                "segmenter": chosen.name,
            }
        )
    return rows
