"""Which directions are run: ordered pairs of scanners."""

from __future__ import annotations

from collections.abc import Sequence

from harmbench.errors import CohortError, suggest
from harmbench.task import Direction

__all__ = ["ALL", "BOTH", "choose_directions"]

BOTH = "both"
"""Both directions between two scanners."""

ALL = "all"
"""Every ordered pair of scanners."""


def choose_directions(
    scanners: Sequence[str],
    source: str | None = None,
    target: str | None = None,
    which: str = BOTH,
) -> tuple[Direction, ...]:
    """Choose directions between the scanners of a cohort.

    Args:
        scanners: their labels, sorted.
        source, target: scanners; both may be left out where there are exactly two. With more than
            two, a source alone means every direction from it, a target alone every one to it.
        which: `both`, `all`, or one or several directions such as `A-to-B,B-to-C`; these count
            before `source` and `target`.

    Raises:
        CohortError: a scanner or direction is unknown, there is one scanner only, or more than two
            leave the choice open.
    """
    possible = tuple(Direction(a, b) for a in scanners for b in scanners if a != b)
    if which != BOTH:
        return possible if which == ALL and possible else _listed(which, possible)
    for label in (source, target):
        if label is not None and label not in scanners:
            raise CohortError(f"unknown scanner '{label}'; {suggest(label, scanners)}")
    if source is not None and source == target:
        raise CohortError(f"source and target are the same scanner '{source}'")
    if len(scanners) < 2:
        raise CohortError(
            f"the cohort has one scanner only ({', '.join(scanners) or 'none'}): there is no direction"
        )
    if source is not None and target is not None:
        return (Direction(source, target), Direction(target, source))
    if len(scanners) == 2:
        first = next(
            way for way in possible if source in (None, way.source) and target in (None, way.target)
        )
        return (first, first.reverse)
    if source is None and target is None:
        raise CohortError(
            f"the cohort has the scanners {', '.join(scanners)}: choose two with --source and "
            "--target, one --target for every other scanner to it, or --direction all"
        )
    return tuple(
        way for way in possible if source in (None, way.source) and target in (None, way.target)
    )


def _listed(text: str, possible: Sequence[Direction]) -> tuple[Direction, ...]:
    """Read `A-to-B,B-to-C`."""
    by_name = {str(way): way for way in possible}
    if text in by_name:  # a label may have a comma in it
        return (by_name[text],)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in by_name:
            raise CohortError(f"unknown direction '{name}'; {suggest(name, [BOTH, ALL, *by_name])}")
    return tuple(by_name[name] for name in dict.fromkeys(names))
