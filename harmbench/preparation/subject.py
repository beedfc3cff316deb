"""One subject of a preparation: from raw files to a folder that is written whole or not at all."""

from __future__ import annotations

import errno
import json
import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from harmbench.code_keys import stage_code
from harmbench.cohorts.base import Scan
from harmbench.cohorts.whole_subjects import new_subject, publish
from harmbench.errors import HarmbenchError
from harmbench.files.sidecars import sidecar_fields
from harmbench.meter import Meter
from harmbench.notes import Note
from harmbench.pages.style import style, write_figure
from harmbench.preparation.align import prepare_scans
from harmbench.preparation.derivative import (
    scan_stem,
    steps,
    write_session,
)
from harmbench.preparation.lesions import prepare_lesions, write_lesions
from harmbench.preparation.participant import Participant
from harmbench.preparation.qc import qc_figure
from harmbench.preparation.qc.numbers import measure
from harmbench.preparation.scan import clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.storage import file_key, key_of
from harmbench.task import Progress

__all__ = ["SubjectJob", "SubjectResult", "prepare_subject"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubjectJob:
    """All that a worker process needs to prepare one subject.

    Attributes:
        subject, label, group: who, and as what in the derivative.
        scans: session to scan.
        sessions: session to label in the derivative.
        reference: session that the others are brought to.
        root: of the derivative.
        settings: what to do.
        lesions: session to the mask of its lesions, where there is one.
    """

    subject: str
    label: str
    group: str
    scans: Mapping[str, Scan]
    sessions: Mapping[str, str]
    reference: str
    root: Path
    settings: PrepareSettings
    lesions: Mapping[str, Path] = field(default_factory=dict)

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
                sidecar_fields(scan.path),
            ]
            for session, scan in self.scans.items()
        }
        code = stage_code("prepare")
        stripper = make_stripper(self.settings.strip)
        software = [version("antspyx"), stripper.name, stripper.version]
        own = [self.label, self.group, self.reference, dict(self.sessions)]
        lesions = {session: file_key(path) for session, path in self.lesions.items()}
        parts = [own, files, software, code, *([lesions] if lesions else [])]
        return key_of("prepare", self.settings.model_dump(mode="json"), *parts)


@dataclass(frozen=True, slots=True)
class SubjectResult:
    """How the work on a subject ended: the error, empty where there was none, and the time it took."""

    error: str
    seconds: float


def prepare_subject(job: SubjectJob, progress: Progress) -> SubjectResult:
    """Prepare one subject; never raises."""
    start = time.perf_counter()
    error = ""
    try:
        with new_subject(job.root, job.folder) as made:
            _make(job, made, progress)
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
    return SubjectResult(error, time.perf_counter() - start)


def _write_log(job: SubjectJob, text: str, ending: str = "log") -> None:
    path = job.root / "logs" / f"{job.folder}.{ending}"
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
    notes: list[Note] = []
    for session, found in prepared.items():
        done = steps(cleaned[session], found, stripper, job.settings, job.reference)
        stem = scan_stem(job.label, job.sessions[session])
        said = list(cleaned[session].raw.notes)
        if session in job.lesions:
            path = job.lesions[session]
            mask, lost = prepare_lesions(path, cleaned[session], found)
            write_lesions(made, stem, found, mask, path)
            said += lost
        write_session(made, stem, found, done, job.scans[session], session, said)
        where = f"subject {job.subject}, session {session}"
        notes += [replace(note, where=where) for note in said]
    person = Participant(
        participant_id=job.folder,
        group=job.group,
        numbers=tuple(rows),
        picture=f"{picture.name}.png",
        notes=tuple(sorted(set(notes))),
    )
    publish(made, job.root, job.folder, person.model_dump(exclude_none=True), job.key)
    # Times differ from run to run; they are kept apart, so that the record is reproducible.
    _write_log(job, json.dumps({"stages": stages}, indent=2), "json")


def _measured(meter: Meter) -> dict[str, float]:
    return {"wall_s": round(meter.wall_s, 2), "peak_memory_mib": round(meter.peak_memory_mib, 1)}
