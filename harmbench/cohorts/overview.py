"""A cohort in one screen: scanners, pairs of each direction, what is left out and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.left_out import grouped
from harmbench.cohorts.pairing import pairs, rescans, visits_of
from harmbench.task import Direction

__all__ = ["DirectionRow", "LeftOutRow", "Overview", "ScannerCount", "overview", "overview_lines"]

_WHERE_SHOWN = 3
_MOST_COLUMNS = 12


class ScannerCount(TypedDict):
    """One scanner; `visits` is of the subject with most, `rescanned` counts subjects with several."""

    scanner: str
    subjects: int
    visits: int
    scans: int
    rescanned: int


class DirectionRow(TypedDict):
    """One direction: subjects with a pair, pairs of closest visits, and pairs that are tested."""

    direction: str
    source: str
    target: str
    subjects: int
    pairs: int
    test_pairs: int


class LeftOutRow(TypedDict):
    """What is left out for one reason."""

    kind: str
    reason: str
    count: int
    where: list[str]


class Overview(TypedDict):
    """All counts of a cohort."""

    description: str
    simulated: bool
    subjects: int
    groups: dict[str, int]
    scanners: list[ScannerCount]
    directions: list[DirectionRow]
    left_out: list[LeftOutRow]


def overview(cohort: Cohort, directions: Sequence[Direction] | None = None) -> Overview:
    """Count a cohort's scanners, pairs, and what it leaves out.

    Args:
        cohort: the scans.
        directions: those to count; every ordered pair of scanners where `None`.
    """
    ways = directions
    if ways is None:
        ways = tuple(Direction(a, b) for a in cohort.scanners for b in cohort.scanners if a != b)
    groups = dict.fromkeys(sorted(set(cohort.groups.values())), 0)
    for group in cohort.groups.values():
        groups[group] += 1
    return {
        "description": cohort.description,
        "simulated": cohort.simulated,
        "subjects": len(cohort.subjects),
        "groups": groups,
        "scanners": [_scanner(cohort, scanner) for scanner in cohort.scanners],
        "directions": [_direction(cohort, way) for way in ways],
        "left_out": [
            {"kind": g.kind, "reason": g.reason, "count": g.count, "where": list(g.where)}
            for g in grouped(cohort.left_out)
        ],
    }


def _scanner(cohort: Cohort, scanner: str) -> ScannerCount:
    own = visits_of(cohort, scanner)
    return {
        "scanner": scanner,
        "subjects": len(own),
        "visits": max(map(len, own.values())),
        "scans": sum(map(len, own.values())),
        "rescanned": len(rescans(cohort, scanner)),
    }


def _direction(cohort: Cohort, way: Direction) -> DirectionRow:
    found = pairs(cohort, way)
    return {
        "direction": str(way),
        "source": way.source,
        "target": way.target,
        "subjects": len({pair.subject for pair in found}),
        "pairs": len(found),
        "test_pairs": len(pairs(cohort, way, "test")),
    }


def overview_lines(found: Overview) -> list[str]:
    """Return the overview as lines of at most 80 characters, but for long labels and paths."""
    groups = ", ".join(f"{count} {group}" for group, count in found["groups"].items())
    lines = [found["description"], f"{found['subjects']} subjects ({groups})", ""]
    lines += _scanner_lines(found["scanners"])
    lines += ["", *_direction_lines(found)]
    if found["left_out"]:
        lines += ["", "left out"]
        for group in found["left_out"]:
            shown = ", ".join(group["where"][:_WHERE_SHOWN])
            more = group["count"] - _WHERE_SHOWN
            lines += [f"  {group['count']:>5}  {group['reason']}"]
            lines += [f"         {shown}{f' and {more} more' if more > 0 else ''}"]
    return lines


def _scanner_lines(rows: Sequence[ScannerCount]) -> list[str]:
    width = max((len(row["scanner"]) for row in rows), default=0)
    width = max(width, len("scanner"))
    lines = [f"     {'scanner':<{width}}  subjects  visits  scans  rescanned"]
    for number, row in enumerate(rows, start=1):
        lines.append(
            f"{f'[{number}]':>4} {row['scanner']:<{width}}  {row['subjects']:>8}  "
            f"{row['visits']:>6}  {row['scans']:>5}  {row['rescanned']:>9}"
        )
    return [*lines, "visits: of the subject with most; rescanned: subjects with several scans"]


def _direction_lines(found: Overview) -> list[str]:
    """A line for each direction, or a table of scanners by scanners where there are many."""
    rows = found["directions"]
    if not rows:
        return ["no direction: there is one scanner only"]
    if len(rows) <= 6:
        return ["pairs for training, and to test", *(_direction_line(row) for row in rows)]
    number = {row["scanner"]: place for place, row in enumerate(found["scanners"], start=1)}
    if len(number) > _MOST_COLUMNS:
        with_pairs = [row for row in rows if row["pairs"]]
        return [
            f"{len(with_pairs)} of {len(rows)} directions have pairs; those with most:",
            *(_direction_line(r) for r in sorted(with_pairs, key=lambda r: -r["pairs"])[:8]),
            "all of them: --json",
        ]
    counts = {(row["source"], row["target"]): row for row in rows}
    lines = ["subjects/pairs to test, from a scanner (row) to another (column)"]
    lines += ["     " + "".join(f"{f'[{place}]':>6}" for place in number.values())]
    for source, place in number.items():
        cells = []
        for target in number:
            row = counts.get((source, target))
            cells.append(f"{row['subjects']}/{row['test_pairs']}" if row and row["pairs"] else "-")
        lines.append(f"{f'[{place}]':>4} " + "".join(f"{cell:>6}" for cell in cells))
    return lines


def _direction_line(row: DirectionRow) -> str:
    return (
        f"  {row['direction']}: {row['subjects']} subjects, {row['pairs']} pairs, "
        f"{row['test_pairs']} to test"
    )
