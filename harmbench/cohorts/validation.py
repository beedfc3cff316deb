"""The check of every scan that a run will read, before the run starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from harmbench.cohorts.base import Cohort, Rescale, ScanFacts, masked_and_scaled, scan_facts
from harmbench.cohorts.contents import missing_contents
from harmbench.cohorts.foreground import brains_differ, odd_foreground
from harmbench.cohorts.intensities import not_a_scan, out_of_range
from harmbench.cohorts.masks import read_lesions
from harmbench.cohorts.raw_values import no_scan_values
from harmbench.cohorts.repeats import Fingerprint, fingerprint, repeated
from harmbench.errors import CohortError, VolumeError
from harmbench.files.sidecars import noted
from harmbench.notes import Note, summarize
from harmbench.segmentation.plausible import has_repeated_value
from harmbench.storage import file_key
from harmbench.task import NoProgress, Progress
from harmbench.volume import Volume, read, require_same_grid, require_same_sides

__all__ = ["Checked", "validate"]

_REPEATED_VALUE = Note(
    "repeated-value",
    "one value fills more than 5 % of the brain, by saturation or an edited region: tissues cannot "
    "be told apart there",
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of `validate`.

    Attributes:
        keys: (subject, session) to the SHA-256 of the scan's file.
        notes: assumptions about the scans, and what is unusual in them.
        facts: (subject, session) to what the scan is like.
    """

    keys: Mapping[tuple[str, str], str]
    notes: tuple[Note, ...] = ()
    facts: Mapping[tuple[str, str], ScanFacts] = field(default_factory=dict)


def validate(
    cohort: Cohort,
    sessions: Sequence[str],
    rescale: Rescale = "none",
    progress: Progress | None = None,
    workers: int = 2,
) -> Checked:
    """Check every scan that a run would read; return each file's SHA-256 and the notes on it.

    A subject's scans must lie on one grid; a session that a subject does not have is no problem.
    Scans must be readable, finite, in [0, 1] after
    `rescale`, and not empty, and no scan may occur twice.

    Raises:
        CohortError: lists all problems of all subjects in one message.
    """
    progress = progress or NoProgress()
    wanted = [scan for scan in cohort.scans.values() if scan.session in sessions]
    files = [
        file
        for scan in wanted
        for file in (scan.path, scan.mask, cohort.lesions.get(scan.path))
        if file is not None
    ]
    problems = missing_contents(files, cohort.path)
    if problems:
        raise CohortError(f"{cohort.path or 'the cohort'} cannot be used:", problems)
    keys: dict[tuple[str, str], str] = {}
    notes: list[Note] = []
    facts: dict[tuple[str, str], ScanFacts] = {}
    prints: dict[tuple[str, str], Fingerprint] = {}

    def check(subject: str) -> tuple[list[str], Checked]:
        return _check_subject(cohort, subject, sessions, rescale, prints)

    subjects = cohort.subjects
    with ThreadPoolExecutor(workers) as pool:
        for done, (found, checked) in enumerate(pool.map(check, subjects), start=1):
            problems += found
            keys |= checked.keys
            notes += checked.notes
            facts |= checked.facts
            progress("validate", done, len(subjects))
    ordered = {key: prints[key] for key in cohort.scans if key in prints}
    problems += repeated(ordered, {key: cohort.scans[key].path for key in ordered})
    if problems:
        many = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        # A note may explain a problem: a file that was not understood may be the missing scan.
        problems += [f"note: {line}" for line in summarize(cohort.notes)]
        raise CohortError(f"{cohort.path or 'the cohort'} cannot be used, {many}:", problems)
    return Checked(keys, tuple(notes), facts)


def _check_subject(
    cohort: Cohort,
    subject: str,
    sessions: Sequence[str],
    rescale: Rescale,
    prints: dict[tuple[str, str], Fingerprint],
) -> tuple[list[str], Checked]:
    """Check one subject; `prints` gets the fingerprint of each scan that can be read."""
    problems: list[str] = []
    notes: list[Note] = []
    keys: dict[tuple[str, str], str] = {}
    facts: dict[tuple[str, str], ScanFacts] = {}
    volumes: dict[str, Volume] = {}
    for session in sessions:
        scan = cohort.scans.get((subject, session))
        if scan is None:
            continue
        try:
            raw = read(scan.path)
            prints[subject, session] = fingerprint(raw)
            if unusable := no_scan_values(raw.data):
                raise VolumeError(unusable)
            volume = masked_and_scaled(raw, scan, rescale)
            if scan.path in cohort.lesions:
                read_lesions(cohort.lesions[scan.path], raw)
            problem = out_of_range(volume, "data.rescale=percentile") or not_a_scan(volume)
            if problem is None:
                volumes[session] = volume
                notes += [*volume.notes, *noted(scan.path)]
                notes += odd_foreground(volume, str(scan.path))
                if has_repeated_value(volume.data):
                    notes.append(
                        replace(_REPEATED_VALUE, where=f"subject {subject}, session {session}")
                    )
                keys[subject, session] = file_key(scan.path)
                facts[subject, session] = scan_facts(volume)
        except VolumeError as error:
            problem = str(error).removeprefix(f"{scan.path}: ")
        if problem is not None:
            problems.append(f"subject {subject}, session {session}: {problem} ({scan.path})")
    if volumes:
        try:
            require_same_sides(
                {f"session {s} ({cohort.scans[subject, s].path})": v for s, v in volumes.items()}
            )
        except VolumeError as error:
            problems.append(f"subject {subject}: {error}")
        else:
            problems += _other_grids(subject, volumes)
        notes += brains_differ(subject, volumes)
    return problems, Checked(keys, tuple(notes), facts)


def _other_grids(subject: str, volumes: Mapping[str, Volume]) -> list[str]:
    """Name the sessions whose grid is not that of the first."""
    (one, first), *others = volumes.items()
    problems = []
    for two, second in others:
        try:
            require_same_grid(first, second, (f"session {one}", f"session {two}"))
        except VolumeError as error:
            problems.append(f"subject {subject}: {error}; a subject's scans must share one grid")
    return problems
