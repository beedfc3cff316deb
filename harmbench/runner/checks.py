"""What a run asks of its folder before it writes anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harmbench.code_keys import KEY_SCHEME
from harmbench.cohorts.base import Cohort
from harmbench.errors import RunError
from harmbench.files.names import check_names, file_label
from harmbench.folds import Folds
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans, keys_of_inputs
from harmbench.runner.leftovers import foreign_file
from harmbench.storage import why_not_writable
from harmbench.task import Direction

__all__ = ["check_file_names", "check_same_data", "check_writable", "old_keys_line"]

_NAMES_SHOWN = 5


def check_writable(out: Path) -> None:
    """Raise `RunError` unless `out` can be written to and is new, a run folder, or a killed run's."""
    problem = why_not_writable(out)
    if problem:
        raise RunError(f"{out}: {problem}")
    if out.is_dir() and not RunFolder(out).record.is_file():
        foreign = foreign_file(out)
        if foreign is not None:
            raise RunError(
                f"{out}: neither empty nor a run folder, {foreign} is none of harmbench's; "
                "choose another --out"
            )


def check_file_names(
    folder: RunFolder, methods: Iterable[str], directions: Sequence[Direction], cohort: Cohort
) -> None:
    """Raise `RunError` where two names of a run would become one file, or a name cannot be one."""
    before = folder.read_record().methods if folder.record.is_file() else {}
    labels = dict.fromkeys([*before, *methods])
    check_names("method", {label: file_label(label) for label in labels})
    sessions = sorted({session for way in directions for session in (way.source, way.target)})
    check_names("session", {session: file_label(session) for session in sessions})
    check_names("direction", {f"{w.source} to {w.target}": file_label(str(w)) for w in directions})
    check_names("subject", {subject: file_label(subject) for subject in cohort.subjects})
    scans = {
        f"{subject}, session {session}": f"{file_label(subject)}_{file_label(session)}"
        for subject in cohort.subjects
        for session in sessions
    }
    check_names("scan", scans)


def check_same_data(folder: RunFolder, folds: Folds, inputs: InputScans) -> None:
    """Raise `RunError` where a folder holds a run on other subjects, folds or scans: they don't add up."""
    if not folder.record.is_file() and not any(folder.cells()):
        return
    before = folder.fold_table()
    known = dict(zip(before["subject"], before["fold"], strict=True))
    if known != {subject: str(fold) for subject, fold in folds.assignment.items()}:
        raise RunError(
            f"{folder.root} holds a run with other subjects or folds; choose another --out"
        )
    old, new = keys_of_inputs(folder.input_scans()), keys_of_inputs(inputs)
    changed = [name for name in new if name in old and old[name] != new[name]]
    if changed:
        names = ", ".join(f"{subject} {session}" for subject, session in changed[:_NAMES_SHOWN])
        raise RunError(
            f"{folder.root} holds a run on other scans or another rescaling "
            f"({len(changed)} changed: {names}); choose another --out"
        )


def old_keys_line(folder: RunFolder, cells: Iterable[Cell]) -> str:
    """Say how many of some cells have keys of an earlier harmbench; empty where none has."""
    wanted = set(cells)
    old = [c for c, record in folder.cells() if c in wanted and record.key_scheme != KEY_SCHEME]
    if not old:
        return ""
    return (
        f"{len(old)} cells in {folder.root} were made by an earlier harmbench, whose keys did not cover "
        "all of the code: they are run again (to keep their results as they are, choose another --out)"
    )
