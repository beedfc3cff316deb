"""What a run asks of its folder before it writes anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harmbench.code_keys import KEY_SCHEME
from harmbench.errors import DamagedRecordError, RunError
from harmbench.files.names import check_names, file_label
from harmbench.runner.context import RunContext
from harmbench.runner.fold_table import FoldRows, fold_rows, read_fold_rows
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import keys_of_inputs
from harmbench.runner.leftovers import foreign_file
from harmbench.runner.run_record import RunRecord
from harmbench.runner.tables import damaged_tables
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
    otherwise.
    """
    folder = context.folder
    if not folder.is_run and not any(folder.all_cells()):
        return
    damaged = damaged_tables(folder)
    if folder.folds.name not in damaged:
        _check_folds(context)
    if (record := _record_of(folder)) is not None:
        earlier, choice = record.split.choice, context.experiment.split
        if earlier != choice:
            said = " ".join(earlier.words()) or "Training and test pairs were chosen as usual."
            raise RunError(
                f"{folder.root} holds a run with other training and test pairs ({said}); choose "
                "another --out"
            )
    if folder.inputs.name not in damaged:
        _check_scans(context)


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


def _check_scans(context: RunContext) -> None:
    folder = context.folder
    old, new = keys_of_inputs(folder.input_scans()), keys_of_inputs(context.inputs)
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
