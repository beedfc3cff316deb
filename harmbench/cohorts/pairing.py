"""Which scans of a subject form pairs, and which are repeated scans on one scanner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.dates import parse_time
from harmbench.cohorts.left_out import LeftOut
from harmbench.task import Direction

__all__ = [
    "PairChoice",
    "Rescans",
    "ScanPair",
    "natural_key",
    "nearest_rescans",
    "pairs",
    "rescans",
    "taking_part",
    "visit_label",
    "visits_of",
    "with_plain_sessions",
]

PairChoice = Literal["closest", "all", "test"]
"""Which pairs: of closest visits, every combination of visits, or those that are tested."""


@dataclass(frozen=True, slots=True)
class ScanPair:
    """A scan on the source scanner, and one of the same subject on the target scanner.

    Attributes:
        subject: the person.
        visit: label of the visit on the source scanner, unique within the subject and scanner for
            pairs that are tested; see `visit_label`.
        source, target: the scans.
    """

    subject: str
    visit: str
    source: Scan
    target: Scan


@dataclass(frozen=True, slots=True)
class Rescans:
    """Several scans of one subject on one scanner, in order of visits."""

    subject: str
    scanner: str
    scans: tuple[Scan, ...]


def natural_key(label: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sorting key under which `v2` comes before `v10`."""
    parts = re.findall(r"[0-9]+|[^0-9]+", label)
    return tuple((0, int(p), p) if p[0] in "0123456789" else (1, 0, p.casefold()) for p in parts)


def visit_label(scan: Scan) -> str:
    """Return the visit of a scan, or its session where the visit has no label.

    It is empty where the session is the scanner: then the subject has one scan on it.
    """
    return scan.visit or ("" if scan.session == scan.scanner else scan.session)


def visits_of(cohort: Cohort, scanner: str) -> dict[str, tuple[Scan, ...]]:
    """Return each subject's scans on one scanner, in order of visits.

    Visits are ordered by time where every scan of the subject on the scanner has one, else by their
    labels: numbers in them by value.
    """
    found: dict[str, list[Scan]] = {}
    for scan in cohort.scans.values():
        if scan.scanner == scanner:
            found.setdefault(scan.subject, []).append(scan)
    return {s: _in_order(found[s]) for s in cohort.subjects if s in found}


def pairs(
    cohort: Cohort, direction: Direction, which: PairChoice = "closest"
) -> tuple[ScanPair, ...]:
    """Return the pairs of one direction, in the cohort's order of subjects and in order of visits.

    Args:
        cohort: the scans.
        direction: source and target scanner.
        which: `closest`: pairs of visits that are nearest to each other, each scan in one pair at
            most (for training); `all`: every scan on the source scanner with every one on the target
            scanner; `test`: the first scan of every visit on the source scanner, with the nearest
            on the target.

    Nearest is by time where both subjects' scans all have one, else by the visits' places in order.
    """
    sources = visits_of(cohort, direction.source)
    targets = visits_of(cohort, direction.target)
    return tuple(
        ScanPair(subject, visit_label(source), source, target)
        for subject, own in sources.items()
        if subject in targets
        for source, target in _PAIRED[which](own, targets[subject])
    )


def rescans(cohort: Cohort, scanner: str) -> tuple[Rescans, ...]:
    """Return, for each subject with several scans on one scanner, these scans."""
    return tuple(
        Rescans(subject, scanner, scans)
        for subject, scans in visits_of(cohort, scanner).items()
        if len(scans) > 1
    )


def nearest_rescans(scans: Sequence[Scan]) -> dict[str, Scan]:
    """Return, for each scan of one subject on one scanner, the other one that is nearest in time.

    Args:
        scans: all scans of a subject on a scanner, in any order.

    Returns:
        Session to the nearest other scan; empty where there is one scan only. Nearest is as in
        `pairs`; of two that are equally near, the earlier.
    """
    ordered = _in_order(scans)
    apart = _distances(ordered, ordered)
    places = range(len(ordered))
    return {
        scan.session: ordered[min((j for j in places if j != i), key=lambda j: apart[i, j])]
        for i, scan in enumerate(ordered)
        if len(ordered) > 1
    }


def with_plain_sessions(cohort: Cohort) -> Cohort:
    """Name sessions by their scanners where no subject has several scans on one scanner.

    Visits tell nothing apart then, and lose their labels. Any other cohort is returned as it is.
    """
    places = {(scan.subject, scan.scanner) for scan in cohort.scans.values()}
    simple = all(scan.session == scan.scanner for scan in cohort.scans.values())
    if simple or len(places) < len(cohort.scans):
        return cohort
    plain = [replace(s, session=s.scanner, visit="") for s in cohort.scans.values()]
    return replace(cohort, scans={(scan.subject, scan.session): scan for scan in plain})


def taking_part(cohort: Cohort, directions: Sequence[Direction]) -> Cohort:
    """Reduce a cohort to the subjects with a pair in some of the directions, and their scans there.

    All visits stay. Subjects that take no part are added to `left_out`.
    """
    scanners: dict[str, set[str]] = {}
    for way in directions:
        for pair in pairs(cohort, way):
            scanners.setdefault(pair.subject, set()).update((way.source, way.target))
    needed = sorted({scanner for way in directions for scanner in (way.source, way.target)})
    had: dict[str, set[str]] = {}
    for scan in cohort.scans.values():
        had.setdefault(scan.subject, set()).add(scan.scanner)
    out = []
    for subject in cohort.subjects:
        if subject not in scanners:
            lost = [scanner for scanner in needed if scanner not in had.get(subject, ())]
            few = f"no scan on {' and '.join(lost)}"
            reason = few if len(needed) == 2 else "no pair of scans in the directions of the run"
            out.append(LeftOut("scanner-missing", reason, f"subject {subject}"))
    return replace(
        cohort,
        groups={s: group for s, group in cohort.groups.items() if s in scanners},
        scans={
            key: scan
            for key, scan in cohort.scans.items()
            if scan.scanner in scanners.get(scan.subject, ())
        },
        left_out=(*cohort.left_out, *out),
    )


def _time(scan: Scan) -> float | None:
    """Seconds since 1970 of a scan, without time zones; `None` where its time is not known."""
    found = parse_time(scan.when)
    return None if found is None else (found - datetime(1970, 1, 1)).total_seconds()


def _times(scans: Sequence[Scan]) -> list[float] | None:
    """Times of scans; `None` unless each has one."""
    found = [_time(scan) for scan in scans]
    known = [time for time in found if time is not None]
    return known if len(known) == len(found) else None


def _in_order(scans: Sequence[Scan]) -> tuple[Scan, ...]:
    by_label = sorted(scans, key=lambda scan: (natural_key(scan.visit), natural_key(scan.session)))
    times = _times(by_label)
    if times is None:
        return tuple(by_label)
    order = sorted(range(len(by_label)), key=times.__getitem__)
    return tuple(by_label[place] for place in order)


def _distances(sources: Sequence[Scan], targets: Sequence[Scan]) -> Mapping[tuple[int, int], float]:
    """How far visits lie apart: in seconds, or in places of their order."""
    theirs, others = _times(sources), _times(targets)
    if theirs is None or others is None:
        theirs, others = [*range(len(sources))], [*range(len(targets))]
    return {(i, j): abs(a - b) for i, a in enumerate(theirs) for j, b in enumerate(others)}


def _closest(sources: Sequence[Scan], targets: Sequence[Scan]) -> list[tuple[Scan, Scan]]:
    apart = _distances(sources, targets)
    taken: dict[int, int] = {}
    # Symmetric in source and target, so that both directions have the same pairs.
    for i, j in sorted(apart, key=lambda key: (apart[key], sum(key), key)):
        if i not in taken and j not in taken.values():
            taken[i] = j
    return [(sources[i], targets[j]) for i, j in sorted(taken.items())]


def _every(sources: Sequence[Scan], targets: Sequence[Scan]) -> list[tuple[Scan, Scan]]:
    return [(source, target) for source in sources for target in targets]


def _tested(sources: Sequence[Scan], targets: Sequence[Scan]) -> list[tuple[Scan, Scan]]:
    apart = _distances(sources, targets)
    firsts: dict[str, int] = {}
    for i, source in enumerate(sources):
        firsts.setdefault(visit_label(source), i)
    nearest = {i: min(range(len(targets)), key=lambda j: apart[i, j]) for i in firsts.values()}
    return [(sources[i], targets[j]) for i, j in nearest.items()]


_PAIRED = {"closest": _closest, "all": _every, "test": _tested}
