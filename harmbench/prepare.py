"""From raw scans to a prepared data set: subjects in parallel, each whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import psutil

from harmbench import qc
from harmbench import volume as volume_module
from harmbench.cohorts import base
from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.data import DataSettings, open_cohort
from harmbench.cohorts.whole_subjects import discard, intact, publish, read_record, sweep
from harmbench.errors import CohortError, HarmbenchError, PreparationError, suggest
from harmbench.executors import Died, LocalExecutor
from harmbench.meter import Meter
from harmbench.method import Progress
from harmbench.preparation import align, bias, derivative, grid, itk, register, scan, strip
from harmbench.preparation.align import prepare_scans
from harmbench.preparation.derivative import (
    describe,
    labels,
    scan_stem,
    steps,
    write_participants,
    write_session,
)
from harmbench.preparation.scan import clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.progress import Display
from harmbench.qc import qc_figure, write_qc_page
from harmbench.qc.numbers import NUMBERS, flag, measure
from harmbench.report.style import style, write_figure
from harmbench.storage import atomic, code_key, file_key, key_of, why_not_writable, write_json

__all__ = ["PrepareSummary", "SubjectJob", "prepare_cohort", "prepare_subject"]

log = logging.getLogger(__name__)

Say = Callable[[str], None]

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
    """

    page: Path
    prepared: tuple[str, ...]
    flagged: tuple[str, ...]
    failed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SubjectJob:
    """One subject's work: what a worker process needs to know."""

    subject: str
    label: str
    group: str
    scans: Mapping[str, Scan]
    sessions: Mapping[str, str]
    reference: str
    root: Path
    settings: PrepareSettings

    def __str__(self) -> str:
        return self.subject

    @property
    def folder(self) -> str:
        """Folder of the subject below the root."""
        return f"sub-{self.label}"

    @property
    def key(self) -> str:
        """SHA-256 of all that the subject's files depend on."""
        files = {
            session: [
                scan.path.name,
                file_key(scan.path),
                file_key(scan.mask) if scan.mask else "",
                derivative.raw_sidecar(scan.path),
            ]
            for session, scan in self.scans.items()
        }
        code = code_key(
            align, base, bias, derivative, grid, itk, register, scan, strip, volume_module, qc
        )
        stripper = make_stripper(self.settings.strip)
        software = [version("antspyx"), stripper.name, stripper.version]
        own = [self.label, self.group, self.reference, dict(self.sessions)]
        return key_of("prepare", self.settings.model_dump(mode="json"), own, files, software, code)


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
    """
    settings = settings or PrepareSettings()
    stripper = make_stripper(settings.strip)
    problem = why_not_writable(out)
    if problem:
        raise PreparationError(f"{out}: {problem}")
    with Display("cohort", 1) as display:
        cohort = open_cohort(data, display, os.cpu_count() or 1)
    if not cohort.scans:
        raise CohortError("the cohort has no scans")
    reference = _reference(cohort, settings)
    work, failed = _jobs(cohort, out.absolute(), settings, reference)
    describe(out, cohort, settings, reference, overwrite=overwrite)
    sweep(out)
    waiting = [job for job in work if not _done(job)]
    for job in work:
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


def _reference(cohort: Cohort, settings: PrepareSettings) -> str:
    """Choose the session that the others are brought to."""
    wanted = settings.registration.reference
    if wanted is not None:
        if wanted not in cohort.sessions:
            raise PreparationError(
                f"registration.reference: no session '{wanted}'; {suggest(wanted, cohort.sessions)}"
            )
        return wanted
    sizes: dict[str, list[float]] = {session: [] for session in cohort.sessions}
    for (_, session), found in cohort.scans.items():
        try:
            image: Any = nib.load(found.path)
            sizes[session].append(float(np.prod(image.header.get_zooms()[:3])))
        except Exception as error:  # noqa: BLE001 - said where the subject is prepared
            log.debug("%s: %s", found.path, error)
    # Rounded: scanners write 1 mm as 0.99999. Of equal ones the last, usually the newest, is taken.
    return min(
        reversed(cohort.sessions),
        key=lambda s: round(float(np.median(sizes[s])), 3) if sizes[s] else np.inf,
    )


def _jobs(
    cohort: Cohort, root: Path, settings: PrepareSettings, reference: str
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
    return work, failed


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


def prepare_subject(job: SubjectJob, progress: Progress) -> dict[str, Any]:
    """Prepare one subject and return `error` (empty if it went well) and `seconds`; never raises."""
    start = time.perf_counter()
    error = ""
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".new-{job.folder}-", dir=job.root, ignore_cleanup_errors=True
        ) as temporary:
            _make(job, Path(temporary), progress)
    except HarmbenchError as found:
        error = str(found)
        _write_log(job, error)
    except OSError as found:
        full = found.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        error = f"{job.root}: no space left for its files" if full else f"{found}"
        _write_log(job, traceback.format_exc())
    except Exception as found:  # noqa: BLE001 - one subject's failure must not end the others
        error = f"{type(found).__name__}: {found} (logs/{job.folder}.log has the traceback)"
        _write_log(job, traceback.format_exc())
    return {"error": error, "seconds": time.perf_counter() - start}


def _write_log(job: SubjectJob, text: str) -> None:
    path = job.root / "logs" / f"{job.folder}.log"
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError:
        log.warning("%s: no log could be written", job)


def _make(job: SubjectJob, made: Path, progress: Progress) -> None:
    """Run all steps on a subject and publish its files."""
    stages: dict[str, dict[str, float]] = {}
    stripper = make_stripper(job.settings.strip)
    total = len(job.scans) + 3
    cleaned = {}
    for place, (session, own) in enumerate(job.scans.items()):
        progress("strip, bias field", place, total)
        with Meter() as meter:
            cleaned[session] = clean_scan(own, stripper, job.settings)
        stages[f"clean {session}"] = _measured(meter)
    progress("register, resample", len(job.scans), total)
    with Meter() as meter:
        prepared = prepare_scans(cleaned, job.reference, job.settings, made / "work")
    stages["align"] = _measured(meter)
    progress("check", len(job.scans) + 1, total)
    with Meter() as meter:
        rows = measure(cleaned, prepared, job.reference)
        with style():
            picture = qc_figure(job.subject, cleaned, prepared, job.reference)
            write_figure(picture, made / job.folder / "figures")
    stages["check"] = _measured(meter)
    progress("write", len(job.scans) + 2, total)
    for session, found in prepared.items():
        done = steps(cleaned[session], found, stripper, job.settings, job.reference)
        stem = scan_stem(job.label, job.sessions[session])
        write_session(made, stem, found, done, job.scans[session], session)
    row = {"participant_id": job.folder, "group": job.group, "numbers": rows}
    row["picture"] = f"{picture.name}.png"
    publish(made, job.root, job.folder, row, job.key)
    # Times differ from run to run: they stand apart from what is the same every time.
    write_json(job.root / "logs" / f"{job.folder}.json", {"stages": stages})


def _measured(meter: Meter) -> dict[str, float]:
    return {"wall_s": round(meter.wall_s, 2), "peak_memory_mb": round(meter.peak_memory_mb, 1)}


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
        pictures[job.subject] = out / job.folder / "figures" / person["picture"]
        rows += [{"subject": job.subject, "status": "ok", **own} for own in person["numbers"]]
    for row, found in zip(rows, flag(rows), strict=True):
        row["flagged"] = [name for name, _ in found]
        row["flags"] = [sentence for _, sentence in found]
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
            ),
        )
    except OSError as error:
        raise PreparationError(
            f"{out}: the tables and the QC page cannot be written ({error.strerror or error}); "
            "prepared subjects are intact, give the same command again"
        ) from error
    flagged = tuple(dict.fromkeys(row["subject"] for row in rows if row["flags"]))
    return PrepareSummary(page, tuple(pictures), flagged, failed)


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
