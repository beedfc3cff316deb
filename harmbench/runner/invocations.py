"""What a run writes about itself: as it begins, when its plan changes, and as it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.pairing import rescans
from harmbench.config import Experiment, write_experiment
from harmbench.errors import DamagedRecordError, RunError
from harmbench.notes import Note
from harmbench.planning.plan import Plan
from harmbench.runner.context import RunContext
from harmbench.runner.fold_table import fold_rows, read_fold_rows, write_fold_rows
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import write_inputs
from harmbench.runner.provenance import now, provenance
from harmbench.runner.run_record import (
    CohortRecord,
    FoldsRecord,
    Invocation,
    MethodRecord,
    RescansRecord,
    RunRecord,
    SegmenterRecord,
    SplitRecord,
)
from harmbench.task import Direction

__all__ = [
    "begin_rescore",
    "begin_run",
    "end_invocation",
    "new_invocation",
    "read_plan",
    "write_plan",
]


def new_invocation(device: str, experiment: Experiment) -> Invocation:
    """Return an entry of `run.json`: what is about to run, and with what."""
    return provenance(device).model_copy(
        update={"id": uuid4().hex, "config": experiment.model_dump(mode="json")}
    )


def begin_run(
    context: RunContext,
    invocation: Invocation,
    cohort: Cohort,
    methods: Mapping[str, MethodRecord],
    directions: Sequence[Direction],
    notes: Sequence[Note] = (),
    split_words: Sequence[str] = (),
) -> None:
    """Write what a run is about to do, beside what earlier runs in the folder wrote.

    Args:
        context: what the cells share.
        invocation: the entry of this run.
        cohort: the subjects and scans that take part.
        methods: what is kept of each method.
        directions: to run.
        notes: on the scans.
        split_words: what is particular about folds and pairs.
    """
    folder, inputs = context.folder, context.inputs
    if folder.record.is_file():
        inputs = folder.input_scans().and_later(inputs)
    write_inputs(inputs, folder.inputs)
    _write_folds(context)
    write_experiment(context.experiment, folder.config)

    def begin(run: RunRecord) -> RunRecord:
        others = [way for way in run.directions if way not in directions]
        return run.model_copy(
            update={
                "name": context.experiment.name,
                "cohort": _cohort_record(cohort),
                "directions": (*others, *directions),
                "methods": {**run.methods, **methods},
                "segmenter": _segmenter_record(context),
                "stacking_axis": context.experiment.scoring.stacking_axis,
                "folds": FoldsRecord(k=context.folds.k, seed=context.folds.seed),
                **_particulars(context, cohort, run, split_words),
                "notes": tuple(sorted({*run.notes, *notes})),
                "invocations": (*run.invocations, invocation),
            }
        )

    folder.update_record(begin)


def begin_rescore(context: RunContext, invocation: Invocation) -> None:
    """Write what a rescoring is about to do."""
    write_experiment(context.experiment, context.folder.config)

    def begin(run: RunRecord) -> RunRecord:
        return run.model_copy(
            update={
                "segmenter": _segmenter_record(context),
                "stacking_axis": context.experiment.scoring.stacking_axis,
                "invocations": (*run.invocations, invocation),
            }
        )

    context.folder.update_record(begin)


def end_invocation(
    folder: RunFolder, invocation: str, *, cells: int, failed: int, incomplete: int
) -> None:
    """Note in `run.json` how a run or a rescoring ended: how many cells, and how they ended."""
    ended = {"finished": now(), "cells": cells, "failed": failed, "incomplete": incomplete}
    folder.update_record(lambda run: run.with_invocation(invocation, ended))


def read_plan(out: Path) -> Plan | None:
    """Return the plan that a run folder records, `None` where it records none.

    Raises:
        RunError: the record is damaged.
    """
    folder = RunFolder(out)
    try:
        return folder.read_record().plan if folder.record.is_file() else None
    except DamagedRecordError as error:
        raise RunError(f"{error}; choose another --out") from error


def write_plan(context: RunContext, plan: Plan, methods: Mapping[str, MethodRecord]) -> None:
    """Record a plan, and what follows from it: the settings of the run and of its methods."""
    write_experiment(context.experiment, context.folder.config)
    config = {"config": context.experiment.model_dump(mode="json")}

    def note(run: RunRecord) -> RunRecord:
        changed = run.with_invocation(context.invocation, config)
        return changed.model_copy(update={"plan": plan, "methods": {**run.methods, **methods}})

    context.folder.update_record(note)


def _write_folds(context: RunContext) -> None:
    path, groups = context.folder.folds, dict(context.groups)
    rows = fold_rows(context.folds, context.own_folds)
    if context.folder.record.is_file():
        known, before = read_fold_rows(path)
        rows, groups = {**known, **rows}, {**before, **groups}
    write_fold_rows(rows, groups, path)


def _particulars(
    context: RunContext, cohort: Cohort, run: RunRecord, words: Sequence[str]
) -> dict[str, object]:
    """Return what only runs have whose pairs are not simply one for each subject."""
    found: dict[str, object] = {}
    if words:
        said = tuple(dict.fromkeys((*run.split.words, *words)))
        found["split"] = SplitRecord(choice=context.experiment.split, words=said)
    again = {
        (own.subject, own.scanner): RescansRecord(
            subject=own.subject,
            scanner=own.scanner,
            sessions=tuple(scan.session for scan in own.scans),
        )
        for scanner in cohort.scanners
        for own in rescans(cohort, scanner)
    }
    if again:
        known = {(own.subject, own.scanner): own for own in run.rescans}
        found["rescans"] = tuple({**known, **again}.values())
    return found


def _cohort_record(cohort: Cohort) -> CohortRecord:
    return CohortRecord(
        name=cohort.name,
        description=cohort.description,
        simulated=cohort.simulated,
        citation=cohort.citation,
        subjects=len(cohort.subjects),
        preparation=cohort.preparation,
    )


def _segmenter_record(context: RunContext) -> SegmenterRecord:
    version = context.make_segmenter().version
    return SegmenterRecord(name=context.segmenter, version=version, contrast=context.contrast)
