"""From an experiment to scored cells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from harmbench.bench import Bench
from harmbench.bookkeeping import (
    check_same_data,
    check_writable,
    input_table,
    keys_of_inputs,
    note_end,
    sweep,
    write_records,
)
from harmbench.cell import CEILING, abandon_cell, run_cell, segment_inputs
from harmbench.cohorts.base import validate
from harmbench.cohorts.data import open_cohort
from harmbench.config import DEFAULT_FOLDS, Experiment
from harmbench.errors import ConfigError
from harmbench.executors import Died, LocalExecutor
from harmbench.folds import choose_folds, make_folds
from harmbench.method import Direction, Progress, load_method, make_settings
from harmbench.notes import summarize
from harmbench.planning import Course, fit_to_machine, read_plan, write_plan
from harmbench.progress import Display, Remaining
from harmbench.provenance import now
from harmbench.results import merge, read_results, write_results
from harmbench.runs import Cell, RunFolder
from harmbench.segmentation import make_segmenter

__all__ = [
    "Summary",
    "collect",
    "make_cells",
    "run_cells",
    "run_experiment",
    "segment_real_scans",
    "torch_device",
]

Say = Callable[[str], None]

_GPU_BATCH = 4
"""Scans that a GPU segments at once: some 0.7 GB each at 1 mm."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        out: the run folder.
        cells: number of cells that were asked for.
        failed: cells that failed, each with its reason.
    """

    out: Path
    cells: int
    failed: Mapping[str, str]


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
    segmenter = make_segmenter(experiment.scoring.segmenter)
    for line in plan.said:
        say(line)
    with Display("cohort", 1) as display:
        cohort = open_cohort(experiment.data, progress=display, jobs=os.cpu_count() or 1)
    data = experiment.data
    directions = cohort.directions(data.source, data.target, data.direction)
    k = experiment.folds.k or min(DEFAULT_FOLDS, len(cohort.subjects))
    folds = make_folds(cohort.groups, k, experiment.folds.seed)
    numbers = choose_folds(experiment.folds.run, k)
    sessions = sorted({s for way in directions for s in (way.source, way.target)})
    with Display("validate", len(cohort.subjects)) as display:
        checked = validate(cohort, sessions, data.rescale, display, workers=os.cpu_count() or 1)
    inputs = input_table(cohort, sessions, checked.keys, data.rescale)
    notes = (*cohort.notes, *checked.notes)
    folder = RunFolder(out)
    check_same_data(folder, folds, inputs)

    cells = make_cells(experiment, directions, numbers)
    bench = Bench(
        root=out,
        experiment=experiment,
        folds=folds,
        groups=dict(cohort.groups),
        input_keys=keys_of_inputs(inputs),
        segmenter=segmenter.name,
        device=device,
    )
    subjects = len(cohort.subjects)
    say(f"{len(cells)} cells on {device}: {subjects} subjects, {k} folds")
    say(f"segmenter: {segmenter.name} ({segmenter.version})")
    for line in summarize(notes):
        say(f"note: {line}")
    sweep(out)
    invocation = write_records(folder, bench, cohort, inputs, methods, directions, notes)
    write_plan(folder, plan, experiment, methods)
    segment_real_scans(bench, directions, numbers)
    course = Course(plan, budget_s, say, partial(run_cells, say=say), _check_methods, started)
    failed = course.follow(bench, cells)
    collect(folder)
    ended = {"finished": now(), "cells": len(cells), "failed": len(failed)}
    note_end(folder, invocation, ended)
    return Summary(out, len(cells), failed)


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
    paths = [folder.cell(cell).scores for cell, _ in folder.cells()]
    results = merge([read_results(path) for path in paths if path.is_file()])
    write_results(results, folder.results)
    return results


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
            "parameters": dict(kind(settings).parameter_counts()),
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


def torch_device(name: str) -> str:
    """Return the device that `name` (`auto`, `cpu`, `cuda`, ...) stands for on this machine."""
    # torch takes seconds to import: only a run pays for it.
    from harmbench.training import resolve_device

    return str(resolve_device(name))


def segment_real_scans(bench: Bench, directions: Sequence[Direction], folds: Sequence[int]) -> None:
    """Segment the test subjects' real scans, once for all methods and directions."""
    sessions = sorted({s for way in directions for s in (way.source, way.target)})
    items = [(s, session) for fold in folds for s in bench.folds.test(fold) for session in sessions]
    size = 1 if bench.device == "cpu" else _GPU_BATCH
    batches = [tuple(items[first : first + size]) for first in range(0, len(items), size)]
    with Display("segment real scans", len(batches)) as display:
        executor = LocalExecutor[tuple[tuple[str, str], ...], None](bench.experiment.jobs)
        # A scan that cannot be segmented shows up in the rows of its cells.
        for _ in executor.run(partial(segment_inputs, bench), batches, display):
            pass


def run_cells(
    bench: Bench,
    cells: Sequence[Cell],
    expected: Mapping[str, float] = {},
    beyond_s: float = 0.0,
    *,
    say: Say,
    work: Callable[[Bench, Cell, Progress], dict[str, Any]] = run_cell,
) -> dict[str, str]:
    """Work on cells, as many at a time as the experiment says; return why those that failed did.

    Args:
        bench: what the cells share.
        cells: which to run.
        expected: seconds that a cell is expected to take, by its name, for the time left.
        beyond_s: seconds that the run takes after these cells.
        say: told of failures.
        work: what to do with a cell.
    """
    failed: dict[str, str] = {}
    executor = LocalExecutor[Cell, dict[str, Any]](bench.experiment.jobs)

    def line(cell: Cell, result: dict[str, Any] | Died) -> str:
        if isinstance(result, Died):
            return f"{cell}: failed, {result.reason}"
        seconds = sum(stage["wall_s"] for stage in result["stages"].values())
        if result["status"] == "ok":
            return f"{cell}: ok ({seconds:.0f} s)"
        return f"{cell}: failed, {result['error']}"

    left = Remaining(expected, bench.experiment.jobs, beyond_s) if expected else None
    with Display("cells", len(cells), left=left) as display:
        for cell, result in executor.run(partial(work, bench), cells, display, line):
            if isinstance(result, Died):
                result = abandon_cell(bench, cell, result.reason)  # noqa: PLW2901
            if result["status"] != "ok":
                failed[str(cell)] = result["error"]
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
    return failed
