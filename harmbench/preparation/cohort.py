"""From raw scans to a prepared data set: subjects in parallel, each whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.data import DataSettings, open_cohort
from harmbench.cohorts.whole_subjects import intact, read_record, sweep
from harmbench.errors import CohortError, PreparationError, VolumeError, suggest
from harmbench.executors import Died, LocalExecutor
from harmbench.files.geometry import FileSpace, some_guessed
from harmbench.files.kinds import why_no_file
from harmbench.notes import Note, from_records, summarize
from harmbench.preparation.checks import check_place, refuse_repeats, withdrawn
from harmbench.preparation.derivative import (
    describe,
    labels,
    write_participants,
)
from harmbench.preparation.qc import write_qc_page
from harmbench.preparation.qc.numbers import NUMBERS, flag
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.subject import SubjectJob, prepare_subject
from harmbench.progress import Display
from harmbench.storage import atomic, discard
from harmbench.volume import read_space

__all__ = ["PrepareSummary", "prepare_cohort"]

log = logging.getLogger(__name__)

Say = Callable[[str], None]

_Spaces = dict[tuple[str, str], tuple[FileSpace, tuple[Note, ...]]]

# Peak of one process at 1 mm, measured, rounded up.
_SUBJECT_GB = 3.0
_TABLE = "preparation.tsv"


@dataclass(frozen=True, slots=True)
class PrepareSummary:
    """How a preparation ended.

    Attributes:
        page: the QC page.
        prepared: subjects that are prepared.
        flagged: those among them with something conspicuous.
        failed: subjects that could not be prepared, each with the reason.
        notes: what was found while the scans were prepared, and not said before.
    """

    page: Path
    prepared: tuple[str, ...]
    flagged: tuple[str, ...]
    failed: Mapping[str, str]
    notes: tuple[Note, ...] = ()


def prepare_cohort(
    data: DataSettings,
    out: Path,
    settings: PrepareSettings | None = None,
    *,
    jobs: int | None = None,
    memory_gb: float | None = None,
    overwrite: bool = False,
    say: Say = print,
) -> PrepareSummary:
    """Prepare every subject of a cohort that is not prepared yet.

    ```
    OUT/
      dataset_description.json   with the settings; participants.tsv: the prepared subjects
      sub-*/ses-*/anat/          *_desc-prepared_T1w.nii.gz, *_desc-brain_mask.nii.gz, transforms
      sub-*/figures/             the subject's QC picture
      preparation.tsv  qc.html   status, numbers and flags of every subject; logs/: times, errors
    ```

    A subject that fails is reported and the rest goes on. What was prepared before with the same
    settings, scans and software is kept.

    Args:
        data: the raw scans: a manifest, a BIDS folder, or the simulated raw cohort.
        out: folder of the derivative.
        settings: what to do.
        jobs: subjects at a time; by default one per core, as far as memory allows.
        memory_gb: bound on the memory of all of them together; by default what is available.
        overwrite: prepare anew what `out` holds with other settings.
        say: told what happens.

    Raises:
        HarmbenchError: the data, a setting, the software or `out` is not usable; nothing was
            written.
        OSError: there is no room for the tables or the page; prepared subjects are intact.
    """
    settings = settings or PrepareSettings()
    stripper = make_stripper(settings.strip)
    cores = os.cpu_count() or 1
    with Display("cohort", 1) as display:
        cohort = open_cohort(data, display, cores)
    check_place(out, cohort)
    if not cohort.scans:
        raise CohortError("the cohort has no scans")
    spaces = _spaces(cohort)
    reference = _reference(cohort, settings, spaces)
    work, failed = _jobs(cohort, out.absolute(), settings, reference, spaces)
    usable = [job for job in work if job.subject not in failed]
    waiting = [job for job in usable if not _done(job)]
    if waiting:
        refuse_repeats(cohort, cores)
    describe(out, cohort, settings, reference, overwrite=overwrite)
    sweep(out)
    folders = {f"sub-{label}" for label in labels(cohort.subjects, "subject").values()}
    found = [note for _, notes in spaces.values() for note in notes]
    cohort = replace(cohort, notes=(*cohort.notes, *withdrawn(out, folders), *found))
    for line in summarize(cohort.notes):
        say(f"note: {line}")
    for job in usable:
        if job not in waiting:
            say(f"{job}: prepared before")
    count = _parallel(jobs, memory_gb, len(waiting))
    say(f"{len(waiting)} subjects to prepare, {count} at a time; skull stripper {stripper.version}")
    executor = LocalExecutor[SubjectJob, dict[str, Any]](count)
    with Display("subjects", len(waiting)) as display:
        for job, result in executor.run(prepare_subject, waiting, display, _line):
            error = result.reason if isinstance(result, Died) else result["error"]
            if error:
                failed[job.subject] = error
    return _report(cohort, work, failed, out, settings, reference)


def _spaces(cohort: Cohort) -> _Spaces:
    """Read the header of every scan; one that cannot be read is missing here."""
    spaces: _Spaces = {}
    for key, scan in cohort.scans.items():
        try:
            spaces[key] = read_space(scan.path)
        except VolumeError as error:  # said where the subject is prepared
            log.debug("%s", error)
    return spaces


def _reference(cohort: Cohort, settings: PrepareSettings, spaces: _Spaces) -> str:
    """Choose the session that the others are brought to."""
    wanted = settings.registration.reference
    if wanted is not None:
        if wanted not in cohort.sessions:
            raise PreparationError(
                f"registration.reference: no session '{wanted}'; {suggest(wanted, cohort.sessions)}"
            )
        return wanted
    sizes: dict[str, list[float]] = {session: [] for session in cohort.sessions}
    for (_, session), (space, _) in spaces.items():
        sizes[session].append(abs(float(np.linalg.det(space.affine[:3, :3]))))
    # Rounded: scanners write 1 mm as 0.99999. Of equal ones the last, usually the newest, is taken.
    return min(
        reversed(cohort.sessions),
        key=lambda s: round(float(np.median(sizes[s])), 3) if sizes[s] else np.inf,
    )


def _jobs(
    cohort: Cohort, root: Path, settings: PrepareSettings, reference: str, spaces: _Spaces
) -> tuple[list[SubjectJob], dict[str, str]]:
    names = labels(cohort.subjects, "subject")
    sessions = labels(cohort.sessions, "session")
    work, failed = [], {}
    for subject, group in cohort.groups.items():
        scans = {s: cohort.scans[subject, s] for s in sessions if (subject, s) in cohort.scans}
        missing = [s for s in sessions if s not in scans]
        if missing:
            has = ", ".join(scans) or "none"
            failed[subject] = f"session {', '.join(missing)} is missing (it has {has})"
            continue
        work.append(
            SubjectJob(subject, names[subject], group, scans, sessions, reference, root, settings)
        )
        problem = _unusable(subject, scans, spaces)
        if problem:
            failed[subject] = problem
    return work, failed


def _unusable(subject: str, scans: Mapping[str, Scan], spaces: _Spaces) -> str | None:
    """Say which of a subject's files is not there, or that its sessions disagree on left and right."""
    files = [file for scan in scans.values() for file in (scan.path, scan.mask) if file is not None]
    absent = [f"{file}: {problem}" for file in files if (problem := why_no_file(file))]
    known = {
        f"session {session} ({scan.path})": spaces[subject, session][0]
        for session, scan in scans.items()
        if (subject, session) in spaces
    }
    return "; ".join(absent) or some_guessed(known)


def _done(job: SubjectJob) -> bool:
    try:
        return intact(job.root, job.folder, job.key)
    except OSError:
        return False


def _parallel(jobs: int | None, memory_gb: float | None, waiting: int) -> int:
    """Subjects at a time: as many as asked for, or as cores and memory allow."""
    memory = memory_gb or psutil.virtual_memory().available / 2**30
    fits = max(1, int(memory // _SUBJECT_GB))
    return max(1, min(jobs or os.cpu_count() or 1, fits, max(1, waiting)))


def _line(job: SubjectJob, result: dict[str, Any] | Died) -> str:
    if isinstance(result, Died):
        return f"{job}: failed, {result.reason}"
    if result["error"]:
        return f"{job}: failed, {result['error']}"
    return f"{job}: ok ({result['seconds']:.0f} s)"


def _report(
    cohort: Cohort,
    work: Sequence[SubjectJob],
    failed: Mapping[str, str],
    out: Path,
    settings: PrepareSettings,
    reference: str,
) -> PrepareSummary:
    """Write the tables and the QC page from the subjects' records."""
    rows: list[dict[str, Any]] = []
    people, pictures = [], {}
    told = {(note.kind, note.text) for note in cohort.notes}
    found: list[Note] = []
    for job in work:
        if job.subject in failed:
            # What lies there was made from other scans or with other settings.
            if (job.root / job.folder).is_dir():
                discard(job.root / job.folder)
            continue
        record = read_record(job.root, job.folder)
        if record is None:
            raise PreparationError(f"{job.root / job.folder}: its record is gone or damaged")
        person = record["participant"]
        people.append(person)
        # What the header alone told is among the cohort's notes.
        known = from_records(person.get("notes", []))
        found += [note for note in known if (note.kind, note.text) not in told]
        pictures[job.subject] = out / job.folder / "figures" / person["picture"]
        rows += [{"subject": job.subject, "status": "ok", **own} for own in person["numbers"]]
    for row, flags in zip(rows, flag(rows), strict=True):
        row["flagged"] = [name for name, _ in flags]
        row["flags"] = [sentence for _, sentence in flags]
    try:
        write_participants(out, people)
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
                f"All sessions of a subject lie on one grid; the reference session is {reference}.",
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
