"""Scores and segmentations of files that other tools made."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from harmbench.cohorts.base import Rescale
from harmbench.cohorts.intensities import not_a_scan
from harmbench.errors import RunError, VolumeError
from harmbench.executors import Died, LocalExecutor
from harmbench.metrics.overlap import Backend
from harmbench.notes import summarize
from harmbench.plugins import Reference
from harmbench.progress import Display
from harmbench.runner.outside_corrections import with_corrections
from harmbench.runner.outside_files import Triple, check_table
from harmbench.runner.outside_labels import read_scan
from harmbench.runner.score_summary import SOURCE_VALUE
from harmbench.runner.scoring import missing_rows, score_rows
from harmbench.segmentation import (
    Contrast,
    Segmenter,
    choose_segmenter,
    find_contrast,
    make_segmenter,
)
from harmbench.segmentation.checked import try_segment
from harmbench.storage import atomic
from harmbench.task import Progress
from harmbench.volume import Volume, require_same_grid, require_same_sides

__all__ = [
    "score_all",
    "score_triple",
]

Scored = tuple[pd.DataFrame, tuple[str, ...]]
"""A volume's rows, and why it or its reference could not be segmented."""


def score_triple(
    triple: Triple,
    segmenter: Segmenter,
    rescale: Rescale = "none",
    *,
    stacking_axis: int = 0,
    surface_backend: Backend = "nearest",
    say: Callable[[str], object] | None = None,
) -> pd.DataFrame:
    """Compute every metric of one volume that another tool made.

    Args:
        triple: which files.
        segmenter: what segments volume and reference.
        rescale: how to bring intensities into [0, 1].
        stacking_axis: axis along which slices were stacked.
        surface_backend: what computes surface distances.
        say: called with each note on the files, and with the reason where a volume cannot be
            segmented.

    Returns:
        A table: name, segmenter, metric, tissue, value, unit, status, and with a source
        `source_value`, what the source itself scores against the reference. Without a source, metrics
        that compare with it have the status `undefined`; without a segmentation, those of tissues
        have `segmentation_failed` or `segmentation_implausible`.

    Raises:
        VolumeError: a file is unreadable, grids differ, values are not finite or not in [0, 1], or
            the reference or the source is a mask or a label map.
    """
    harmonized, reference, source = _read_triple(triple, rescale)
    if say is not None:
        volumes = (harmonized, reference, *([] if source is None else [source]))
        for text in summarize(note for volume in volumes for note in volume.notes):
            say(f"note: {text}")
    segmented = [try_segment(segmenter, volume) for volume in (harmonized, reference)]
    for found, path in zip(segmented, (triple.volume, triple.reference), strict=True):
        if found.failure is not None and say is not None:
            say(f"{path}: {found.failure.reason}")
    compute = partial(score_rows, stacking_axis=stacking_axis, surface_backend=surface_backend)
    rows = compute(harmonized, reference, source, *segmented)
    frame = pd.DataFrame([{"name": triple.name, "segmenter": segmenter.name, **r} for r in rows])
    if source is None:
        return frame
    found = try_segment(segmenter, source)
    if found.failure is not None and say is not None:
        say(f"{triple.source}: {found.failure.reason}")
    own = compute(source, reference, source, found, segmented[1])
    values = {(row["metric"], row["tissue"]): row["value"] for row in own}
    measures = zip(frame["metric"], frame["tissue"], strict=True)
    return frame.assign(**{SOURCE_VALUE: [values[measure] for measure in measures]})


def _read_triple(triple: Triple, rescale: Rescale) -> tuple[Volume, Volume, Volume | None]:
    """Read volume, reference and source, and check that they belong together."""
    harmonized = read_scan(triple.volume, rescale)
    reference = read_scan(triple.reference, rescale)
    source = None if triple.source is None else read_scan(triple.source, rescale)
    volumes = {str(triple.volume): harmonized}
    for other, path in ((reference, triple.reference), (source, triple.source)):
        if other is not None:
            require_same_grid(harmonized, other, (str(triple.volume), str(path)))
            problem = not_a_scan(other)
            if problem is not None:
                raise VolumeError(f"{path}: {problem}")
            volumes[str(path)] = other
    require_same_sides(volumes)
    return harmonized, reference, source


def score_all(
    triples: Sequence[Triple],
    segmenter: str = "auto",
    rescale: Rescale = "none",
    *,
    stacking_axis: int = 0,
    out: Path | None = None,
    jobs: int | None = None,
    contrast: str = "auto",
) -> pd.DataFrame:
    """Score volumes that other tools made, and write the table to `out` if that is given.

    A volume that cannot be read or compared gets rows with the status `failed`; the reason is printed.
    With sources of two or more people, volume corrections stand beside: see `with_corrections`.

    Args:
        triples: which files.
        segmenter: `auto`, or the name of one.
        rescale: how to bring intensities into [0, 1].
        stacking_axis: axis along which slices were stacked.
        out: a CSV file to write.
        jobs: volumes at a time, each in a process of its own; `None`: one per processor, at most
            4. With `hmrf` a process takes 0.1 GB, 20 bytes for each voxel and 130 for each
            voxel of the brain: 0.5 GB at 160x160x160, 0.7 GB at 256x256x256 voxels of 1 mm. FAST
            takes some 100 bytes for each voxel beside that, 1.6 GB at 256x256x256.
        contrast: of all volumes; `auto`: as the references' file names say.

    Raises:
        SegmentationError: the segmenter is not made for the contrast.
        VolumeError: see `score_triple`, where there is one volume, or all fail; or `out` is an
            input, or holds something else than scores; nothing is written.
        UnavailableError: the segmenter is not installed.
        RunError: the process that scored a volume was killed.
    """
    if out is not None:
        check_table(out, triples)
    known = find_contrast([triple.reference for triple in triples], contrast)
    chosen = choose_segmenter(segmenter)
    make_segmenter(chosen, contrast=known)
    work = partial(_score_one, chosen, known, rescale, stacking_axis)
    jobs = min(jobs or min(4, os.cpu_count() or 1), max(1, len(triples)))
    found = _run_all(work, triples, jobs)
    if all((frame["status"] == "failed").all() for frame, _ in found.values()):
        raise VolumeError("\n".join(note for _, notes in found.values() for note in notes))
    frame = pd.concat([found[triple][0] for triple in triples], ignore_index=True)
    frame = with_corrections(frame)
    if out is not None:
        with atomic(out) as temporary:
            frame.to_csv(temporary, index=False)
    return frame


def _run_all(
    work: Callable[[Triple, Progress], Scored], triples: Sequence[Triple], jobs: int
) -> dict[Triple, Scored]:
    """Score all volumes, `jobs` at a time; in the order in which they were finished."""

    def line(_: Triple, result: Scored | Died) -> str:
        return "" if isinstance(result, Died) else "\n".join(result[1])

    found: dict[Triple, Scored] = {}
    with Display("score", len(triples)) as display:
        executor = LocalExecutor(jobs)
        for triple, result in executor.run(work, triples, display, line):
            if isinstance(result, Died):
                raise RunError(f"{triple.volume}: {result.reason}; try --jobs 1")
            found[triple] = result
    return found


def _score_one(
    segmenter: Reference,
    contrast: Contrast,
    rescale: Rescale,
    stacking_axis: int,
    triple: Triple,
    progress: Progress,
) -> Scored:
    progress("score", 0, 1)
    notes: list[str] = []
    chosen = make_segmenter(segmenter, contrast=contrast)
    try:
        frame = score_triple(triple, chosen, rescale, stacking_axis=stacking_axis, say=notes.append)
    except VolumeError as error:
        rows = missing_rows("failed")
        frame = pd.DataFrame([{"name": triple.name, "segmenter": chosen.name, **r} for r in rows])
        notes.append(str(error))
    return frame, tuple(notes)
