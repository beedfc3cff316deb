"""Change over a switch of scanner, measured with every fitted method of a run on simulated scans.

The truth is known: follow-up visits of the simulated cohort have a stored change of volume. A subject's
first visit is on the target scanner, the later one on the source scanner, harmonized. Each method is the
one of the cell that held the subject out; it has seen no visit of it, and no follow-up visit at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from harmbench.cohorts.phantom import make_follow_ups
from harmbench.config import Experiment, load_experiment
from harmbench.errors import RunError
from harmbench.executors import Died, LocalExecutor
from harmbench.progress import Display
from harmbench.results import REAL_SCANS
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import keys_of_inputs
from harmbench.runner.volume_fit import covariates_in_key
from harmbench.segmentation import find_contrast
from harmbench.segmentation.stored import segmenter_key
from harmbench.storage import file_key, key_of
from harmbench.study.change_table import (
    ChangeRow,
    change_table_path,
    read_changes,
    write_changes,
)
from harmbench.study.changes import NO_SWITCH
from harmbench.task import Direction
from harmbench.trained.change_work import ChangeStudy, ChangeWork, Kind, Wanted, measure

__all__ = ["measure_changes"]


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
    study = ChangeStudy(
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
        f"{sum(len(one.wanted) for one in work)} follow-up visits to measure, {len(subjects)} subjects"
    )
    executor = LocalExecutor(jobs or experiment.jobs)
    with Display("measure changes", len(work)) as display:
        for one, rows in executor.run(partial(measure, study), work, display):
            if isinstance(rows, Died):
                say(f"{one}: {rows.reason}")
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
    """Return the cells that are fitted, and the subjects that each held out.

    Models are stored; a volume correction is fitted again on the same volumes.
    """
    folder.read_record()
    found = [
        (cell, record.subjects or ())
        for cell, record in folder.cells()
        if cell.method not in REAL_SCANS
        and record.key("fit") is not None
        and (record.maps == "volumes" or folder.cell(cell).model.is_dir())
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
    study: ChangeStudy, cells: Sequence[tuple[Cell, tuple[str, ...]]], known: pd.DataFrame
) -> Iterator[ChangeWork]:
    """Go through what has not been measured, or from other scans or models."""
    have = set(zip(known["method"], known["direction"], known["fold"], known["seed"],
                   known["subject"], known["visit"], known["key"], strict=True))  # fmt: skip
    controls: dict[Cell, tuple[str, ...]] = {}
    for cell, tested in cells:
        stay = Cell(NO_SWITCH, cell.direction, cell.fold, 0)
        controls[stay] = tuple(sorted({*controls.get(stay, ()), *tested}))
    corrections: dict[tuple[Direction, int], list[Wanted]] = {}
    for cell, wanted in _wanted(study, [*controls.items(), *cells]):
        waiting = [one for one in wanted if (*one.named, one.key) not in have]
        if study.corrects(cell):
            # All of a fold correct the same volumes: each visit is segmented once for them.
            corrections.setdefault((cell.direction, cell.fold), []).extend(waiting)
        elif waiting:
            kind: Kind = "stay" if cell.method == NO_SWITCH else "images"
            yield ChangeWork(kind, tuple(waiting))
    yield from (
        ChangeWork("volumes", tuple(waiting)) for waiting in corrections.values() if waiting
    )


def _wanted(
    study: ChangeStudy, cells: Iterable[tuple[Cell, tuple[str, ...]]]
) -> Iterator[tuple[Cell, list[Wanted]]]:
    """Go through cells with the follow-up visits of the subjects that each held out."""
    folder = RunFolder(study.root)
    inputs = folder.input_scans()
    real = keys_of_inputs(inputs)
    covariates = inputs.covariates(study.experiment.data.covariates)
    segmenter = segmenter_key(study.segmenter())
    rescale = study.experiment.data.rescale
    for cell, tested in cells:
        record = folder.cell(cell).read_record()
        fit = None if record is None else record.key("fit")
        way = cell.direction
        corrects = record is not None and record.maps == "volumes"
        scanner = way.target if cell.method == NO_SWITCH else way.source
        wanted = []
        for subject in tested:
            people = covariates_in_key(covariates, subject) if corrects else []
            for visit in sorted({v for s, v in study.follow_ups.true_change if s == subject}):
                scan = study.follow_up(subject, scanner, visit)
                files = [file_key(scan.path), file_key(scan.mask) if scan.mask else ""]
                first = real[subject, way.target]
                key = key_of("change", fit, files, rescale, first, segmenter, *people)
                wanted.append(Wanted(cell, subject, visit, key))
        yield cell, wanted


def _with_rows(known: pd.DataFrame, rows: Sequence[ChangeRow]) -> pd.DataFrame:
    """Add rows in place of older ones of the same measurement."""
    same = ["method", "direction", "fold", "seed", "subject", "visit", "segmenter", "tissue"]
    fresh = pd.DataFrame(rows)
    whole = fresh if known.empty else pd.concat([known, fresh], ignore_index=True)
    return whole.drop_duplicates(same, keep="last", ignore_index=True)
