"""What a data set has and a cohort leaves out, with the reason, as data that can be counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harmbench.notes import Note

__all__ = ["LeftOut", "LeftOutGroup", "grouped", "left_out_notes"]


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """One scan or subject that takes no part.

    Attributes:
        kind: stable name of the reason, such as `excluded` or `other-run`.
        reason: one sentence that does not name the scan, so that equal reasons can be grouped.
        where: the scan's file name, or `subject X`.
    """

    kind: str
    reason: str
    where: str


@dataclass(frozen=True, slots=True)
class LeftOutGroup:
    """What is left out for one reason.

    Attributes:
        kind, reason: as in `LeftOut`.
        where: every scan or subject, in order, each once.
    """

    kind: str
    reason: str
    where: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many scans or subjects these are."""
        return len(self.where)


def grouped(items: Iterable[LeftOut]) -> tuple[LeftOutGroup, ...]:
    """Bring together what is left out for one reason, in order of kind and reason."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for item in items:
        found.setdefault((item.kind, item.reason), {})[item.where] = None
    return tuple(
        LeftOutGroup(kind, reason, tuple(where)) for (kind, reason), where in sorted(found.items())
    )


def left_out_notes(items: Iterable[LeftOut]) -> tuple[Note, ...]:
    """Return a note for each thing that is left out; notes are grouped where they are printed."""
    return tuple(Note(item.kind, item.reason, item.where) for item in items)
