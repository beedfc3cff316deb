"""From raw scans to a prepared data set. Subjects run in parallel; each is written whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.contents import missing_contents
from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.cohorts.left_out import left_out_notes
from harmbench.cohorts.whole_subjects import intact, sweep
from harmbench.errors import CohortError
from harmbench.executors import Died, LocalExecutor
from harmbench.notes import summarize
from harmbench.preparation.checks import check_place, refuse_repeats, withdrawn
from harmbench.preparation.derivative import (
    describe,
    labels,
)
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.subject import SubjectJob, SubjectResult, prepare_subject
from harmbench.preparation.summary import PrepareSummary, write_summary
from harmbench.preparation.work import (
    Spaces,
    choose_reference,
    make_jobs,
    read_spaces,
    without_single_scans,
)
from harmbench.progress import Display

__all__ = ["prepare_cohort"]

log = logging.getLogger(__name__)

Say = Callable[[str], None]

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
      sub-*/ses-*/anat/          *_desc-prepared_T1w.nii.gz, *_desc-brain_mask.nii.gz, transforms,
                                 *_label-lesion_mask.nii.gz where the raw scan has one
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
    spaces = read_spaces(cohort)
    reference = choose_reference(cohort, settings, spaces)
    work, failed = make_jobs(cohort, out.absolute(), settings, reference, spaces)
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
        cohort = read_cohort(data, display, cores)
    check_place(out, cohort)
    if not cohort.scans:
        raise CohortError("the cohort has no scans")
    cohort = without_single_scans(cohort)
    files = [f for s in cohort.scans.values() for f in (s.path, s.mask) if f is not None]
    files += [cohort.lesions[s.path] for s in cohort.scans.values() if s.path in cohort.lesions]
    if absent := missing_contents(files, cohort.path):
        raise CohortError(f"{cohort.path or 'the cohort'} cannot be used:", absent)
    return replace(cohort, notes=(*cohort.notes, *left_out_notes(cohort.left_out)))


def _with_notes(cohort: Cohort, out: Path, spaces: Spaces) -> Cohort:
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
