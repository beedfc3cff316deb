"""What a run asks of its folder before it writes anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harmbench.code_keys import KEY_SCHEME
from harmbench.errors import DamagedRecordError, HarmbenchError, RunError
from harmbench.files.names import check_names, file_label
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.context import RunContext
from harmbench.runner.fold_table import FoldRows, fold_rows, read_fold_rows
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans, inputs_text, keys_of_inputs, read_inputs
from harmbench.runner.leftovers import foreign_file
from harmbench.runner.run_record import RunRecord
from harmbench.runner.tables import damaged_tables, text_sums
from harmbench.storage import why_not_writable

__all__ = ["check_file_names", "check_same_data", "check_writable", "old_keys_line"]

_NAMES_SHOWN = 5


def check_writable(out: Path) -> None:
    """Raise `RunError` unless `out` can be written to and is new, a run folder, or a killed run's."""
    problem = why_not_writable(out)
    if problem:
        raise RunError(f"{out}: {problem}")
    if out.is_dir() and not RunFolder(out).is_run:
        foreign = foreign_file(out)
        if foreign is not None:
            raise RunError(
                f"{out}: neither empty nor a run folder, {foreign} is none of harmbench's; "
                "choose another --out"
            )


def check_file_names(context: RunContext, methods: Iterable[str]) -> None:
    """Raise `RunError` where two names of a run would become one file, or a name cannot be one."""
    folder = context.folder
    before = _record_of(folder)
    labels = dict.fromkeys([*(before.methods if before else ()), *methods])
    check_names("method", {label: file_label(label) for label in labels})
    names = list(context.inputs.scans)
    directions = dict.fromkeys(way for way, _ in context.splits)
    check_names(
        "session", {session: file_label(session) for session in sorted({s for _, s in names})}
    )
    check_names("direction", {f"{w.source} to {w.target}": file_label(str(w)) for w in directions})
    check_names("subject", {subject: file_label(subject) for subject, _ in names})
    scans = {
        f"{subject}, session {session}": f"{file_label(subject)}_{file_label(session)}"
        for subject, session in names
    }
    check_names("scan", scans)
    for direction in directions:
        tested = [p for (way, _), s in context.splits.items() if way == direction for p in s.test]
        visits = {f"{p.subject}, visit {p.visit}": file_label(p.name) for p in tested}
        check_names("visit", visits)


def check_same_data(context: RunContext) -> None:
    """Raise `RunError` where the folder holds a run that this one does not add up with.

    That is one on other subjects, folds or scans, or one that chose training and test pairs
    otherwise. A table that is not as it was written is compared all the same, as far as it can be read:
    a program may have saved it anew. What is damaged in it is told by the records of the run.
    """
    folder = context.folder
    if not folder.is_run and not any(folder.all_cells()):
        return
    damaged, record = damaged_tables(folder), _record_of(folder)
    if folder.folds.name in damaged:
        _check_damaged_folds(context, record)
    else:
        _check_folds(context)
    if record is not None:
        earlier, choice = record.split.choice, context.experiment.split
        if earlier != choice:
            said = " ".join(earlier.words()) or "Training and test pairs were chosen as usual."
            raise RunError(
                f"{folder.root} holds a run with other training and test pairs ({said}); choose "
                "another --out"
            )
    if folder.inputs.name in damaged:
        _check_damaged_scans(context, record)
    else:
        _check_scans(context, folder.input_scans())


def _record_of(folder: RunFolder) -> RunRecord | None:
    """Return the record of a run folder; `None` where there is none, or it is damaged."""
    try:
        return folder.read_record() if folder.is_run else None
    except DamagedRecordError:
        return None


def _check_folds(context: RunContext) -> None:
    folder = context.folder
    known, _ = read_fold_rows(folder.folds)
    now = fold_rows(context.folds, context.own_folds)
    # Directions of other runs in the folder, and new ones, have folds of their own where they must.
    shared = {way for way, _ in known} & {way for way, _ in now}
    before, after = ({k: f for k, f in rows.items() if k[0] in shared} for rows in (known, now))
    if before != after:
        raise RunError(
            f"{folder.root} holds a run with other subjects or folds ({_how_differ(before, after)}); "
            "choose another --out"
        )


def _check_damaged_folds(context: RunContext, record: RunRecord | None) -> None:
    """Compare folds with a table that is not as it was written, or else with the cells."""
    folder = context.folder
    try:
        known, _ = read_fold_rows(folder.folds)
        _check_folds(context)
    except (HarmbenchError, ValueError):
        known = {}
    if any(not way for way, _ in known):  # the common folds are there, and agree
        return
    made, how = record.folds if record else None, (context.folds.k, context.folds.seed)
    if made is not None and (made.k, made.seed) != how:
        raise RunError(
            f"{folder.root} holds a run with other folds ({made.k} of seed {made.seed}, not {how[0]} "
            f"of seed {how[1]}); choose another --out"
        )
    other = [cell for cell, own in folder.all_cells() if not _tests_the_same(context, cell, own)]
    if other:
        raise RunError(
            f"{folder.root} holds a run with other subjects or folds ({len(other)} cells were tested on "
            f"others, such as {other[0]}; {folder.folds.name} is damaged); choose another --out"
        )


def _tests_the_same(context: RunContext, cell: Cell, record: CellRecord) -> bool:
    """Whether a cell's subjects are those of its fold, and its tested pairs those of this run."""
    folds = context.own_folds.get(cell.direction, context.folds)
    tested = {pair.subject for pair in record.tested}
    if any(folds.assignment.get(subject) != cell.fold for subject in tested):
        return False
    if record.subjects is None or (cell.direction, cell.fold) not in context.splits:
        return True
    test = context.split(replace(cell, train_subjects=0)).test
    if record.test_pairs is None:
        return tested == {pair.subject for pair in test}
    return set(record.test_pairs) == set(test)


def _check_damaged_scans(context: RunContext, record: RunRecord | None) -> None:
    """Compare scans with a table that is not as it was written, as far as that can be read."""
    folder = context.folder
    try:
        known = read_inputs(folder.inputs)
    except (HarmbenchError, ValueError):
        return  # the cells have told what can be known
    # Where the table is a written one once it has the scans of this run, it is damaged in these alone.
    name = folder.inputs.name
    (mended,) = text_sums({name: inputs_text(known.and_later(context.inputs))})[name]
    if record is None or mended not in record.tables.get(name, ()):
        _check_scans(context, known)


def _check_scans(context: RunContext, known: InputScans) -> None:
    folder = context.folder
    old, new = keys_of_inputs(known), keys_of_inputs(context.inputs)
    changed = [name for name in new if name in old and old[name] != new[name]]
    if changed:
        names = ", ".join(f"{subject} {session}" for subject, session in changed[:_NAMES_SHOWN])
        raise RunError(
            f"{folder.root} holds a run on other scans or another rescaling "
            f"({len(changed)} changed: {names}); choose another --out"
        )


def _how_differ(before: FoldRows, after: FoldRows) -> str:
    """Say how many subjects are new, gone, or in another fold, and name the first ones."""
    both = before.keys() & after.keys()
    kinds = {
        "new": after.keys() - before.keys(),
        "gone": before.keys() - after.keys(),
        "in another fold": {key for key in both if before[key] != after[key]},
    }
    told = []
    for kind, keys in kinds.items():
        subjects = sorted({subject for _, subject in keys})
        more = ", ..." if len(subjects) > _NAMES_SHOWN else ""
        if subjects:
            told.append(f"{len(subjects)} {kind}: {', '.join(subjects[:_NAMES_SHOWN])}{more}")
    return "; ".join(told)


def old_keys_line(folder: RunFolder, cells: Iterable[Cell]) -> str:
    """Say how many of some cells have keys of an earlier harmbench; empty where none has."""
    wanted = set(cells)
    old = [c for c, record in folder.all_cells() if c in wanted and record.key_scheme != KEY_SCHEME]
    if not old:
        return ""
    return (
        f"{len(old)} cells in {folder.root} were made by an earlier harmbench, whose keys did not cover "
        "all of the code: they are run again (to keep their results as they are, choose another --out)"
    )
