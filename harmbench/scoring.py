"""From a method's output to rows of scores: finish, segment, measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import harmbench.segmentation
from harmbench.code_keys import own_code, stage_code
from harmbench.errors import MethodError, SegmentationError, VolumeError
from harmbench.metrics.overlap import Backend
from harmbench.metrics.suite import METRICS, score_image, score_tissues
from harmbench.segmentation import TISSUES, BatchSegmenter, Segmenter
from harmbench.slices import foreground
from harmbench.storage import key_of, read_json, write_json
from harmbench.volume import Step, Volume, read, require_same_grid, write

__all__ = [
    "finish_volume",
    "missing_rows",
    "score_rows",
    "segment_to_file",
    "segment_to_files",
    "segmenter_key",
]


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
        MethodError: the output is not a volume, its grid is not the source's, or values are not
            finite.
    """
    if not isinstance(output, Volume):
        raise MethodError(f"harmonize returned {type(output).__name__}, expected a Volume")
    try:
        require_same_grid(output, source, ("the harmonized volume", "the source"))
    except VolumeError as error:
        raise MethodError(f"{error}: harmonize must keep the source's grid") from error
    bad = int(output.data.size - np.count_nonzero(np.isfinite(output.data)))
    if bad:
        raise MethodError(f"harmonize returned {bad} voxels that are NaN or infinite")
    brain = foreground(source.data)
    # A hair beyond the range is rounding, not a method's doing.
    outside = (output.data < -1e-6) | (output.data > 1 + 1e-6)
    clipped = float(np.count_nonzero(outside & brain) / max(1, np.count_nonzero(brain)))
    data = np.clip(output.data, 0, 1)
    if mask_background:
        data = data * brain
    step = Step("finish", {"clip": [0, 1], "mask_background": mask_background})
    finished = Volume(data, source.affine, space=source.space, history=(*output.history, step))
    return finished, clipped


def segment_to_file(
    volume: Volume, path: Path, segmenter: Segmenter, same_as: Sequence[Path] = ()
) -> Volume | str:
    """Segment a volume into `path` unless that is done already; a JSON file beside it has the key.

    Args:
        volume: what to segment.
        path: where the labels go.
        segmenter: what segments.
        same_as: other label files; one with the same key is copied instead of computed again.

    Returns:
        The labels, or the reason why the volume cannot be segmented.
    """
    key = key_of("segment", volume.key, segmenter_key(segmenter))
    known = _known_labels(key, path, same_as)
    if known is not None:
        return known
    try:
        found: Volume | SegmentationError = segmenter.segment(volume)
    except SegmentationError as error:
        found = error
    return _keep_labels(found, key, path, segmenter)


def segment_to_files(
    volumes: Sequence[Volume], paths: Sequence[Path], segmenter: Segmenter
) -> None:
    """Segment volumes into `paths` as `segment_to_file` does, at once where the segmenter can."""
    if not isinstance(segmenter, BatchSegmenter):
        for volume, path in zip(volumes, paths, strict=True):
            segment_to_file(volume, path, segmenter)
        return
    keys = [key_of("segment", volume.key, segmenter_key(segmenter)) for volume in volumes]
    open_ = [i for i, key in enumerate(keys) if _known_labels(key, paths[i]) is None]
    if open_:
        found = segmenter.segment_batch([volumes[i] for i in open_])
        for i, labels in zip(open_, found, strict=True):
            _keep_labels(labels, keys[i], paths[i], segmenter)


def _note_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def _known_labels(key: str, path: Path, same_as: Sequence[Path] = ()) -> Volume | str | None:
    """Return what stands in `path` or one of `same_as` under this key, and copy it to `path`."""
    for file in (path, *same_as):
        note = read_json(_note_of(file)) or {}
        if note.get("key") != key:
            continue
        if note.get("error"):
            return str(note["error"])
        if file.is_file():
            labels = read(file, kind="label")
            if file != path:
                write(labels, path)
                write_json(_note_of(path), note)
            return labels
    return None


def _keep_labels(
    found: Volume | SegmentationError, key: str, path: Path, segmenter: Segmenter
) -> Volume | str:
    """Write labels, or the reason why there are none, with their key."""
    note = {"key": key, "segmenter": segmenter.name, "version": segmenter.version}
    if isinstance(found, SegmentationError):
        reason = f"{segmenter.name}: {found}"
        write_json(_note_of(path), {**note, "error": reason})
        return reason
    write(found, path)
    write_json(_note_of(path), {**note, "device": getattr(segmenter, "device", "cpu")})
    return found


def segmenter_key(segmenter: Segmenter) -> str:
    """SHA-256 of what a segmenter's labels depend on: its name, its version, and the code."""
    name = type(segmenter).__module__
    # One that fills a package of its own counts with all of it.
    package = sys.modules[name].__package__ or ""
    if package not in {"", harmbench.segmentation.__name__}:
        name = package
    return key_of(segmenter.name, segmenter.version, own_code(name), stage_code("segment"))


def score_rows(
    harmonized: Volume,
    reference: Volume,
    source: Volume | None,
    labels: Volume | None,
    reference_labels: Volume | None,
    *,
    stacking_axis: int = 0,
    surface_backend: Backend = "nearest",
) -> list[dict[str, Any]]:
    """Compute every metric of one harmonized volume.

    Args:
        harmonized: the volume to score.
        reference: the real target scan.
        source: the volume that was harmonized; `None` where it is not known.
        labels, reference_labels: their segmentations; `None` where segmentation failed.
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
    if labels is None or reference_labels is None:
        done = {(row["metric"], row["tissue"]) for row in rows}
        missing = [one for one in _all_scores() if one not in done]
        return rows + [_row(*one, np.nan, "segmentation_failed") for one in missing]
    tissue_scores = score_tissues(
        labels.data,
        reference_labels.data,
        spacing_mm=reference.spacing_mm,
        tissues=TISSUES,
        backend=surface_backend,
    )
    return rows + [_row(s.metric, s.tissue, s.value, s.status) for s in tissue_scores]


def _all_scores() -> Iterator[tuple[str, str]]:
    for name, metric in METRICS.items():
        for tissue in TISSUES if metric.scope == "tissue" else ("",):
            yield name, tissue


def _row(metric: str, tissue: str, value: float, status: str) -> dict[str, Any]:
    unit = METRICS[metric].unit
    return {"metric": metric, "tissue": tissue, "value": value, "unit": unit, "status": status}


def missing_rows(status: str) -> list[dict[str, Any]]:
    """Return one row without a value for every metric and tissue, so that no case is dropped."""
    return [_row(*one, np.nan, status) for one in _all_scores()]
