"""From raw scans to a prepared data set. Subjects run in parallel; each is written whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.data import DataSettings, open_cohort
from harmbench.cohorts.whole_subjects import intact, sweep
from harmbench.errors import CohortError, PreparationError, VolumeError, suggest
from harmbench.executors import Died, LocalExecutor
from harmbench.files.geometry import FileSpace, some_guessed
from harmbench.files.kinds import why_no_file
from harmbench.notes import Note, summarize
from harmbench.preparation.checks import check_place, refuse_repeats, withdrawn
from harmbench.preparation.derivative import (
    describe,
    labels,
)
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.subject import SubjectJob, SubjectResult, prepare_subject
from harmbench.preparation.summary import PrepareSummary, write_summary
from harmbench.progress import Display
from harmbench.volume import read_space

__all__ = ["prepare_cohort"]

log = logging.getLogger(__name__)

Say = Callable[[str], None]

_Spaces = dict[tuple[str, str], tuple[FileSpace, tuple[Note, ...]]]

# Peak of one process at 1 mm, measured, rounded up.
_SUBJECT_GB = 3.0


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

    A subject that fails is reported, and the others go on. Subjects that were prepared before from
    the same scans with the same settings and software are kept.

    Args:
        data: the raw scans: a manifest, a BIDS folder, or the simulated raw cohort.
        out: folder of the derivative.
        settings: what to do.
        jobs: subjects at a time; by default one per core, as far as memory allows.
        memory_gb: bound on the memory of all of them together; by default what is available.
        overwrite: whether to prepare again what `out` holds with other settings.
        say: called with each status line.

    Raises:
        HarmbenchError: the data, a setting, the software or `out` is not usable; nothing was
            written.
        OSError: there is no room for the tables or the page; prepared subjects are intact.
    """
    settings = settings or PrepareSettings()
    stripper = make_stripper(settings.strip)
    cores = os.cpu_count() or 1
    cohort = _open(data, out, cores)
    spaces = _spaces(cohort)
    reference = _reference(cohort, settings, spaces)
    work, failed = _jobs(cohort, out.absolute(), settings, reference, spaces)
    usable = [job for job in work if job.subject not in failed]
    waiting = [job for job in usable if not _done(job)]
    if waiting:
        refuse_repeats(cohort, cores)
    describe(out, cohort, settings, reference, overwrite=overwrite)
    sweep(out)
    cohort = _with_notes(cohort, out, spaces)
    lines = [f"note: {line}" for line in summarize(cohort.notes)]
    for line in [*lines, *(f"{job}: prepared before" for job in usable if job not in waiting)]:
        say(line)
    count = _parallel(jobs, memory_gb, len(waiting))
    say(f"{len(waiting)} subjects to prepare, {count} at a time; skull stripper {stripper.version}")
    failed |= _prepare_all(waiting, count)
    return write_summary(cohort, work, failed, out, settings, reference)


def _open(data: DataSettings, out: Path, cores: int) -> Cohort:
    """Open the cohort of raw scans, and check that it may be prepared into `out`."""
    with Display("cohort", 1) as display:
        cohort = open_cohort(data, display, cores)
    check_place(out, cohort)
    if not cohort.scans:
        raise CohortError("the cohort has no scans")
    return cohort


def _with_notes(cohort: Cohort, out: Path, spaces: _Spaces) -> Cohort:
    """Add the notes on removed subjects and on the scans' headers to those of the cohort."""
    folders = {f"sub-{label}" for label in labels(cohort.subjects, "subject").values()}
    found = [note for _, notes in spaces.values() for note in notes]
    return replace(cohort, notes=(*cohort.notes, *withdrawn(out, folders), *found))


def _prepare_all(jobs: Sequence[SubjectJob], count: int) -> dict[str, str]:
    """Prepare subjects, `count` at a time; return the reasons of those that failed."""
    failed: dict[str, str] = {}
    executor = LocalExecutor(count)
    with Display("subjects", len(jobs)) as display:
        for job, result in executor.run(prepare_subject, jobs, display, _line):
            error = result.reason if isinstance(result, Died) else result.error
            if error:
                failed[job.subject] = error
    return failed


def _spaces(cohort: Cohort) -> _Spaces:
    """Read the header of every scan; one that cannot be read is missing here."""
    spaces: _Spaces = {}
    for key, scan in cohort.scans.items():
        try:
            spaces[key] = read_space(scan.path)
        except VolumeError as error:  # reported where the subject is prepared
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
    # Scanners write 1 mm as 0.99999, hence rounded. Among equal ones take the last, usually the newest.
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
    """Say which file of a subject is missing, or that its sessions disagree on left and right."""
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


def _line(job: SubjectJob, result: SubjectResult | Died) -> str:
    if isinstance(result, Died):
        return f"{job}: failed, {result.reason}"
    if result.error:
        return f"{job}: failed, {result.error}"
    return f"{job}: ok ({result.seconds:.0f} s)"
