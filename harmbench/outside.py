"""Scores of volumes that any outside tool produced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmbench.cohorts.base import Rescale, rescale_volume
from harmbench.errors import CohortError, HarmbenchError, VolumeError
from harmbench.metrics.overlap import Backend
from harmbench.progress import Display
from harmbench.scoring import score_rows
from harmbench.segmentation import TISSUES, Segmenter, make_segmenter
from harmbench.storage import atomic
from harmbench.volume import Volume, read, require_same_grid, write

__all__ = [
    "Triple",
    "find_triples",
    "score_all",
    "score_triple",
    "segment_scan",
]

_SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".img")


@dataclass(frozen=True, slots=True)
class Triple:
    """A volume to score, its reference, and what it was made from, if that is known."""

    name: str
    volume: Path
    reference: Path
    source: Path | None


def find_triples(volume: Path, reference: Path, source: Path | None = None) -> list[Triple]:
    """Pair up files: three files, or folders whose files have the same names.

    Raises:
        CohortError: a path is missing, files and folders are mixed, or lists every volume
            without a counterpart.
    """
    paths = [path for path in (volume, reference, source) if path is not None]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise CohortError(f"no such file or folder: {', '.join(missing)}")
    folders = {path.is_dir() for path in paths}
    if folders == {False}:
        return [Triple(_stem(volume), volume, reference, source)]
    if len(folders) == 2:
        raise CohortError("--volume, --reference and --source are all files or all folders")
    names = sorted(path.name for path in volume.iterdir() if path.name.endswith(_SUFFIXES))
    if not names:
        raise CohortError(f"{volume}: no image in this folder ({', '.join(_SUFFIXES)})")
    problems = [
        f"{folder / name} is missing"
        for name in names
        for folder in paths[1:]
        if not (folder / name).is_file()
    ]
    if problems:
        raise CohortError(f"every file of {volume} needs a counterpart of the same name:", problems)
    return [
        Triple(_stem(volume / name), volume / name, reference / name, source and source / name)
        for name in names
    ]


def _stem(path: Path) -> str:
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.stem


def score_triple(
    triple: Triple,
    segmenter: Segmenter,
    rescale: Rescale = "none",
    *,
    stacking_axis: int = 0,
    surface_backend: Backend = "nearest",
) -> pd.DataFrame:
    """Compute every metric of one volume made elsewhere.

    Returns:
        A table: name, segmenter, metric, tissue, value, unit, status. Without a source, metrics
        that compare with it have the status `undefined`.

    Raises:
        VolumeError: a file is unreadable, grids differ, or values are not finite or not in [0, 1].
    """
    harmonized = _in_range(triple.volume, rescale)
    reference = _in_range(triple.reference, rescale)
    source = None if triple.source is None else _in_range(triple.source, rescale)
    for other, path in ((reference, triple.reference), (source, triple.source)):
        if other is not None:
            require_same_grid(harmonized, other, (str(triple.volume), str(path)))
    labels: list[Volume | None] = []
    for volume in (harmonized, reference):
        try:
            labels.append(segmenter.segment(volume))
        except HarmbenchError:
            labels.append(None)
    rows = score_rows(
        harmonized,
        reference,
        source,
        *labels,
        stacking_axis=stacking_axis,
        surface_backend=surface_backend,
    )
    return pd.DataFrame([{"name": triple.name, "segmenter": segmenter.name, **r} for r in rows])


def _in_range(path: Path, rescale: Rescale) -> Volume:
    volume = read(path)
    try:
        volume = rescale_volume(volume, rescale)
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error
    low, high = float(volume.data.min()), float(volume.data.max())
    # Also false for NaN.
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise VolumeError(
            f"{path}: intensities from {low:.4g} to {high:.4g}, expected 0 to 1 and finite; "
            "prepare the scan, or use --rescale percentile"
        )
    return volume


def score_all(
    triples: Sequence[Triple],
    segmenter: str = "auto",
    rescale: Rescale = "none",
    *,
    stacking_axis: int = 0,
    out: Path | None = None,
) -> pd.DataFrame:
    """Score volumes made elsewhere and write the table to `out`, if that is given.

    Raises:
        VolumeError: see `score_triple`; nothing is written then.
        UnavailableError: the segmenter is not installed.
    """
    chosen = make_segmenter(segmenter)
    frames = []
    with Display("score", len(triples)) as display:
        for triple in triples:
            frames.append(score_triple(triple, chosen, rescale, stacking_axis=stacking_axis))
            display.finish(triple.name)
    frame = pd.concat(frames, ignore_index=True)
    if out is not None:
        with atomic(out) as temporary:
            frame.to_csv(temporary, index=False)
    return frame


def segment_scan(
    scan: Path, labels: Path, segmenter: str = "auto", rescale: Rescale = "none"
) -> list[dict[str, Any]]:
    """Segment one skull-stripped scan and write its labels on the scan's own grid.

    Returns:
        One row per tissue: tissue, label, voxels, volume_mm3, segmenter.

    Raises:
        VolumeError: the scan is unreadable, not finite or out of range.
        SegmentationError: it cannot be segmented; nothing is written.
    """
    chosen = make_segmenter(segmenter)
    found = chosen.segment(_in_range(scan, rescale))
    write(found, labels)
    voxel_mm3 = float(abs(np.linalg.det(found.affine[:3, :3])))
    rows = []
    for tissue, label in TISSUES.items():
        voxels = int(np.count_nonzero(found.data == label))
        row = {"tissue": tissue, "label": label, "voxels": voxels}
        rows.append({**row, "volume_mm3": voxels * voxel_mm3, "segmenter": chosen.name})
    return rows
