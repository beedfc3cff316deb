"""What a run writes about itself: as it begins, when its plan changes, and as it ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.pairing import rescans
from harmbench.config import Experiment, experiment_text
from harmbench.errors import DamagedRecordError
from harmbench.notes import Note
from harmbench.planning.plan import Plan
from harmbench.runner.checks import check_same_data
from harmbench.runner.context import RunContext
from harmbench.runner.fold_table import fold_rows, folds_text, read_fold_rows
from harmbench.runner.folder import RunFolder
from harmbench.runner.inputs import inputs_text
from harmbench.runner.invocation_files import add_invocation, change_invocation, damaged_records
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
from harmbench.runner.tables import REMADE_FROM, damaged_tables, text_sums, write_tables
from harmbench.task import Direction

__all__ = [
    "begin_rescore",
    "begin_run",
    "end_invocation",
    "new_invocation",
    "note_tables",
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
) -> list[str]:
    """Write what a run is about to do, beside what earlier runs in the folder wrote.

    Args:
        context: what the cells share.
        invocation: the entry of this run.
        cohort: the subjects and scans that take part.
        methods: what is kept of each method.
        directions: to run.
        notes, split_words: on the scans, and what is particular about folds and pairs.

    Returns:
        Which records and tables of the folder were damaged, and what they are made again from.

    Raises:
        RunError: another run, which began meanwhile, is on other data.
    """
    folder = context.folder
    with folder.locked():
        check_same_data(context)
        damaged = damaged_tables(folder)
        said = damaged_records(folder.root, mend=True)
        said += [
            f"{folder.root / name}: {why}; it is made again from {REMADE_FROM[name]}"
            for name, why in damaged.items()
        ]
        texts = {
            folder.inputs.name: _inputs_text(context, damaged),
            folder.folds.name: _folds_text(context, damaged),
            folder.config.name: experiment_text(context.experiment),
        }
        added = RunRecord(
            name=context.experiment.name,
            cohort=_cohort_record(cohort),
            directions=tuple(directions),
            methods=dict(methods),
            segmenter=_segmenter_record(context),
            stacking_axis=context.experiment.scoring.stacking_axis,
            folds=FoldsRecord(k=context.folds.k, seed=context.folds.seed),
            notes=tuple(notes),
            invocations=(invocation,),
            tables=text_sums(texts),
        ).model_copy(update=_particulars(context, cohort, split_words))
        # A folder is a run's once there is a record: a start that is killed before leaves only tables.
        # In a run's folder the sums come first, so that a start that is killed leaves no unknown table.
        first = not folder.is_run
        if first:
            write_tables(folder, texts)
        add_invocation(folder.root, invocation.id, added)
        if not first:
            write_tables(folder, texts)
    return said


def begin_rescore(context: RunContext, invocation: Invocation) -> None:
    """Write what a rescoring is about to do."""
    folder = context.folder
    texts = {folder.config.name: experiment_text(context.experiment)}
    added = RunRecord(
        segmenter=_segmenter_record(context),
        stacking_axis=context.experiment.scoring.stacking_axis,
        invocations=(invocation,),
        tables=text_sums(texts),
    )
    with folder.locked():
        add_invocation(folder.root, invocation.id, added)
        write_tables(folder, texts)


def note_tables(folder: RunFolder, invocation: str, tables: Mapping[str, str | bytes]) -> None:
    """Record the sums of tables that are about to be written: name to content."""

    def note(own: RunRecord) -> RunRecord:
        return own.and_later(RunRecord(tables=text_sums(tables)))

    change_invocation(folder.root, invocation, note)


def end_invocation(
    folder: RunFolder,
    invocation: str,
    *,
    cells: int,
    failed: int,
    incomplete: int,
) -> None:
    """Note how a run or a rescoring ended: how many cells, and how they ended.

    Args:
        folder: of the run.
        invocation: its id.
        cells, failed, incomplete: numbers of cells.
    """
    ended = {"finished": now(), "cells": cells, "failed": failed, "incomplete": incomplete}

    def note(own: RunRecord) -> RunRecord:
        return own.with_invocation(invocation, ended)

    change_invocation(folder.root, invocation, note)


def read_plan(out: Path) -> Plan | None:
    """Return the plan that a run folder records, `None` where it records none, or the record is damaged."""
    folder = RunFolder(out)
    try:
        return folder.read_record().plan if folder.is_run else None
    except DamagedRecordError:
        return None


def write_plan(context: RunContext, plan: Plan, methods: Mapping[str, MethodRecord]) -> None:
    """Record a plan, and what follows from it: the settings of the run and of its methods."""
    folder = context.folder
    texts = {folder.config.name: experiment_text(context.experiment)}
    config = {"config": context.experiment.model_dump(mode="json")}

    def note(own: RunRecord) -> RunRecord:
        more = RunRecord(plan=plan, methods=dict(methods), tables=text_sums(texts))
        return own.and_later(more).with_invocation(context.invocation, config)

    with folder.locked():
        change_invocation(folder.root, context.invocation, note)
        write_tables(folder, texts)


def _inputs_text(context: RunContext, damaged: Collection[str]) -> str:
    folder, inputs = context.folder, context.inputs
    if folder.is_run and folder.inputs.name not in damaged:
        inputs = folder.input_scans().and_later(inputs)
    return inputs_text(inputs)


def _folds_text(context: RunContext, damaged: Collection[str]) -> str:
    folder, groups = context.folder, dict(context.groups)
    rows = fold_rows(context.folds, context.own_folds)
    if folder.is_run and folder.folds.name not in damaged:
        known, before = read_fold_rows(folder.folds)
        rows, groups = {**known, **rows}, {**before, **groups}
    return folds_text(rows, groups)


def _particulars(context: RunContext, cohort: Cohort, words: Sequence[str]) -> dict[str, object]:
    """Return what only runs have whose pairs are not simply one for each subject."""
    found: dict[str, object] = {}
    if words:
        found["split"] = SplitRecord(choice=context.experiment.split, words=tuple(words))
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
        found["rescans"] = tuple(again.values())
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
