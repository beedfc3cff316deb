"""Scans that the user takes out: by a condition on columns, or by a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harmbench.cohorts.expression import LABELS, Condition, NotOrderedError, parse_condition
from harmbench.errors import CohortError, suggest
from harmbench.files.text import label_text, read_text
from harmbench.notes import Note

__all__ = ["Candidate", "Excluded", "excluded"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scan that may be taken out.

    Attributes:
        names: what a list may call it: its path below the data set, and its file name.
        subject, session: its labels, without `sub-` and `ses-`.
        value: gives its value in a column; `None` where it has none.
        place: says where the value of a column stands, for messages.
    """

    names: tuple[str, ...]
    subject: str
    session: str
    value: Callable[[str], str | None]
    place: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Excluded:
    """What is taken out.

    Attributes:
        reasons: the reason, by place among the scans.
        notes: conditions and lines of the list that do less than they seem to.
    """

    reasons: dict[int, str]
    notes: tuple[Note, ...]


def excluded(
    scans: Sequence[Candidate],
    conditions: Sequence[str],
    exclude_list: Path | None,
    columns: Sequence[str],
) -> Excluded:
    """Find the scans for which one of some conditions holds, or that a text file lists.

    `subject` and `participant_id` stand for a scan's subject, `session` and `session_id` for its
    session. A condition that holds for no scan is noted, and values that differ from a condition's
    in case or spaces only.

    A line of the list is a file (its path below the data set, or its name), `sub-01`, or
    `sub-01 ses-A` with a tab, a comma or spaces between; `sub-` and `ses-` may be left out.
    `participant_id` at the start of a first line marks a header; a line that begins with `#` is a
    comment. A line that fits no scan is noted.

    Args:
        scans: those that may be taken out.
        conditions: see `parse_condition`.
        exclude_list: the text file.
        columns: that conditions may look at, beside subject and session.

    Raises:
        ConfigError: a text is not a condition.
        CohortError: a condition names a column that nothing has, rows of a scan disagree, `<` or
            `>` meet values that have no order (lists all), or the list cannot be read.
    """
    parsed = [parse_condition(text) for text in conditions]
    allowed = {*columns, *LABELS}
    for column in (column for condition in parsed for column in condition.columns):
        if column not in allowed:
            raise CohortError(f"exclude: no column '{column}'; {suggest(column, allowed)}")
    reasons: dict[int, str] = {}
    notes: list[Note] = []
    problems: dict[str, None] = {}
    for condition in parsed:
        held = _held(condition, scans, problems)
        reasons = dict.fromkeys(held, f"excluded by: {condition.text}") | reasons
        if not held:
            text = f'the condition "{condition.text}" holds for no scan'
            notes.append(Note("exclude-unused", text))
        notes += _near(condition, scans)
    if problems:
        raise CohortError("exclude: values cannot be compared:", list(problems))
    if exclude_list is not None:
        listed, odd = _by_list(scans, exclude_list)
        reasons = dict.fromkeys(listed, f"excluded by the list {exclude_list.name}") | reasons
        notes += odd
    return Excluded(reasons, tuple(notes))


def _held(condition: Condition, scans: Sequence[Candidate], problems: dict[str, None]) -> list[int]:
    """Return the places of the scans that a condition holds for; add what cannot be compared."""
    found = []
    for place, scan in enumerate(scans):
        try:
            if condition.holds(scan.value):
                found.append(place)
        except NotOrderedError as error:
            problems[f"{scan.place(error.column)}: {error}"] = None
    return found


def _near(condition: Condition, scans: Sequence[Candidate]) -> list[Note]:
    """Note values that differ from those of a condition in case or spaces only."""
    notes = []
    for column, value in condition.equals:
        wanted = label_text(value).casefold()
        own: set[str] = set()
        for scan in scans:
            with suppress(CohortError):  # what disagrees is told where the condition is tried
                own.add(scan.value(column) or "")
        texts = {value, *(other for name, other in condition.equals if name == column)}
        near = sorted(t for t in own - texts if label_text(t).casefold() == wanted)
        if near:
            text = (
                f"{column} is also {', '.join(map(repr, near))}, which is not '{value}' in the "
                f'condition "{condition.text}"; did you mean it too?'
            )
            notes.append(Note("exclude-nearly", text))
    return notes


def _by_list(scans: Sequence[Candidate], path: Path) -> tuple[list[int], list[Note]]:
    """Return the places of the scans that a list has, and notes on it."""
    text, odd = read_text(path)
    lines = [line.strip() for line in text.split("\n")]
    wanted = [line for line in lines if line and not line.startswith("#")]
    if wanted and wanted[0].casefold().startswith("participant_id"):
        wanted = wanted[1:]
    found: dict[int, None] = {}
    notes = list(odd)
    for line in wanted:
        hits = [place for place, scan in enumerate(scans) if _listed(scan, line)]
        found |= dict.fromkeys(hits)
        if not hits:
            notes.append(Note("exclude-list-unused", f"'{line}' fits no scan", str(path)))
    return list(found), notes


def _listed(scan: Candidate, line: str) -> bool:
    if line.removeprefix("./") in {*scan.names, *_stems(scan.names)}:
        return True
    if line.removeprefix("sub-") == scan.subject:
        return True
    parts = line.replace("\t", " ").replace(",", " ").replace("/", " ").split()
    own = [scan.subject, scan.session]
    named = [part.removeprefix(f"{key}-") for key, part in zip(("sub", "ses"), parts, strict=False)]
    return len(parts) <= 2 and bool(named) and named == own[: len(named)]


def _stems(names: Iterable[str]) -> list[str]:
    return [Path(name).name.split(".nii")[0] for name in names]
