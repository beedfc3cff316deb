"""Notes: assumptions about an input, and unusual properties that do not make it unusable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Note", "summarize", "to_records"]

_PLACES_SHOWN = 3


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One remark on an input.

    Attributes:
        kind: stable name, such as `left-right-guessed`; `docs/input-policy.md` lists them.
        text: one sentence without the place, so that equal notes can be grouped.
        where: a file, or `subject X, session Y`; empty for a whole data set.
    """

    kind: str
    text: str
    where: str = ""


def summarize(notes: Iterable[Note]) -> list[str]:
    """Return one line for each kind and text, with the first places and the number of others."""
    places: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        known = places.setdefault((note.kind, note.text), [])
        if note.where and note.where not in known:
            known.append(note.where)
    lines = []
    for (kind, text), found in sorted(places.items()):
        shown = ", ".join(found[:_PLACES_SHOWN])
        more = f" and {len(found) - _PLACES_SHOWN} more" if len(found) > _PLACES_SHOWN else ""
        lines.append(f"{kind}: {text}" + (f" ({shown}{more})" if found else ""))
    return lines


def to_records(notes: Iterable[Note]) -> list[dict[str, str]]:
    """Return notes as JSON-like values, without repetitions, in a fixed order."""
    return [{"kind": n.kind, "text": n.text, "where": n.where} for n in sorted(set(notes))]
