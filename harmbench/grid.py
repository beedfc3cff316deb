"""From an experiment to scored cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from harmbench.bench import Bench
from harmbench.bookkeeping import (
    check_file_names,
    check_same_data,
    check_writable,
    input_table,
    keys_of_inputs,
    note_end,
    note_old_keys,
    write_records,
)
from harmbench.cell import CEILING, abandon_cell, run_cell, segment_inputs
from harmbench.cell_scores import CellScores
from harmbench.cohorts.base import validate
from harmbench.cohorts.data import open_cohort
from harmbench.config import DEFAULT_FOLDS, Experiment, with_absolute_paths
from harmbench.errors import ConfigError, RunError
from harmbench.executors import Died, LocalExecutor
from harmbench.folds import choose_folds, make_folds
from harmbench.guard import method_call
from harmbench.leftovers import sweep
from harmbench.method import Direction, Method, Progress, load_method, make_settings
from harmbench.notes import summarize
from harmbench.places import why_not_apart
from harmbench.progress import Display
from harmbench.provenance import now
from harmbench.results import merge, write_results
from harmbench.runs import Cell, RunFolder
from harmbench.segmentation import make_segmenter

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


def run_experiment(experiment: Experiment, out: Path, say: Say = print) -> Summary:
    """Run every cell of an experiment that is not current, and bring the results together.

    Everything is checked before any work starts and before anything is written: methods and their
    settings, folds, the segmenter, the device, and every scan.

    Args:
        experiment: what to run.
        out: the run folder; an earlier run on the same scans and folds is added to.
        say: told what happens.

    Raises:
        HarmbenchError: something is not usable; nothing was written.
    """
    # A method may change the working directory: paths are absolute from here on.
    root, experiment = out.absolute(), with_absolute_paths(experiment)
    methods = _check_methods(experiment)
    segmenter = make_segmenter(experiment.scoring.segmenter)
    device = torch_device(experiment.device)
    check_writable(out)
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
    )
    subjects = len(cohort.subjects)
    say(f"{len(cells)} cells on {device}: {subjects} subjects, {k} folds")
    say(f"segmenter: {segmenter.name} ({segmenter.version})")
    for line in summarize(notes):
        say(f"note: {line}")
    old = note_old_keys(folder, cells)
    if old:
        say(old)
    sweep(root)
    invocation = write_records(folder, bench, cohort, inputs, methods, directions, notes)
    bench = replace(bench, invocation=invocation)
    segment_real_scans(bench, directions, numbers)
    failed = run_cells(bench, cells, say)
    collect(folder)
    for problem in damaged_scores(folder):
        say(problem)
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
    say: Say,
    work: Callable[[Bench, Cell, Progress], dict[str, Any]] = run_cell,
) -> dict[str, str]:
    """Work on cells, as many at a time as the experiment says; return why those that failed did."""
    failed: dict[str, str] = {}
    executor = LocalExecutor[Cell, dict[str, Any]](bench.experiment.jobs)

    def line(cell: Cell, result: dict[str, Any] | Died) -> str:
        if isinstance(result, Died):
            return f"{cell}: failed, {result.reason}"
        seconds = sum(stage["wall_s"] for stage in result["stages"].values())
        if result["status"] == "ok":
            return f"{cell}: ok ({seconds:.0f} s)"
        return f"{cell}: failed, {result['error']}"

    with Display("cells", len(cells)) as display:
        for cell, result in executor.run(partial(work, bench), cells, display, line):
            if isinstance(result, Died):
                result = abandon_cell(bench, cell, result.reason)  # noqa: PLW2901
            if result["status"] != "ok":
                failed[str(cell)] = result["error"]
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
    return failed
