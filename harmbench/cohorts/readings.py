"""Ways to read scanners, visits and people from a data set, and how well each of them fits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.bids_sessions import Identity, identify
from harmbench.cohorts.bids_settings import BidsSettings
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.errors import CohortError
from harmbench.files.field_strength import FIELD, nominal_label, parse_tesla
from harmbench.files.sidecars import field_text, sidecar_fields

__all__ = ["STRAY_SHARE", "Evidence", "Reading", "ScannerRow", "read_as"]

_DEVICE = ("ManufacturersModelName", "DeviceSerialNumber", "StationName")
_PERSONAL = ("sex", "gender", "handedness", "ethnicity", "race")
STRAY_SHARE = 0.1
"""A single sidecar with a wrong value is no second device."""

_AGE_TOLERANCE_YEARS = 3.0


@dataclass(frozen=True, slots=True)
class ScannerRow:
    """One scanner: how many subjects, visits (of the subject with most) and scans it has."""

    scanner: str
    subjects: int
    visits: int
    scans: int


class Evidence:
    """What names, sidecars and tables say about the scans; sidecars are read once."""

    def __init__(self, files: Sequence[BidsFile], settings: BidsSettings, tables: StudyTables):
        self.files, self.settings, self.tables = tuple(files), settings, tables

    @cached_property
    def fields(self) -> dict[Path, dict[str, str]]:
        """Fields of the sidecars that have a value, as text; a field strength as its nominal one."""
        found: dict[Path, dict[str, str]] = {}
        for file in self.files:
            own = {n: field_text(v) for n, v in sidecar_fields(file.path).items()}
            found[file.path] = {name: text for name, text in own.items() if text}
            if FIELD in found[file.path]:
                try:
                    label = nominal_label(parse_tesla(found[file.path][FIELD]))
                except ValueError:
                    label = ""
                found[file.path][FIELD] = label
        return found

    def coverage(self, name: str) -> float:
        """Share of the scans whose sidecars have a field, from 0 to 1."""
        return sum(bool(own.get(name)) for own in self.fields.values()) / len(self.files)

    def device(self, file: BidsFile) -> tuple[str, ...]:
        """What names the device of a scan; empty texts are not known."""
        return tuple(self.fields[file.path].get(name, "") for name in self._device_fields)

    @cached_property
    def _device_fields(self) -> tuple[str, ...]:
        """Fields that name devices: not those that a scrambler filled anew for each subject."""
        people = {file.subject for file in self.files}
        if not any(self.coverage(name) for name in _DEVICE):
            # A field strength is often wrong: it counts against labels that are mere numbers only.
            numbers = all(file.session.isdecimal() for file in self.files)
            return ("Manufacturer", FIELD) if numbers else ("Manufacturer",)
        return tuple(name for name in _DEVICE if len(people) < 2 or self._shared(name))

    def _shared(self, name: str) -> bool:
        """Whether at least half of a field's scans have a value that several subjects have."""
        subjects: dict[str, set[str]] = defaultdict(set)
        for file in self.files:
            subjects[self.fields[file.path].get(name, "")].add(file.subject)
        own = [text for file in self.files if (text := self.fields[file.path].get(name, ""))]
        return 2 * sum(len(subjects[text]) > 1 for text in own) >= len(own)


@dataclass(frozen=True, slots=True)
class Reading:
    """One way of reading a data set.

    Attributes:
        settings: those of `data.bids` that give it.
        options: what to type for it.
        scans: files with their identity.
        why_not: what speaks against it; empty for a possible one.
        table: the scanners that it gives.
    """

    settings: BidsSettings
    options: tuple[str, ...]
    scans: tuple[tuple[BidsFile, Identity], ...]
    why_not: str = ""
    table: tuple[ScannerRow, ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why_not

    @property
    def paired(self) -> int:
        """Number of subjects with scans on two or more scanners."""
        return sum(len(scanners) > 1 for scanners in _scanners_of(self.scans).values())

    @property
    def repeats_visits(self) -> bool:
        """Whether a subject has several visits on one scanner."""
        return any(row.visits > 1 for row in self.table)


def read_as(evidence: Evidence, changes: Mapping[str, str], options: Sequence[str]) -> Reading:
    """Try a way of reading: identify every scan, and look for what speaks against it."""
    settings = evidence.settings.model_copy(update=dict(changes))
    found = identify(evidence.files, settings, evidence.tables)
    scans = tuple(found.scans)
    if found.problems or found.left_out:
        count = len(found.problems) + len(found.left_out)
        return Reading(settings, tuple(options), scans, f"{count} scans do not fit")
    why_not = (
        _too_few(scans)
        or _collisions(scans)
        or _crossing(evidence, scans)
        or _not_visits(scans)
        or _other_people(evidence, scans)
    )
    return Reading(settings, tuple(options), scans, why_not, _table(scans))


def _scanners_of(scans: Sequence[tuple[BidsFile, Identity]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for _, own in scans:
        found[own.subject].add(own.scanner)
    return found


def _table(scans: Sequence[tuple[BidsFile, Identity]]) -> tuple[ScannerRow, ...]:
    visits: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for _, own in scans:
        visits[own.scanner][own.subject].add(own.visit)
    counts = Counter(own.scanner for _, own in scans)
    return tuple(
        ScannerRow(scanner, len(own), max(map(len, own.values())), counts[scanner])
        for scanner, own in sorted(visits.items())
    )


def _too_few(scans: Sequence[tuple[BidsFile, Identity]]) -> str:
    """Fewer than two scanners, nobody on two, or scanners that mostly have one subject each."""
    of_subject = _scanners_of(scans)
    subjects: dict[str, set[str]] = defaultdict(set)
    for _, own in scans:
        subjects[own.scanner].add(own.subject)
    if len(subjects) < 2:
        return f"it gives {len(subjects)} scanner"
    if not any(len(scanners) > 1 for scanners in of_subject.values()):
        return "no subject has scans on two scanners"
    shared = [s for s, own in subjects.items() if len(own) > 1]
    scans_shared = sum(own.scanner in shared for _, own in scans)
    if len(of_subject) > 1 and scans_shared < len(scans) / 2:
        return "most scanners have one subject each"
    return ""


def _collisions(scans: Sequence[tuple[BidsFile, Identity]]) -> str:
    """Several sessions that become one visit, or several labels of one person on one scanner."""
    sessions: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
    labels: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for file, own in scans:
        sessions[own.subject, own.scanner, own.visit].add((file.subject, file.session))
        labels[own.subject, own.scanner, file.session].add(file.subject)
    if any(len(found) > 1 for found in sessions.values()):
        return "several sessions become one visit"
    if any(len(found) > 1 for found in labels.values()):
        return "several sub- labels of a person are on one scanner"
    return ""


def _crossing(evidence: Evidence, scans: Sequence[tuple[BidsFile, Identity]]) -> str:
    """A scanner with scans of several devices, of which one stands under another scanner too."""
    devices: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for file, own in scans:
        device = evidence.device(file)
        if any(device):
            devices[own.scanner][device] += 1
    solid = {
        scanner: {d for d, n in counts.items() if n > STRAY_SHARE * counts.total()}
        for scanner, counts in devices.items()
    }
    for scanner, here in solid.items():
        if len(here) > 1 and _visits_are_devices(evidence, scans, scanner):
            return f"the visits of {scanner} were on different devices"
        others = {d for name, found in solid.items() if name != scanner for d in found}
        apart = [d for d in here if not any(_compatible(d, e) for e in here - {d})]
        if len(apart) > 1 and here & others:
            return f"{scanner} has scans of several devices, and shares one with another scanner"
    return ""


def _visits_are_devices(
    evidence: Evidence, scans: Sequence[tuple[BidsFile, Identity]], scanner: str
) -> bool:
    """Whether each visit of a scanner has one device, and no two visits the same."""
    devices: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for file, own in scans:
        if own.scanner == scanner and own.visit:
            devices[own.visit].add(evidence.device(file))
    found = [device for own in devices.values() for device in own]
    apart = all(not _compatible(one, two) for i, one in enumerate(found) for two in found[:i])
    return len(devices) > 1 and len(found) == len(devices) and apart


def _compatible(one: Sequence[str], two: Sequence[str]) -> bool:
    """Whether two devices may be the same: values that both have are equal."""
    return all(a == b for a, b in zip(one, two, strict=True) if a and b)


def _not_visits(scans: Sequence[tuple[BidsFile, Identity]]) -> str:
    """Numbers that do not begin at 0 or 1 are no visits: `15` and `30` of GE15 and GE30."""
    numbers = [own.visit for _, own in scans if own.visit]
    if not numbers or not all(n.isdecimal() and len(n) < 4 for n in numbers):
        return ""
    late = min(map(int, numbers)) > 1 and len(set(numbers)) > 1
    return "the numbers are no visits" if late else ""


def _other_people(evidence: Evidence, scans: Sequence[tuple[BidsFile, Identity]]) -> str:
    """Labels that become one person although participants.tsv says that they are several."""
    tables = evidence.tables
    columns = [c for c in tables.columns("participants.tsv") if c.casefold() in (*_PERSONAL, "age")]
    people: dict[str, dict[str, BidsFile]] = defaultdict(dict)
    for file, own in scans:
        people[own.subject][file.subject] = file
    for labels in people.values():
        if len(labels) < 2:
            continue
        for column in columns:
            said = [_said(tables, file, column) for file in labels.values()]
            known = [value for value in said if value]
            if column.casefold() == "age":
                ages = [float(v) for v in known if re.fullmatch(r"[0-9.]+", v)]
                if ages and max(ages) - min(ages) > _AGE_TOLERANCE_YEARS:
                    return "people of different age would be one"
            elif len(set(known)) > 1:
                return f"people of different {column} would be one"
    return ""


def _said(tables: StudyTables, file: BidsFile, column: str) -> str:
    try:
        return tables.value(file, "participants.tsv", column, of_person=True) or ""
    except CohortError:
        return ""
