"""What a preparation has to do: which scans of which subjects, brought to which session."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.left_out import LeftOut
from harmbench.cohorts.pairing import visits_of
from harmbench.errors import PreparationError, VolumeError, suggest
from harmbench.files.geometry import FileSpace, some_guessed
from harmbench.files.kinds import why_no_file
from harmbench.notes import Note
from harmbench.preparation.derivative import labels
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.subject import SubjectJob
from harmbench.volume import read_space

__all__ = ["Spaces", "choose_reference", "make_jobs", "read_spaces", "without_single_scans"]

log = logging.getLogger(__name__)

Spaces = dict[tuple[str, str], tuple[FileSpace, tuple[Note, ...]]]
"""(subject, session) to what the scan's header says about its place, and the notes on that."""


def read_spaces(cohort: Cohort) -> Spaces:
    """Read the header of every scan; one that cannot be read is missing here."""
    spaces: Spaces = {}
    for key, scan in cohort.scans.items():
        try:
            spaces[key] = read_space(scan.path)
        except VolumeError as error:  # said where the subject is prepared
            log.debug("%s", error)
    return spaces


def without_single_scans(cohort: Cohort) -> Cohort:
    """Leave out subjects with one scan, where others have several: nothing could be made of them."""
    counts = dict.fromkeys(cohort.subjects, 0)
    for subject, _ in cohort.scans:
        counts[subject] += 1
    single = [subject for subject, count in counts.items() if count < 2]
    if len(single) == len(counts):
        return cohort
    has = {scan.subject: scan.scanner for scan in cohort.scans.values()}
    left_out = [
        LeftOut("single-scan", f"one scan only, on {has[s]}", f"subject {s}")
        for s in single
        if s in has
    ]
    return replace(
        cohort,
        groups={s: group for s, group in cohort.groups.items() if s not in single},
        scans={key: scan for key, scan in cohort.scans.items() if scan.subject not in single},
        left_out=(*cohort.left_out, *left_out),
    )


def choose_reference(cohort: Cohort, settings: PrepareSettings, spaces: Spaces) -> str:
    """Choose the scanner, or session, that the others are brought to.

    A scanner that every subject has goes before others, then the one with the smallest voxels.
    """
    wanted = settings.registration.reference
    if wanted is not None:
        there = {*cohort.scanners, *cohort.sessions}
        if wanted not in there:
            raise PreparationError(
                f"registration.reference: no session '{wanted}'; {suggest(wanted, there)}"
            )
        return wanted
    sizes: dict[str, list[float]] = {scanner: [] for scanner in cohort.scanners}
    for key, (space, _) in spaces.items():
        size = abs(float(np.linalg.det(space.affine[:3, :3])))
        sizes[cohort.scans[key].scanner].append(size)
    lacking = {s: len(cohort.subjects) - len(visits_of(cohort, s)) for s in cohort.scanners}
    # Rounded: scanners write 1 mm as 0.99999. Of equal ones the last, usually the newest, is taken.
    return min(
        reversed(cohort.scanners),
        key=lambda s: (
            lacking[s],
            round(float(np.median(sizes[s])), 3) if sizes[s] else np.inf,
        ),
    )


def _own_reference(scans: Mapping[str, Scan], reference: str, first: Mapping[str, Scan]) -> str:
    """Return a subject's session that its others are brought to.

    Args:
        scans: session to scan.
        reference: a session, or a scanner.
        first: scanner to the subject's first scan on it.
    """
    if reference in scans:
        return reference
    if reference in first:
        return first[reference].session
    # It was not scanned there: the last of its scanners stands in.
    return first[max(first)].session


def make_jobs(
    cohort: Cohort, root: Path, settings: PrepareSettings, reference: str, spaces: Spaces
) -> tuple[list[SubjectJob], dict[str, str]]:
    """Return the work on each subject, and why some of them cannot be prepared."""
    names = labels(cohort.subjects, "subject")
    sessions = labels(cohort.sessions, "session")
    visits = {scanner: visits_of(cohort, scanner) for scanner in cohort.scanners}
    work, failed = [], {}
    for subject, group in cohort.groups.items():
        scans = {s: cohort.scans[subject, s] for s in sessions if (subject, s) in cohort.scans}
        if not scans:
            failed[subject] = "it has no scan"
            continue
        first = {scanner: own[subject][0] for scanner, own in visits.items() if subject in own}
        own = _own_reference(scans, reference, first)
        there = {session: sessions[session] for session in scans}
        found = {s: cohort.lesions[o.path] for s, o in scans.items() if o.path in cohort.lesions}
        person = (subject, names[subject], group)
        work.append(SubjectJob(*person, scans, there, own, root, settings, found))
        problem = _unusable(subject, scans, spaces, found.values())
        if problem:
            failed[subject] = problem
    return work, failed


def _unusable(
    subject: str, scans: Mapping[str, Scan], spaces: Spaces, lesions: Iterable[Path]
) -> str | None:
    """Say which of a subject's files is not there, or that its sessions disagree on left and right."""
    files = [file for scan in scans.values() for file in (scan.path, scan.mask) if file is not None]
    absent = [f"{file}: {problem}" for file in (*files, *lesions) if (problem := why_no_file(file))]
    known = {
        f"session {session} ({scan.path})": spaces[subject, session][0]
        for session, scan in scans.items()
        if (subject, session) in spaces
    }
    return "; ".join(absent) or some_guessed(known)
