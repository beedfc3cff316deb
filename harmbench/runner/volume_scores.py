"""Score one harmonized volume in memory, without a run folder."""

from __future__ import annotations

import pandas as pd

from harmbench.cohorts.intensities import not_a_scan, out_of_range
from harmbench.errors import VolumeError
from harmbench.metrics.overlap import Backend
from harmbench.runner.scoring import score_rows
from harmbench.segmentation import Contrast, Segmenter, make_segmenter
from harmbench.segmentation.checked import try_segment
from harmbench.volume import Volume, require_same_grid

__all__ = ["score"]


def score(
    harmonized: Volume,
    reference: Volume,
    source: Volume | None = None,
    *,
    segmenter: str | Segmenter = "auto",
    contrast: Contrast = "T1w",
    stacking_axis: int = 0,
    surface_backend: Backend = "nearest",
) -> pd.DataFrame:
    """Compute every metric of one harmonized volume.

    All volumes are skull-stripped (background 0), lie on one grid, and have intensities in [0, 1];
    `rescale_volume` brings other intensities there.

    Args:
        harmonized: the volume to score, shape (x, y, z).
        reference: the real target scan, same shape and affine.
        source: the volume that was harmonized, same shape and affine; `None` where it is not known,
            which leaves `gradient_correlation` undefined.
        segmenter: `auto`, the name of an installed segmenter, or an instance.
        contrast: of the volumes, for a segmenter given by name.
        stacking_axis: axis along which slices were stacked (0, 1 or 2), for the stripe index.
        surface_backend: what computes surface distances.

    Returns:
        One row per metric and tissue, with the columns metric, tissue (empty for an image metric),
        value, unit and status. Where a volume cannot be segmented, metrics of tissues have no value
        and the status `segmentation_failed` or `segmentation_implausible`.

    Raises:
        VolumeError: grids differ, intensities are not finite or not in [0, 1], or the reference or
            the source is a mask or a label map.
        SegmentationError: the segmenter is unknown, or is not made for the contrast.
        UnavailableError: the segmenter's software is not installed.
    """
    _check(harmonized, reference, source)
    chosen = (
        make_segmenter(segmenter, contrast=contrast) if isinstance(segmenter, str) else segmenter
    )
    rows = score_rows(
        harmonized,
        reference,
        source,
        try_segment(chosen, harmonized),
        try_segment(chosen, reference),
        stacking_axis=stacking_axis,
        surface_backend=surface_backend,
    )
    return pd.DataFrame(rows)


def _check(harmonized: Volume, reference: Volume, source: Volume | None) -> None:
    """Raise `VolumeError` unless the volumes can be scored together."""
    scans = (
        {"reference": reference} if source is None else {"reference": reference, "source": source}
    )
    for name, volume in {"harmonized": harmonized, **scans}.items():
        require_same_grid(harmonized, volume, ("harmonized", name))
        # A volume without a voxel above 0 has scores, though none of tissues.
        problem = out_of_range(volume, "rescale_volume") if volume.data.any() else None
        if problem is None and name in scans:
            problem = not_a_scan(volume)
        if problem is not None:
            raise VolumeError(f"{name}: {problem}")
