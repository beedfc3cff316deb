"""The end of a preparation: its tables, its quality control page, and what is said of each subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.whole_subjects import read_record
from harmbench.errors import PreparationError
from harmbench.notes import Note, from_records, summarize
from harmbench.preparation.derivative import write_participants
from harmbench.preparation.qc import write_qc_page
from harmbench.preparation.qc.numbers import NUMBERS, flag
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.subject import SubjectJob
from harmbench.storage import atomic, discard

__all__ = ["PrepareSummary", "write_summary"]

_TABLE = "preparation.tsv"


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """How a preparation ended.

    Attributes:
        page: the QC page.
        prepared: subjects that are prepared.
        flagged: those among them that quality control flagged.
        failed: subjects that could not be prepared, each with the reason.
        notes: new notes that the preparation of the scans gave.
    """

    page: Path
    prepared: tuple[str, ...]
    flagged: tuple[str, ...]
    failed: Mapping[str, str]
    notes: tuple[Note, ...] = ()


def write_summary(
    cohort: Cohort,
    work: Sequence[SubjectJob],
    failed: Mapping[str, str],
    out: Path,
    settings: PrepareSettings,
    reference: str,
) -> PrepareSummary:
    """Write the tables and the QC page from the subjects' records.

    The folder of a subject that failed is removed: it was made from other scans or settings.

    Raises:
        PreparationError: the record of a subject is missing or damaged.
        OSError: there is no room for the tables or the page; prepared subjects are intact.
    """
    people = _people(work, failed)
    reported = {(note.kind, note.text) for note in cohort.notes}
    found: list[Note] = []
    rows: list[dict[str, Any]] = []
    pictures = {}
    for job, person in people:
        # Notes on the header are already among the cohort's.
        known = from_records(person.get("notes", []))
        found += [note for note in known if (note.kind, note.text) not in reported]
        pictures[job.subject] = out / job.folder / "figures" / person["picture"]
        rows += [{"subject": job.subject, "status": "ok", **own} for own in person["numbers"]]
    for row, flags in zip(rows, flag(rows), strict=True):
        row["flagged"] = [name for name, _ in flags]
        row["flags"] = [sentence for _, sentence in flags]
    try:
        write_participants(out, [person for _, person in people])
        _write_table(rows, failed, out)
        page = write_qc_page(
            out,
            title=f"Preparation of {cohort.description}",
            simulated=cohort.simulated,
            settings=settings.model_dump(mode="json"),
            rows=rows,
            columns=NUMBERS,
            pictures=pictures,
            failures=failed,
            notes=(
                f"All sessions of a subject lie on one grid; the reference session is {reference}"
                f"{_other_references(work, reference)}.",
                *summarize([*cohort.notes, *found]),
            ),
        )
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}: the tables and the QC page cannot be written; prepared "
            "subjects are intact, give the same command again",
            str(out),
        ) from error
    flagged = tuple(dict.fromkeys(row["subject"] for row in rows if row["flags"]))
    return PrepareSummary(page, tuple(pictures), flagged, failed, tuple(found))


def _people(
    work: Sequence[SubjectJob], failed: Mapping[str, str]
) -> list[tuple[SubjectJob, dict[str, Any]]]:
    """Read the record of each prepared subject; remove the folders of those that failed."""
    found = []
    for job in work:
        if job.subject in failed:
            if (job.root / job.folder).is_dir():
                discard(job.root / job.folder)
            continue
        record = read_record(job.root, job.folder)
        if record is None:
            raise PreparationError(f"{job.root / job.folder}: its record is missing or damaged")
        found.append((job, record["participant"]))
    return found


def _other_references(work: Sequence[SubjectJob], reference: str) -> str:
    """Say how many subjects have another reference, because they lack the reference scanner."""
    others = sum(reference not in (job.reference, job.scans[job.reference].scanner) for job in work)
    return f" (another one for {others} subjects without it)" if others else ""


def _write_table(rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str], out: Path) -> None:
    names = [column.name for column in NUMBERS]
    table = [{**row, "flags": " ".join(row["flags"])} for row in rows]
    table += [
        {"subject": subject, "session": "", "status": "failed", "flags": reason}
        for subject, reason in failed.items()
    ]
    columns = ["subject", "session", "status", *names, "flags"]
    frame = pd.DataFrame(table, columns=columns)
    with atomic(out / _TABLE) as temporary:
        frame.to_csv(temporary, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
