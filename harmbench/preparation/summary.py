"""The end of a preparation: its tables, its quality control page, and what is said of each subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from harmbench.cohorts.base import Cohort
from harmbench.notes import Note, summarize
from harmbench.preparation.participant import (
    Participant,
    read_participant,
    write_participants,
)
from harmbench.preparation.qc import QcRow, write_qc_page
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
    pictures = {}
    for job, person in people:
        # Notes on the header are already among the cohort's.
        found += [note for note in person.notes if (note.kind, note.text) not in reported]
        pictures[job.subject] = out / job.folder / "figures" / person.picture
    rows = _rows(people)
    try:
        finished = {job.subject: person for job, person in people}
        write_participants(out, finished, cohort.covariates)
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
    flagged = tuple(dict.fromkeys(row.subject for row in rows if row.flags))
    return PrepareSummary(page, tuple(pictures), flagged, failed, tuple(found))


def _people(
    work: Sequence[SubjectJob], failed: Mapping[str, str]
) -> list[tuple[SubjectJob, Participant]]:
    """Read the record of each prepared subject; remove the folders of those that failed."""
    found = []
    for job in work:
        if job.subject in failed:
            if (job.root / job.folder).is_dir():
                discard(job.root / job.folder)
            continue
        found.append((job, read_participant(job.root, job.folder)))
    return found


def _rows(people: Sequence[tuple[SubjectJob, Participant]]) -> list[QcRow]:
    """List the sessions of all subjects with their numbers and flags."""
    numbers = [own for _, person in people for own in person.numbers]
    rows = [
        QcRow(job.subject, own.session, "ok", own.measured)
        for job, person in people
        for own in person.numbers
    ]
    flags = flag(numbers)
    return [replace(row, flags=tuple(own)) for row, own in zip(rows, flags, strict=True)]


def _other_references(work: Sequence[SubjectJob], reference: str) -> str:
    """Say how many subjects have another reference, because they lack the reference scanner."""
    others = sum(reference not in (job.reference, job.scans[job.reference].scanner) for job in work)
    return f" (another one for {others} subjects without it)" if others else ""


def _write_table(rows: Sequence[QcRow], failed: Mapping[str, str], out: Path) -> None:
    names = [column.name for column in NUMBERS]
    table = [
        [
            *(row.subject, row.session, row.status),
            *(row.numbers.get(name) for name in names),
            " ".join(row.sentences),
        ]
        for row in rows
    ]
    table += [
        [subject, "", "failed", *(None for _ in names), reason]
        for subject, reason in failed.items()
    ]
    frame = pd.DataFrame(table, columns=["subject", "session", "status", *names, "flags"])
    with atomic(out / _TABLE) as temporary:
        frame.to_csv(temporary, sep="\t", index=False, na_rep="n/a", lineterminator="\n")
