"""From an experiment to scored cells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from harmbench.bench import Bench
from harmbench.cell import CEILING, abandon_cell, run_cell, segment_inputs
from harmbench.cohorts.base import Cohort, validate
from harmbench.cohorts.data import open_cohort
from harmbench.config import DEFAULT_FOLDS, Experiment, write_experiment
from harmbench.errors import ConfigError, RunError
from harmbench.executors import Died, LocalExecutor
from harmbench.folds import Folds, choose_folds, make_folds
from harmbench.method import Direction, Progress, load_method, make_settings
from harmbench.progress import Display
from harmbench.provenance import now, provenance
from harmbench.results import merge, read_results, write_results
from harmbench.runs import Cell, RunFolder
from harmbench.segmentation import make_segmenter
from harmbench.storage import (
    TEMPORARY_PREFIX,
    atomic,
    file_key,
    key_of,
    read_json,
    why_not_writable,
    write_json,
)

__all__ = [
    "Summary",
    "collect",
    "keys_of_inputs",
    "make_cells",
    "run_cells",
    "run_experiment",
    "segment_real_scans",
    "torch_device",
]

Say = Callable[[str], None]

_LITTER_AGE_S = 3600.0

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
    methods = _check_methods(experiment)
    segmenter = make_segmenter(experiment.scoring.segmenter)
    device = torch_device(experiment.device)
    _check_writable(out)
    with Display("cohort", 1) as display:
        cohort = open_cohort(experiment.data, progress=display, jobs=os.cpu_count() or 1)
    data = experiment.data
    directions = cohort.directions(data.source, data.target, data.direction)
    k = experiment.folds.k or min(DEFAULT_FOLDS, len(cohort.subjects))
    folds = make_folds(cohort.groups, k, experiment.folds.seed)
    numbers = choose_folds(experiment.folds.run, k)
    sessions = sorted({s for way in directions for s in (way.source, way.target)})
    with Display("validate", len(cohort.subjects)) as display:
        files = validate(cohort, sessions, data.rescale, display, workers=os.cpu_count() or 1)
    inputs = _input_table(cohort, sessions, files, data.rescale)
    folder = RunFolder(out)
    _check_same_data(folder, folds, inputs)

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
    _sweep(out)
    invocation = _write_records(folder, bench, cohort, inputs, methods, directions)
    segment_real_scans(bench, directions, numbers)
    failed = run_cells(bench, cells, say)
    collect(folder)
    ended = {"finished": now(), "cells": len(cells), "failed": len(failed)}
    _note_end(folder, invocation, ended)
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


def _check_writable(out: Path) -> None:
    problem = why_not_writable(out)
    if problem:
        raise RunError(f"{out}: {problem}")
    if out.is_dir() and any(out.iterdir()) and not RunFolder(out).record.is_file():
        raise RunError(f"{out}: neither empty nor a run folder; choose another --out")


def _input_table(
    cohort: Cohort, sessions: Sequence[str], files: Mapping[tuple[str, str], str], rescale: str
) -> pd.DataFrame:
    rows = []
    for subject in cohort.subjects:
        for session in sessions:
            scan = cohort.scans[subject, session]
            rows.append(
                {
                    "subject": subject,
                    "group": cohort.groups[subject],
                    "session": session,
                    "path": str(scan.path),
                    "mask": str(scan.mask or ""),
                    "sha256": files[subject, session],
                    "mask_sha256": file_key(scan.mask) if scan.mask else "",
                    "rescale": rescale,
                }
            )
    return pd.DataFrame(rows)


def keys_of_inputs(inputs: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the key of each scan, (subject, session), of a run's table of inputs."""
    return {
        (row["subject"], row["session"]): key_of(row["sha256"], row["mask_sha256"], row["rescale"])
        for row in inputs.to_dict("records")
    }


def _fold_table(folds: Folds, groups: Mapping[str, str]) -> pd.DataFrame:
    rows = [{"subject": s, "group": groups[s], "fold": f} for s, f in folds.assignment.items()]
    return pd.DataFrame(rows)


def _check_same_data(folder: RunFolder, folds: Folds, inputs: pd.DataFrame) -> None:
    """Runs add up only on the same subjects, folds and scans."""
    if not folder.record.is_file():
        return
    before = pd.read_csv(folder.folds, dtype={"subject": str})
    if dict(zip(before["subject"], before["fold"], strict=True)) != dict(folds.assignment):
        raise RunError(
            f"{folder.root} holds a run with other subjects or folds; choose another --out"
        )
    old, new = keys_of_inputs(folder.input_table()), keys_of_inputs(inputs)
    changed = [name for name in new if name in old and old[name] != new[name]]
    if changed:
        names = ", ".join(f"{subject} {session}" for subject, session in changed[:5])
        raise RunError(
            f"{folder.root} holds a run on other scans or another rescaling "
            f"({len(changed)} changed: {names}); choose another --out"
        )


def _write_records(
    folder: RunFolder,
    bench: Bench,
    cohort: Cohort,
    inputs: pd.DataFrame,
    methods: Mapping[str, Any],
    directions: Sequence[Direction],
) -> str:
    """Write what the run is about to do, beside what earlier runs noted; gives its id."""
    experiment = bench.experiment
    invocation = {
        "id": uuid4().hex,
        **provenance(bench.device),
        "config": experiment.model_dump(mode="json"),
    }
    before = read_json(folder.record) or {}
    if before:
        known = folder.input_table()
        inputs = pd.concat([known, inputs]).drop_duplicates(["subject", "session"], keep="last")
    for frame, path in (
        (inputs, folder.inputs),
        (_fold_table(bench.folds, cohort.groups), folder.folds),
    ):
        with atomic(path) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    write_experiment(experiment, folder.config)
    ways = [{"source": way.source, "target": way.target} for way in directions]
    run = {
        "name": experiment.name,
        "cohort": {
            "name": cohort.name,
            "description": cohort.description,
            "simulated": cohort.simulated,
            "citation": cohort.citation,
            "subjects": len(cohort.subjects),
            "preparation": cohort.preparation,
        },
        "directions": [w for w in before.get("directions", []) if w not in ways] + ways,
        "methods": {**before.get("methods", {}), **methods},
        "segmenter": {
            "name": bench.segmenter,
            "version": make_segmenter(bench.segmenter).version,
        },
        "stacking_axis": experiment.scoring.stacking_axis,
        "folds": {"k": bench.folds.k, "seed": bench.folds.seed},
        "invocations": [*before.get("invocations", []), invocation],
    }
    write_json(folder.record, run)
    return str(invocation["id"])


def _note_end(folder: RunFolder, invocation: str, ended: Mapping[str, Any]) -> None:
    """Note in `run.json` how a run ended; other runs may have written there since it began."""
    run = folder.read_record()
    for entry in run["invocations"]:
        if entry.get("id") == invocation:
            entry.update(ended)
    write_json(folder.record, run)


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


def _sweep(out: Path) -> None:
    """Remove what a killed run left half-written; young files may be another run's, at work."""
    if out.is_dir():
        for path in out.rglob(f"{TEMPORARY_PREFIX}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LITTER_AGE_S:
                    path.unlink()
