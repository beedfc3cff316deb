"""Measuring change with fitted methods: a first visit on the target scanner, and a later one, harmonized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import nan
from pathlib import Path
from typing import Literal

from harmbench.cohorts.base import Scan, load_scan
from harmbench.cohorts.phantom import FollowUps
from harmbench.config import Experiment
from harmbench.errors import MethodError, describe
from harmbench.guard import method_call
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.scoring import finish_volume
from harmbench.runner.tissue_volumes import measured
from harmbench.segmentation import Contrast, Segmenter, choose_segmenter, make_segmenter
from harmbench.segmentation.base import TISSUES
from harmbench.segmentation.checked import try_segment
from harmbench.segmentation.result import Segmented
from harmbench.segmentation.stored import segment_to_file
from harmbench.study.change_table import ChangeRow
from harmbench.task import Progress
from harmbench.trained.fitted import load_fitted_cell
from harmbench.trained.fitted_corrections import load_corrections
from harmbench.volume import Volume

__all__ = ["ChangeStudy", "ChangeWork", "Kind", "Wanted", "measure"]

Kind = Literal["stay", "images", "volumes"]
"""How a later visit is brought to the target scanner: it was there, by a method, or by corrections."""

Volumes = Mapping[str, float]
"""Tissue to volume in mm3; empty where a scan could not be segmented."""

Later = Callable[["Wanted"], Volumes]
"""Measures the later visit."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A follow-up visit to measure with a cell; `key` says from what."""

    cell: Cell
    subject: str
    visit: str
    key: str

    @property
    def named(self) -> tuple[str, str, int, int, str, str]:
        """Method, direction, fold, seed, subject and visit, as in the table of changes."""
        cell = self.cell
        place = (cell.method, str(cell.direction), cell.fold, cell.seed)
        return (*place, self.subject, self.visit)


@dataclass(frozen=True, slots=True)
class ChangeWork:
    """What is measured together: one cell of a method, or all volume corrections of a fold."""

    kind: Kind
    wanted: tuple[Wanted, ...]

    def __str__(self) -> str:
        cell = self.wanted[0].cell
        if self.kind == "volumes":
            return f"volume corrections {cell.direction} fold {cell.fold}"
        return str(cell)


@dataclass(frozen=True, slots=True)
class ChangeStudy:
    """What all work shares; it travels to worker processes."""

    root: Path
    experiment: Experiment
    follow_ups: FollowUps
    groups: Mapping[str, str]
    device: str
    contrast: Contrast

    def segmenter(self) -> Segmenter:
        """Make the segmenter of the run."""
        chosen = choose_segmenter(self.experiment.scoring.segmenter)
        return make_segmenter(chosen, self.device, self.contrast)

    def follow_up(self, subject: str, scanner: str, visit: str) -> Scan:
        """Return the scan of a visit on a scanner."""
        return self.follow_ups.cohort.scans[subject, f"{scanner}-{visit}"]

    def volume(self, subject: str, scanner: str, visit: str) -> Volume:
        """Read the scan of a visit, in [0, 1]."""
        return load_scan(self.follow_up(subject, scanner, visit), self.experiment.data.rescale)

    def corrects(self, cell: Cell) -> bool:
        """Whether a cell is of a volume correction."""
        record = RunFolder(self.root).cell(cell).read_record()
        return record is not None and record.maps == "volumes"


def measure(study: ChangeStudy, work: ChangeWork, progress: Progress) -> list[ChangeRow]:
    """Measure all visits of a piece of work."""
    segmenter = study.segmenter()
    folder = RunFolder(study.root)
    inputs = folder.input_scans()
    later_of = _later_of(study, work, segmenter, inputs, progress)

    @cache
    def first(subject: str, session: str) -> Volumes:
        path = folder.input_labels(subject, session, segmenter.name)
        return _volumes(segment_to_file(inputs.volume(subject, session), path, segmenter))

    rows: list[ChangeRow] = []
    for done, wanted in enumerate(work.wanted):
        progress("visits", done, len(work.wanted))
        before = first(wanted.subject, wanted.cell.direction.target)
        try:
            later, status = later_of(wanted), "ok"
        except Exception as error:  # noqa: BLE001 - any failure of a method becomes a row
            later, status = {}, f"failed: {describe(error)}"
        if status == "ok" and not (before and later):
            status = "segmentation_failed"
        rows += _rows(study, wanted, segmenter.name, before, later, status)
    progress("visits", len(work.wanted), len(work.wanted))
    return rows


def _rows(
    study: ChangeStudy,
    wanted: Wanted,
    segmenter: str,
    before: Volumes,
    later: Volumes,
    status: str,
) -> list[ChangeRow]:
    """Return the row of each tissue."""
    cell = wanted.cell
    return [
        ChangeRow(
            method=cell.method,
            direction=str(cell.direction),
            fold=cell.fold,
            seed=cell.seed,
            subject=wanted.subject,
            group=study.groups[wanted.subject],
            visit=wanted.visit,
            segmenter=segmenter,
            tissue=tissue,
            true_percent=true,
            measured_percent=_percent(before.get(tissue, nan), later.get(tissue, nan)),
            status=status,
            key=wanted.key,
        )
        for tissue, true in study.follow_ups.true_change[wanted.subject, wanted.visit].items()
    ]


def _later_of(
    study: ChangeStudy,
    work: ChangeWork,
    segmenter: Segmenter,
    inputs: InputScans,
    progress: Progress,
) -> Later:
    """Return what measures the later visits of a piece of work."""
    if work.kind == "volumes":
        return _corrected(study, work, segmenter, inputs)
    if work.kind == "images":
        return _harmonized(study, work.wanted[0].cell, segmenter, progress)

    def stayed(wanted: Wanted) -> Volumes:
        volume = study.volume(wanted.subject, wanted.cell.direction.target, wanted.visit)
        return _volumes(try_segment(segmenter, volume))

    return stayed


def _harmonized(study: ChangeStudy, cell: Cell, segmenter: Segmenter, progress: Progress) -> Later:
    run = RunFolder(study.root)
    model = load_fitted_cell(run, study.experiment, cell, study.device, progress)

    def harmonized(wanted: Wanted) -> Volumes:
        volume = study.volume(wanted.subject, cell.direction.source, wanted.visit)
        with method_call():
            output = model.method.harmonize(volume, model.task)
        masked = study.experiment.scoring.mask_background
        finished, _ = finish_volume(output, volume, mask_background=masked)
        return _volumes(try_segment(segmenter, finished))

    return harmonized


def _corrected(
    study: ChangeStudy, work: ChangeWork, segmenter: Segmenter, inputs: InputScans
) -> Later:
    run = RunFolder(study.root)
    cells = list(dict.fromkeys(wanted.cell for wanted in work.wanted))
    fitted = load_corrections(run, study.experiment, cells, segmenter, inputs)

    @cache
    def untreated(subject: str, scanner: str, visit: str) -> Volumes:
        return _volumes(try_segment(segmenter, study.volume(subject, scanner, visit)))

    def corrected(wanted: Wanted) -> Volumes:
        correction = fitted[wanted.cell]
        if isinstance(correction, str):
            raise MethodError(correction)
        source = wanted.cell.direction.source
        found = untreated(wanted.subject, source, wanted.visit)
        if not found:
            return {}
        values = correction.correct(wanted.subject, [found[tissue] for tissue in TISSUES])
        return dict(zip(TISSUES, values, strict=True))

    return corrected


def _volumes(found: Segmented) -> Volumes:
    volumes = measured(found).volumes_mm3
    return {} if volumes is None else dict(zip(TISSUES, volumes, strict=True))


def _percent(before: float, later: float) -> float:
    return 100 * (later - before) / before if before > 0 else nan
