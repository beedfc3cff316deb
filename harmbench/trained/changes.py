"""Change over a switch of scanner, measured with every fitted method of a run on simulated scans.

The truth is known: follow-up visits of the simulated cohort have a stored change of volume. A subject's
first visit is on the target scanner, the later one on the source scanner, harmonized. Each method is the
one of the cell that held the subject out; it has seen no visit of it, and no follow-up visit at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path

import pandas as pd

from harmbench.cohorts.base import Scan, load_scan
from harmbench.cohorts.phantom import FollowUps, make_follow_ups
from harmbench.config import Experiment, load_experiment
from harmbench.errors import RunError, describe
from harmbench.executors import Died, LocalExecutor
from harmbench.guard import method_call
from harmbench.metrics.volumetry import volume_mm3
from harmbench.progress import Display
from harmbench.results import REAL_SCANS
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import keys_of_inputs
from harmbench.runner.scoring import finish_volume
from harmbench.segmentation import choose_segmenter, find_contrast, make_segmenter
from harmbench.segmentation.base import TISSUES, Segmenter
from harmbench.segmentation.checked import try_segment
from harmbench.segmentation.contrast import Contrast
from harmbench.segmentation.stored import segment_to_file, segmenter_key
from harmbench.storage import file_key, key_of
from harmbench.study.change_table import (
    ChangeRow,
    change_table_path,
    read_changes,
    write_changes,
)
from harmbench.study.changes import NO_SWITCH
from harmbench.task import Progress
from harmbench.trained.fitted import FittedMethod, load_fitted_cell
from harmbench.volume import Volume

__all__ = ["measure_changes"]

Volumes = Mapping[str, float]
"""Tissue to volume in mm3; empty where a scan could not be segmented."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A cell, or staying on the target scanner (`NO_SWITCH`), and the visits to measure with it.

    Attributes:
        cell: names method, direction, fold and seed.
        visits: (subject, visit, key) of what is to be measured.
    """

    cell: Cell
    visits: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class _Study:
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


def measure_changes(
    run: Path,
    methods: Sequence[str] = (),
    *,
    device: str = "auto",
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Measure the true changes of the simulated cohort with the fitted methods of a run.

    What was measured before with the same model, scans and segmenter is kept. The table is
    `study/changes.csv` in the run folder, and a report of the run shows it.

    Args:
        run: a run on the simulated cohort.
        methods: labels of the methods; by default all that the run has fitted.
        device: torch device name, or `auto`.
        jobs: cells at a time; by default as in the run.
        say: called with each status line.

    Returns:
        The whole table, see `study.change_table.ChangeRow`.

    Raises:
        RunError: the run is not on the simulated cohort, or has no such fitted method.
    """
    # torch takes seconds to import.
    from harmbench.training import resolve_device

    folder = RunFolder(run.absolute())
    cells = _fitted_cells(folder, methods)
    experiment = _experiment(folder)
    subjects = sorted({subject for _, tested in cells for subject in tested})
    with Display("follow-up visits", len(subjects)) as display:
        found = make_follow_ups(experiment.data.phantom, None, subjects, display, jobs)
    inputs = folder.input_scans()
    paths = [scan.path for scan in inputs.scans.values()]
    study = _Study(
        root=folder.root,
        experiment=experiment,
        follow_ups=found,
        groups=dict(found.cohort.groups),
        device=str(resolve_device(device)),
        contrast=find_contrast(paths, experiment.scoring.contrast),
    )
    path = change_table_path(folder.root)
    known = read_changes(path)
    work = list(_open_work(study, cells, known))
    say(
        f"{sum(len(one.visits) for one in work)} follow-up visits to measure, {len(subjects)} subjects"
    )
    executor = LocalExecutor(jobs or experiment.jobs)
    with Display("measure changes", len(work)) as display:
        for one, rows in executor.run(partial(_measure, study), work, display):
            if isinstance(rows, Died):
                say(f"{one.cell}: {rows.reason}")
                continue
            known = _with_rows(known, rows)
            write_changes(known, path)
    return known


def _experiment(folder: RunFolder) -> Experiment:
    """Return the settings of a run on the simulated cohort's prepared scans."""
    experiment = load_experiment(folder.config)
    cohort = folder.read_record().cohort
    if experiment.data.path is not None or not cohort.simulated:
        raise RunError(
            f"{folder.root}: true changes are known of the simulated cohort alone; this run is on "
            f"{cohort.description or cohort.name}"
        )
    return experiment


def _fitted_cells(folder: RunFolder, methods: Sequence[str]) -> list[tuple[Cell, tuple[str, ...]]]:
    """Return the cells with a stored model, and the subjects that each held out."""
    folder.read_record()
    found = [
        (cell, record.subjects or ())
        for cell, record in folder.cells()
        if cell.method not in REAL_SCANS
        and record.key("fit") is not None
        and folder.cell(cell).model.is_dir()
    ]
    fitted = sorted({cell.method for cell, _ in found})
    for method in methods:
        if method not in fitted:
            raise RunError(
                f"{folder.root}: '{method}' has no stored model here; fitted: "
                f"{', '.join(fitted) or 'none'}"
            )
    return [(cell, tested) for cell, tested in found if not methods or cell.method in methods]


def _open_work(
    study: _Study, cells: Sequence[tuple[Cell, tuple[str, ...]]], known: pd.DataFrame
) -> Iterator[_Work]:
    """Go through what has not been measured, or from other scans or models."""
    folder = RunFolder(study.root)
    real = keys_of_inputs(folder.input_scans())
    segmenter = segmenter_key(study.segmenter())
    rescale = study.experiment.data.rescale
    have = set(zip(known["method"], known["direction"], known["fold"], known["seed"],
                   known["subject"], known["visit"], known["key"], strict=True))  # fmt: skip
    controls: dict[Cell, tuple[str, ...]] = {}
    for cell, tested in cells:
        stay = Cell(NO_SWITCH, cell.direction, cell.fold, 0)
        controls[stay] = tuple(sorted({*controls.get(stay, ()), *tested}))
    for cell, tested in [*controls.items(), *cells]:
        record = folder.cell(cell).read_record()
        fit = None if record is None else record.key("fit")
        way = cell.direction
        scanner = way.target if cell.method == NO_SWITCH else way.source
        missing = []
        for subject in tested:
            for visit in sorted({v for s, v in study.follow_ups.true_change if s == subject}):
                scan = study.follow_up(subject, scanner, visit)
                files = [file_key(scan.path), file_key(scan.mask) if scan.mask else ""]
                key = key_of("change", fit, files, rescale, real[subject, way.target], segmenter)
                named = (cell.method, str(way), cell.fold, cell.seed, subject, visit, key)
                if named not in have:
                    missing.append((subject, visit, key))
        if missing:
            yield _Work(cell, tuple(missing))


def _measure(study: _Study, work: _Work, progress: Progress) -> list[ChangeRow]:
    """Measure all visits of one cell."""
    segmenter = study.segmenter()
    folder = RunFolder(study.root)
    inputs = folder.input_scans()
    model = None if work.cell.method == NO_SWITCH else _load(study, work.cell, progress)
    rows: list[ChangeRow] = []
    for done, (subject, visit, key) in enumerate(work.visits):
        progress("visits", done, len(work.visits))
        target = work.cell.direction.target
        first = segment_to_file(
            inputs.volume(subject, target),
            folder.input_labels(subject, target, segmenter.name),
            segmenter,
        )
        try:
            later = _later(study, work.cell, model, subject, visit, segmenter)
            status = "ok"
        except Exception as error:  # noqa: BLE001 - any failure of a method becomes a row
            later, status = {}, f"failed: {describe(error)}"
        if status == "ok" and (first.labels is None or not later):
            status = "segmentation_failed"
        before = _volumes(first.labels)
        for tissue, true in study.follow_ups.true_change[subject, visit].items():
            rows.append(
                ChangeRow(
                    method=work.cell.method,
                    direction=str(work.cell.direction),
                    fold=work.cell.fold,
                    seed=work.cell.seed,
                    subject=subject,
                    group=study.groups[subject],
                    visit=visit,
                    segmenter=segmenter.name,
                    tissue=tissue,
                    true_percent=true,
                    measured_percent=_percent(before.get(tissue, nan), later.get(tissue, nan)),
                    status=status,
                    key=key,
                )
            )
    progress("visits", len(work.visits), len(work.visits))
    return rows


def _load(study: _Study, cell: Cell, progress: Progress) -> FittedMethod:
    return load_fitted_cell(RunFolder(study.root), study.experiment, cell, study.device, progress)


def _later(
    study: _Study,
    cell: Cell,
    model: FittedMethod | None,
    subject: str,
    visit: str,
    segmenter: Segmenter,
) -> Volumes:
    """Volumes of a follow-up visit: harmonized from the source scanner, or as it is on the target."""
    way, settings = cell.direction, study.experiment
    scanner = way.target if model is None else way.source
    volume = load_scan(study.follow_up(subject, scanner, visit), settings.data.rescale)
    if model is not None:
        with method_call():
            output = model.method.harmonize(volume, model.task)
        masked = settings.scoring.mask_background
        volume, _ = finish_volume(output, volume, mask_background=masked)
    return _volumes(try_segment(segmenter, volume).labels)


def _volumes(labels: Volume | None) -> Volumes:
    if labels is None:
        return {}
    return {
        tissue: volume_mm3(labels.data == label, spacing_mm=labels.spacing_mm)
        for tissue, label in TISSUES.items()
    }


def _percent(before: float, later: float) -> float:
    return 100 * (later - before) / before if before > 0 else nan


def _with_rows(known: pd.DataFrame, rows: Sequence[ChangeRow]) -> pd.DataFrame:
    """Add rows in place of older ones of the same measurement."""
    same = ["method", "direction", "fold", "seed", "subject", "visit", "segmenter", "tissue"]
    fresh = pd.DataFrame(rows)
    whole = fresh if known.empty else pd.concat([known, fresh], ignore_index=True)
    return whole.drop_duplicates(same, keep="last", ignore_index=True)
