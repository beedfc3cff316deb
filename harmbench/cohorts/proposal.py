"""Where the ses- labels do not say the scanner: what to type, and what it would give."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.bids_sessions import PREPARED
from harmbench.cohorts.bids_settings import AUTO, BidsSettings
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.cohorts.candidates import (
    by_label,
    by_like_scanner_column,
    by_scanner_column,
    by_the_rest,
)
from harmbench.cohorts.devices import devices_of_sessions
from harmbench.cohorts.readings import STRAY_SHARE, Evidence, Reading, ScannerRow, read_as
from harmbench.errors import CohortError

__all__ = ["Proposal", "UnclearScannersError", "propose", "require_clear_scanners"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to type.

    Attributes:
        reason: why the ses- labels do not do as they stand.
        options: of the command line; empty where nothing was found that fits.
        command: the whole command; empty likewise.
        table: the scanners that it gives.
        subjects, paired: how many people that gives, and how many of them on two or more scanners.
    """

    reason: str
    options: tuple[str, ...]
    command: str
    table: tuple[ScannerRow, ...]
    subjects: int
    paired: int


class UnclearScannersError(CohortError):
    """Nothing says which scanner made which scan.

    Attributes:
        proposal: what to type.
    """

    def __init__(self, summary: str, proposal: Proposal) -> None:
        super().__init__(summary)
        self.proposal = proposal


def require_clear_scanners(
    folder: Path, files: Sequence[BidsFile], settings: BidsSettings, tables: StudyTables
) -> None:
    """Check that the ses- labels can be the scanners, where no setting says what else is.

    Raises:
        UnclearScannersError: they can't.
    """
    if settings.session_by != AUTO or settings.session_pattern is not None:
        return
    if all(file.entities.get("desc") == PREPARED for file in files):
        return
    found = propose(folder, Evidence(files, settings, tables))
    if found is not None:
        labelled = all(file.session for file in files)
        raise UnclearScannersError(_text(folder, found, labelled=labelled), found)


def propose(folder: Path, evidence: Evidence) -> Proposal | None:
    """Return what to type; `None` where the ses- labels do as they stand."""
    given = _unusable(evidence)
    column = None if given is not None and given[1] else _contradicting_column(evidence)
    if column is not None:
        reason = f"{column.settings.session_by} disagrees with the ses- labels"
        return _proposal(folder, column, reason)
    fitting = [split for split in by_label(evidence) if split.fits]
    hidden = next((split for split in fitting if split.repeats_visits), None)
    two_labels = len({file.session for file in evidence.files}) <= 2
    if given is None and hidden is not None and not two_labels:
        reason = "the ses- labels hold the visit as well as the scanner"
        return _proposal(folder, hidden, reason)
    if given is None:
        return None
    reason, must = given
    best = _first_that_fits(by_scanner_column(evidence))
    best = best or next(iter(fitting), None)
    best = best or _first_that_fits(by_the_rest(evidence))
    if best is None:
        return Proposal(reason, (), "", (), 0, 0) if must else None
    return _proposal(folder, best, reason)


def _contradicting_column(evidence: Evidence) -> Reading | None:
    """Return the reading by a column of scanners that the ses- labels disagree with, if any does."""
    for reading in by_scanner_column(evidence):
        if reading.fits and (reading.repeats_visits or _crosses_labels(reading)):
            return reading
    readings = by_like_scanner_column(evidence)
    return next((own for own in readings if own.fits and _crosses_labels(own)), None)


def _crosses_labels(reading: Reading) -> bool:
    """Whether a ses- label has scans of several scanners, of which one stands in another label too."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for file, own in reading.scans:
        labels[file.session][own.scanner] += 1
    solid = {
        label: {name for name, n in counts.items() if n > STRAY_SHARE * counts.total()}
        for label, counts in labels.items()
    }
    return any(
        len(here) > 1
        and here & {name for other in solid if other != label for name in solid[other]}
        for label, here in solid.items()
    )


def _first_that_fits(readings: Iterable[Reading]) -> Reading | None:
    return next((reading for reading in readings if reading.fits), None)


def _proposal(folder: Path, reading: Reading, reason: str) -> Proposal:
    words = ["harmbench", "cohort", "--data", str(folder), *reading.options]
    people = {own.subject for _, own in reading.scans}
    command = " ".join(shlex.quote(word) for word in words)
    options = reading.options
    return Proposal(reason, options, command, reading.table, len(people), reading.paired)


def _text(folder: Path, found: Proposal, *, labelled: bool) -> str:
    lines = [f"{folder}: which scanner made which scan is not clear: {found.reason}"]
    if not found.command:
        lines += [
            "no way to tell scanners apart was found in names, sidecars and tables; say it with",
            "  --session-pattern REGEX, or --session-by with a sidecar field or a column",
        ]
        lines += ["to take each ses- label for a scanner: --session-by label"] * labelled
        return "\n".join(lines)
    width = max(len("scanner"), *(len(row.scanner) for row in found.table))
    lines += ["try:", f"  {found.command}", "which gives:"]
    lines += [f"  {'scanner':<{width}}  subjects  visits  scans"]
    lines += [
        f"  {row.scanner:<{width}}  {row.subjects:>8}  {row.visits:>6}  {row.scans:>5}"
        for row in found.table
    ]
    if any("sub-(" in option and "ses-" not in option for option in found.options):
        lines += ["people are told apart by the number alone: is the same number the same person?"]
    lines += [
        f"  {found.subjects} subjects, {found.paired} of them on two or more scanners",
        "visits: of the subject with most; to take each ses- label for a scanner: --session-by label",
    ]
    return "\n".join(lines)


def _unusable(evidence: Evidence) -> tuple[str, bool] | None:
    """Say why the ses- labels are not scanners, and whether they surely are not."""
    files = evidence.files
    bare = sum(not file.session for file in files)
    if bare:
        return f"{bare} of {len(files)} scans have no ses- label", True
    subjects: dict[str, set[str]] = defaultdict(set)
    for file in files:
        subjects[file.session].add(file.subject)
    if len(subjects) == 1:
        return f"all scans have the ses- label {next(iter(subjects))}", False
    people = {file.subject for file in files}
    shared = sum(len(subjects[file.session]) > 1 for file in files)
    if len(people) > 1 and shared < len(files) / 2:
        return "each subject has ses- labels of its own", len(subjects) > 2
    return _contradicted(evidence, len(subjects))


def _contradicted(evidence: Evidence, labels: int) -> tuple[str, bool] | None:
    """Say what sidecars have against so many ses- labels as scanners."""
    if _several_devices(evidence):
        return "sessions hold scans of several devices", False
    as_is = read_as(evidence, {"session_by": "label"}, ())
    if "devices" in as_is.why_not:
        return f"sidecars contradict the ses- labels: {as_is.why_not}", True
    same, changed = devices_of_sessions(evidence)
    if same > changed:
        return "a subject's sessions are on one and the same device, by the sidecars", True
    again, apart = _returns(evidence)
    # With two labels a constant station may be a scrambler's: the software must tell most apart.
    if again and (labels > 2 or again <= apart):
        return "several sessions of a subject are on one device, by the sidecars", False
    return None


def _returns(evidence: Evidence) -> tuple[int, int]:
    """Count subjects with several sessions on one device, and those with each on another.

    Both are 0 where sidecars do not name devices by serial number or station. The software counts as
    a part of the device: after an upgrade it is another one.
    """
    strong = [f for f in ("DeviceSerialNumber", "StationName") if evidence.coverage(f) == 1]
    if not strong:
        return 0, 0
    names = (*strong, "ManufacturersModelName", "SoftwareVersions")
    sessions: dict[str, dict[tuple[str, ...], set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in evidence.files:
        device = tuple(evidence.fields[file.path].get(name, "") for name in names)
        sessions[file.subject][device].add(file.session)
    again = sum(any(len(own) > 1 for own in devices.values()) for devices in sessions.values())
    several = sum(len(set().union(*devices.values())) > 1 for devices in sessions.values())
    return again, several - again


def _several_devices(evidence: Evidence) -> bool:
    """Whether most sessions of most subjects have scans of different devices, by their sidecars."""
    devices: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for file in evidence.files:
        device = evidence.device(file)
        devices[file.subject, file.session] |= {device} if any(device) else set()
    return sum(len(own) > 1 for own in devices.values()) > len(devices) / 2
