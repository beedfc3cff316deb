"""Which scans of a subject form pairs, and which are repeated scans on one scanner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.left_out import LeftOut, left_out_notes
from harmbench.errors import CohortError
from harmbench.notes import Note
from harmbench.task import Direction

__all__ = [
    "PairChoice",
    "Rescans",
    "ScanPair",
    "first_scans",
    "natural_key",
    "pairs",
    "require_pairs",
    "rescans",
    "visits_of",
]

PairChoice = Literal["closest", "all", "test"]
"""Which pairs: of closest visits, every combination of visits, or those that are tested."""


@dataclass(frozen=True, slots=True)
class ScanPair:
    """A scan on the source scanner, and one of the same subject on the target scanner.

    Attributes:
        subject: the person.
        visit: label of the visit on the source scanner.
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
            scanner; `test`: every scan on the source scanner once, with the nearest on the target.

    Nearest is by time where both subjects' scans all have one, else by the visits' places in order.
    """
    sources = visits_of(cohort, direction.source)
    targets = visits_of(cohort, direction.target)
    return tuple(
        ScanPair(subject, source.visit, source, target)
        for subject, own in sources.items()
        if subject in targets
        for source, target in _PAIRED[which](own, targets[subject])
    )


def require_pairs(cohort: Cohort, directions: Sequence[Direction]) -> None:
    """Check that each direction has a pair.

    Raises:
        CohortError: names the directions without one.
    """
    empty = [str(way) for way in directions if not pairs(cohort, way)]
    if empty:
        raise CohortError(
            f"no subject has scans on both scanners of {', '.join(empty)}: choose another direction"
        )


def rescans(cohort: Cohort, scanner: str) -> tuple[Rescans, ...]:
    """Return, for each subject with several scans on one scanner, these scans."""
    return tuple(
        Rescans(subject, scanner, scans)
        for subject, scans in visits_of(cohort, scanner).items()
        if len(scans) > 1
    )


def first_scans(cohort: Cohort, directions: Sequence[Direction]) -> Cohort:
    """Reduce a cohort to one scan for each subject and scanner of some directions: the first visit.

    Subjects that lack a scanner take no part. The scanner becomes the session's label. A cohort that
    is like this already is returned as it is.

    Raises:
        CohortError: no subject has scans on all these scanners.
    """
    scanners = list(dict.fromkeys(s for way in directions for s in (way.source, way.target)))
    visits = {scanner: visits_of(cohort, scanner) for scanner in scanners}
    whole = [s for s in cohort.subjects if all(s in visits[scanner] for scanner in scanners)]
    if not whole:
        raise CohortError(
            f"{cohort.path or 'the cohort'}: no subject has scans on all of {', '.join(scanners)}; "
            "choose other directions"
        )
    replicates = sum(len(visits[scanner][s]) > 1 for s in whole for scanner in scanners)
    simple = all(scan.session == scan.scanner for scan in cohort.scans.values())
    if simple and not replicates and len(whole) == len(cohort.subjects):
        return cohort
    notes = list(cohort.notes)
    if replicates:
        text = f"{replicates} times a subject has several scans on one scanner: the first is taken"
        notes.append(Note("replicates-not-used", text))
    missing = [
        LeftOut("scanner-missing", f"no scan on {', '.join(lost)}", f"subject {s}")
        for s in cohort.subjects
        if (lost := [scanner for scanner in scanners if s not in visits[scanner]])
    ]
    return replace(
        cohort,
        groups={s: cohort.groups[s] for s in whole},
        scans={
            (s, scanner): replace(visits[scanner][s][0], session=scanner, visit="")
            for s in whole
            for scanner in scanners
        },
        notes=(*notes, *left_out_notes(missing)),
        left_out=(*cohort.left_out, *missing),
    )


def _time(scan: Scan) -> float | None:
    """Seconds since 1970 of a scan, without time zones; `None` where its time is not known."""
    try:
        found = datetime.fromisoformat(scan.when)
    except ValueError:
        return None
    return (found.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()


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
    nearest = [min(range(len(targets)), key=lambda j: apart[i, j]) for i in range(len(sources))]
    return [(source, targets[j]) for source, j in zip(sources, nearest, strict=True)]


_PAIRED = {"closest": _closest, "all": _every, "test": _tested}
