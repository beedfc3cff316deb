"""What a run writes about itself, and what it asks of an earlier run in the same folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from harmbench.code_keys import KEY_SCHEME, stage_code
from harmbench.cohorts.base import Cohort
from harmbench.config import Experiment, write_experiment
from harmbench.errors import RunError
from harmbench.files.names import check_names, file_label
from harmbench.folds import Folds
from harmbench.notes import Note, from_records, to_records
from harmbench.runner.context import Bench
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.leftovers import foreign_file
from harmbench.runner.provenance import provenance
from harmbench.segmentation import make_segmenter
from harmbench.storage import (
    atomic,
    file_key,
    key_of,
    why_not_writable,
)
from harmbench.task import Direction

__all__ = [
    "check_file_names",
    "check_same_data",
    "check_writable",
    "input_table",
    "keys_of_inputs",
    "new_invocation",
    "note_end",
    "note_old_keys",
    "write_records",
]


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
    before = folder.read_record().get("methods", {}) if folder.record.is_file() else {}
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


def input_table(
    cohort: Cohort, sessions: Sequence[str], files: Mapping[tuple[str, str], str], rescale: str
) -> pd.DataFrame:
    """Return a run's table of inputs, one row for each scan.

    Args:
        cohort: where the scans are.
        sessions: those that the run needs.
        files: (subject, session) to the SHA-256 of the scan's file.
        rescale: how intensities are brought into [0, 1].
    """
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
    """Return the key of each scan, (subject, session), of a run's table of inputs.

    It covers the files, how they are rescaled, and the code that reads them.
    """
    code = stage_code("read")
    names = ("sha256", "mask_sha256", "rescale")
    return {
        (row["subject"], row["session"]): key_of(*(row[name] for name in names), code)
        for row in inputs.to_dict("records")
    }


def check_same_data(folder: RunFolder, folds: Folds, inputs: pd.DataFrame) -> None:
    """Raise `RunError` where a folder holds a run on other subjects, folds or scans: they don't add up."""
    if not folder.record.is_file() and not any(folder.cells()):
        return
    before = folder.fold_table()
    known = dict(zip(before["subject"], before["fold"], strict=True))
    if known != {subject: str(fold) for subject, fold in folds.assignment.items()}:
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


def write_records(
    folder: RunFolder,
    bench: Bench,
    cohort: Cohort,
    inputs: pd.DataFrame,
    methods: Mapping[str, Any],
    directions: Sequence[Direction],
    notes: Sequence[Note] = (),
) -> str:
    """Write what the run is about to do, beside what earlier runs noted; gives its id."""
    experiment = bench.experiment
    invocation = new_invocation(bench.device, experiment)
    if folder.record.is_file():
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

    def add(run: dict[str, Any]) -> None:
        others = [way for way in run.get("directions", []) if way not in ways]
        run |= {
            "name": experiment.name,
            "cohort": {
                "name": cohort.name,
                "description": cohort.description,
                "simulated": cohort.simulated,
                "citation": cohort.citation,
                "subjects": len(cohort.subjects),
                "preparation": cohort.preparation,
            },
            "directions": others + ways,
            "methods": {**run.get("methods", {}), **methods},
            "segmenter": {
                "name": bench.segmenter,
                "version": make_segmenter(bench.segmenter).version,
                "contrast": bench.contrast,
            },
            "stacking_axis": experiment.scoring.stacking_axis,
            "folds": {"k": bench.folds.k, "seed": bench.folds.seed},
            "notes": to_records([*from_records(run.get("notes", [])), *notes]),
            "invocations": [*run.get("invocations", []), invocation],
        }

    folder.update_record(add)
    return str(invocation["id"])


def new_invocation(device: str, experiment: Experiment) -> dict[str, Any]:
    """Return an entry of `run.json`: what is about to run, and with what."""
    return {
        "id": uuid4().hex,
        **provenance(device),
        "config": experiment.model_dump(mode="json"),
    }


def _fold_table(folds: Folds, groups: Mapping[str, str]) -> pd.DataFrame:
    rows = [{"subject": s, "group": groups[s], "fold": f} for s, f in folds.assignment.items()]
    return pd.DataFrame(rows)


def note_end(folder: RunFolder, invocation: str, ended: Mapping[str, Any]) -> None:
    """Note in `run.json` how a run ended."""

    def end(run: dict[str, Any]) -> None:
        for entry in run.get("invocations", []):
            if entry.get("id") == invocation:
                entry.update(ended)

    folder.update_record(end)


def note_old_keys(folder: RunFolder, cells: Iterable[Cell]) -> str:
    """Say how many of some cells have keys of an earlier harmbench; empty where none has."""
    wanted = set(cells)
    old = [c for c, r in folder.cells() if c in wanted and r.get("key_scheme") != KEY_SCHEME]
    if not old:
        return ""
    return (
        f"{len(old)} cells in {folder.root} were made by an earlier harmbench, whose keys did not cover "
        "all of the code: they are run again (to keep their results as they are, choose another --out)"
    )
