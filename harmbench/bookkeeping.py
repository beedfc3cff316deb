"""What a run writes about itself, and what it asks of an earlier run in the same folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from harmbench.bench import Bench
from harmbench.cohorts.base import Cohort
from harmbench.config import write_experiment
from harmbench.errors import RunError
from harmbench.folds import Folds
from harmbench.method import Direction
from harmbench.notes import Note, from_records, to_records
from harmbench.provenance import provenance
from harmbench.runs import RunFolder
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
    "check_same_data",
    "check_writable",
    "input_table",
    "keys_of_inputs",
    "note_end",
    "sweep",
    "write_records",
]

_LITTER_AGE_S = 3600.0


def check_writable(out: Path) -> None:
    """Raise `RunError` unless `out` can be written to and is new, empty, or a run folder."""
    problem = why_not_writable(out)
    if problem:
        raise RunError(f"{out}: {problem}")
    if out.is_dir() and any(out.iterdir()) and not RunFolder(out).record.is_file():
        raise RunError(f"{out}: neither empty nor a run folder; choose another --out")


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
    """Return the key of each scan, (subject, session), of a run's table of inputs."""
    return {
        (row["subject"], row["session"]): key_of(row["sha256"], row["mask_sha256"], row["rescale"])
        for row in inputs.to_dict("records")
    }


def check_same_data(folder: RunFolder, folds: Folds, inputs: pd.DataFrame) -> None:
    """Raise `RunError` where a folder holds a run on other subjects, folds or scans: they don't add up."""
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
            "contrast": bench.contrast,
        },
        "stacking_axis": experiment.scoring.stacking_axis,
        "folds": {"k": bench.folds.k, "seed": bench.folds.seed},
        "notes": to_records([*from_records(before.get("notes", [])), *notes]),
        "invocations": [*before.get("invocations", []), invocation],
    }
    write_json(folder.record, run)
    return str(invocation["id"])


def _fold_table(folds: Folds, groups: Mapping[str, str]) -> pd.DataFrame:
    rows = [{"subject": s, "group": groups[s], "fold": f} for s, f in folds.assignment.items()]
    return pd.DataFrame(rows)


def note_end(folder: RunFolder, invocation: str, ended: Mapping[str, Any]) -> None:
    """Note in `run.json` how a run ended; other runs may have written there since it began."""
    run = folder.read_record()
    for entry in run["invocations"]:
        if entry.get("id") == invocation:
            entry.update(ended)
    write_json(folder.record, run)


def sweep(out: Path) -> None:
    """Remove what a killed run left half-written; young files may be another run's, at work."""
    if out.is_dir():
        for path in out.rglob(f"{TEMPORARY_PREFIX}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LITTER_AGE_S:
                    path.unlink()
