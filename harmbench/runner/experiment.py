"""From an experiment to scored cells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from harmbench.cohorts.data import open_cohort
from harmbench.cohorts.validation import validate
from harmbench.config import DEFAULT_FOLDS, Experiment, with_absolute_paths
from harmbench.discovery import load_method, make_settings
from harmbench.errors import ConfigError, RunError
from harmbench.executors import Died, LocalExecutor
from harmbench.files.places import why_not_apart
from harmbench.folds import choose_folds, make_folds
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.notes import Note, summarize
from harmbench.planning import Course, fit_to_machine, read_plan, write_plan
from harmbench.progress import Display, Remaining
from harmbench.results import merge, write_results
from harmbench.runner.cell import CEILING, NO_SCORES, abandon_cell, run_cell, segment_inputs
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import Bench
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.leftovers import sweep
from harmbench.runner.provenance import now
from harmbench.runner.records import (
    check_file_names,
    check_same_data,
    check_writable,
    input_table,
    keys_of_inputs,
    note_end,
    note_old_keys,
    write_records,
)
from harmbench.segmentation import find_contrast, make_segmenter
from harmbench.task import Direction, Progress

__all__ = [
    "Summary",
    "collect",
    "damaged_scores",
    "make_cells",
    "run_cells",
    "run_experiment",
    "segment_real_scans",
    "torch_device",
]

Say = Callable[[str], None]

_REASONS_SHOWN = 3

_GPU_BATCH = 4
"""Scans that a GPU segments at once: some 0.7 GB each at 1 mm."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        out: the run folder.
        cells: number of cells that were asked for.
        failed: cells that failed, each with its reason.
        incomplete: cells with volumes that have no scores of tissues, each with the reason.
    """

    out: Path
    cells: int
    failed: Mapping[str, str]
    incomplete: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every score that was asked for is there."""
        return not self.failed and not self.incomplete


def run_experiment(
    experiment: Experiment,
    out: Path,
    say: Say = print,
    *,
    configured: bool = True,
    budget_s: float | None = None,
) -> Summary:
    """Run every cell of an experiment that is not current, and bring the results together.

    Everything is checked before any work starts and before anything is written: methods and their
    settings, folds, the segmenter, the device, and every scan.

    Args:
        experiment: what to run.
        out: the run folder; an earlier run on the same scans and folds is added to.
        say: told what happens.
        configured: whether settings that the experiment does not give are the defaults; otherwise
            they are chosen to fit the machine, or as an earlier run in the folder chose them.
        budget_s: seconds that the run may take; trainings are sized to it.

    Raises:
        HarmbenchError: something is not usable; nothing was written.
    """
    started = time.monotonic()
    # A method may change the working directory: paths are absolute from here on.
    root, experiment = out.absolute(), with_absolute_paths(experiment)
    device = torch_device(experiment.device)
    check_writable(out)
    experiment, plan = fit_to_machine(
        experiment,
        configured=configured,
        on_gpu=device != "cpu",
        budget_s=budget_s,
        before=read_plan(out),
    )
    methods = _check_methods(experiment)
    make_segmenter(experiment.scoring.segmenter)
    for line in plan.lines:
        say(line)
    with Display("cohort", 1) as display:
        cohort = open_cohort(experiment.data, progress=display, jobs=os.cpu_count() or 1)
    problem = why_not_apart(out, [scan.path for scan in cohort.scans.values()])
    if problem:
        raise RunError(f"{out}: {problem}")
    data = experiment.data
    directions = cohort.directions(data.source, data.target, data.direction)
    k = experiment.folds.k or min(DEFAULT_FOLDS, len(cohort.subjects))
    folds = make_folds(cohort.groups, k, experiment.folds.seed)
    numbers = choose_folds(experiment.folds.run, k)
    sessions = sorted({s for way in directions for s in (way.source, way.target)})
    scans = [scan.path for scan in cohort.scans.values() if scan.session in sessions]
    contrast = find_contrast(scans, experiment.scoring.contrast)
    segmenter = make_segmenter(experiment.scoring.segmenter, contrast=contrast)
    with Display("validate", len(cohort.subjects)) as display:
        checked = validate(cohort, sessions, data.rescale, display, workers=os.cpu_count() or 1)
    inputs = input_table(cohort, sessions, checked.keys, data.rescale)
    notes = (*cohort.notes, *checked.notes)
    folder = RunFolder(root)
    check_same_data(folder, folds, inputs)
    check_file_names(folder, [*methods, CEILING], directions, cohort)

    cells = make_cells(experiment, directions, numbers)
    bench = Bench(
        root=root,
        experiment=experiment,
        folds=folds,
        groups=dict(cohort.groups),
        input_keys=keys_of_inputs(inputs),
        segmenter=segmenter.name,
        device=device,
        contrast=contrast,
    )
    subjects = len(cohort.subjects)
    say(f"{len(cells)} cells on {device}: {subjects} subjects, {k} folds")
    say(f"segmenter: {segmenter.name} ({segmenter.version}), {contrast}")
    for line in summarize(notes):
        say(f"note: {line}")
    old = note_old_keys(folder, cells)
    if old:
        say(old)
    sweep(root)
    invocation = write_records(folder, bench, cohort, inputs, methods, directions, notes)
    bench = replace(bench, invocation=invocation)
    write_plan(bench, plan, methods)
    segment_real_scans(bench, directions, numbers, say)
    course = Course(plan, budget_s, say, partial(run_cells, say=say), _check_methods, started)
    failed, incomplete = course.follow(bench, cells)
    collect(folder)
    for problem in damaged_scores(folder):
        say(problem)
    counts = {"cells": len(cells), "failed": len(failed), "incomplete": len(incomplete)}
    note_end(folder, invocation, {"finished": now(), **counts})
    return Summary(out, len(cells), failed, incomplete)


def make_cells(
    experiment: Experiment, directions: Sequence[Direction], folds: Sequence[int]
) -> list[Cell]:
    """List the cells of an experiment, controls first."""
    labels = [CEILING] if experiment.ceiling else []
    labels += experiment.all_methods()
    return [
        Cell(label, direction, fold, seed)
        for label in labels
        for direction in directions
        for fold in folds
        for seed in experiment.seeds
    ]


def collect(folder: RunFolder) -> pd.DataFrame:
    """Bring the scores of all cells of a run folder together in `results.csv`."""
    results = merge([scores.trusted() for _, _, scores in _cell_scores(folder)])
    write_results(results, folder.results)
    return results


def damaged_scores(folder: RunFolder) -> list[str]:
    """Say of which finished cells of a run folder rows are cut, damaged or not there."""
    found = []
    for cell, record, scores in _cell_scores(folder):
        lost = [s for s in record.get("subjects", []) if not scores.is_whole(s)]
        if lost and record.get("status") in {"ok", "failed"}:
            found.append(
                f"{cell}: rows of {', '.join(lost)} are missing or damaged in its scores.csv; run the "
                "cell again, or rescore it"
            )
    return found


def _cell_scores(folder: RunFolder) -> Iterator[tuple[Cell, dict[str, Any], CellScores]]:
    for cell, record in folder.cells():
        checksums = dict(record.get("checksums", {}))
        yield cell, record, CellScores(folder.cell(cell).scores, checksums)


def _check_methods(experiment: Experiment) -> dict[str, dict[str, Any]]:
    described = {}
    for label, (uses, values) in experiment.all_methods().items():
        if label == CEILING:
            raise ConfigError(f"methods.{label}: the name is taken by the ceiling control")
        kind = load_method(uses)
        settings = make_settings(kind, values, label)
        described[label] = {
            "uses": uses,
            # A label of the user's own tells two variants of one method apart.
            "title": kind.title if label == uses.rpartition(":")[2] and kind.title else label,
            "reference": kind.reference,
            "settings": settings.model_dump(mode="json"),
            "parameters": _parameter_counts(kind, settings, label),
        }
    if experiment.ceiling:
        described[CEILING] = {
            "uses": CEILING,
            "title": "Target (ceiling)",
            "reference": "the reference scored against itself",
            "settings": {},
            "parameters": {},
        }
    return described


def _parameter_counts(kind: type[Method], settings: BaseModel, label: str) -> dict[str, int]:
    with method_call(f"methods.{label}"):
        return dict(kind(settings).parameter_counts())


def torch_device(name: str) -> str:
    """Return the device that `name` (`auto`, `cpu`, `cuda`, ...) stands for on this machine."""
    # torch takes seconds to import: only a run pays for it.
    from harmbench.training import resolve_device

    return str(resolve_device(name))


def segment_real_scans(
    bench: Bench, directions: Sequence[Direction], folds: Sequence[int], say: Say
) -> None:
    """Segment the test subjects' real scans, once for all methods and directions.

    A scan that has no labels shows in the rows of every cell; why is said here, once.
    """
    sessions = sorted({s for way in directions for s in (way.source, way.target)})
    items = [(s, session) for fold in folds for s in bench.folds.test(fold) for session in sessions]
    size = 1 if bench.device == "cpu" else _GPU_BATCH
    batches = [tuple(items[first : first + size]) for first in range(0, len(items), size)]
    with Display("segment real scans", len(batches)) as display:
        executor = LocalExecutor[tuple[tuple[str, str], ...], list[Note]](bench.experiment.jobs)
        notes: list[Note] = []
        for batch, found in executor.run(partial(segment_inputs, bench), batches, display):
            if isinstance(found, Died):
                places = [f"subject {subject}, session {session}" for subject, session in batch]
                found = [Note(NO_SCORES, found.reason, where) for where in places]  # noqa: PLW2901
            notes += found
    for line in summarize(notes):
        say(line)


def run_cells(
    bench: Bench,
    cells: Sequence[Cell],
    say: Say,
    work: Callable[[Bench, Cell, Progress], dict[str, Any]] = run_cell,
    *,
    left: Remaining | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Work on cells, as many at a time as the experiment says; `left` knows the whole run's time.

    Returns:
        Why those cells failed that did, and why those are incomplete that are.
    """
    failed: dict[str, str] = {}
    incomplete: dict[str, str] = {}
    executor = LocalExecutor[Cell, dict[str, Any]](bench.experiment.jobs)

    def line(cell: Cell, result: dict[str, Any] | Died) -> str:
        if isinstance(result, Died):
            return f"{cell}: failed, {result.reason}"
        seconds = sum(stage["wall_s"] for stage in result["stages"].values())
        if result["status"] == "ok":
            return f"{cell}: ok ({seconds:.0f} s)"
        if result["status"] == "incomplete":
            return f"{cell}: incomplete, {_why_incomplete(result)} ({seconds:.0f} s)"
        return f"{cell}: failed, {result['error']}"

    with Display("cells", len(cells), left=left) as display:
        for cell, result in executor.run(partial(work, bench), cells, display, line):
            if isinstance(result, Died):
                result = abandon_cell(bench, cell, result.reason)  # noqa: PLW2901
            if result["status"] == "incomplete":
                incomplete[str(cell)] = _why_incomplete(result)
            elif result["status"] != "ok":
                failed[str(cell)] = result["error"]
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
    for name, reason in incomplete.items():
        say(f"incomplete: {name}: {reason}")
    return failed, incomplete


def _why_incomplete(record: Mapping[str, Any]) -> str:
    """Say which subjects of a cell have no scores of tissues; why references have none is known."""
    missing: Mapping[str, Mapping[str, Any]] = record["unsegmented"]
    again = "" if all(one["lasting"] for one in missing.values()) else "; run it again"
    references = sum(one["what"] == "reference" for one in missing.values())
    told = [f"{references} for want of the reference's labels"] if references else []
    told += [
        f"subject {subject}: {one['reason']}"
        for subject, one in missing.items()
        if one["what"] != "reference"
    ]
    shown = "; ".join(told[:_REASONS_SHOWN])
    more = f"; {len(told) - _REASONS_SHOWN} more" if len(told) > _REASONS_SHOWN else ""
    subjects = "1 subject" if len(missing) == 1 else f"{len(missing)} subjects"
    return f"no scores of tissues for {subjects} ({shown}{more}){again}"
