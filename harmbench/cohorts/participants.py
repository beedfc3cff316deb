"""The groups of a BIDS folder's subjects, from participants.tsv."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harmbench.errors import CohortError, suggest
from harmbench.files.text import TextTable, label_text, read_table
from harmbench.notes import Note

__all__ = [
    "DEFAULT_COLUMN",
    "EVERYBODY",
    "Participants",
    "other_tables",
    "read_participants",
]

EVERYBODY: Final = "all"
"""The group of subjects without a group in the table."""

DEFAULT_COLUMN: Final = "group"

_FILE = "participants.tsv"
_SUBJECT = "participant_id"
_TABLES = {".tsv", ".csv", ".txt", ".xls", ".xlsx", ".ods"}
_MISSING = {"", "n/a"}
_LIKE_GROUPS = {"group", "groups", "diagnosis", "diagnoses", "dx", "diag", "patient_group"}
_LIKE_GROUPS |= {"clinical_group", "disease", "condition", "cohort", "status", "phenotype", "arm"}


@dataclass(frozen=True, slots=True)
class Participants:
    """The contents of participants.tsv.

    Attributes:
        groups: listed subjects (`sub-01`) to their group.
        twice: subjects with rows that give two groups, each with a sentence that names both.
        grouped: whether there is a column of groups.
        notes: what was assumed.
    """

    groups: Mapping[str, str]
    grouped: bool
    notes: tuple[Note, ...]
    twice: Mapping[str, str]


def read_participants(folder: Path, column: str = DEFAULT_COLUMN) -> Participants | None:
    """Read participants.tsv; `None` where a BIDS folder has none.

    A subject may have several rows, such as one for each session: its group is what they agree on.

    Args:
        folder: root of the data set.
        column: the column with the groups. Without the default column all subjects are one group;
            other columns that look like one are named in a note.

    Raises:
        CohortError: the table is not usable, or has no such column.
    """
    path = folder / _FILE
    if not os.path.lexists(path):
        return None
    table = read_table(path, "\t")
    if _SUBJECT not in table.columns:
        raise CohortError(f"{path} has no column {_SUBJECT}; it has {', '.join(table.columns)}")
    grouped = column in table.columns
    if not grouped and column != DEFAULT_COLUMN:
        raise CohortError(
            f"{path}: data.bids.group_column is '{column}'; {suggest(column, table.columns)}"
        )
    notes = [*table.notes, *([] if grouped else _offers(table, path))]
    problems = [
        f"line {row.line}: {_SUBJECT} is empty" for row in table.rows if not row.values[_SUBJECT]
    ]
    if problems:
        raise CohortError(f"{path} cannot be used:", problems)
    said: dict[str, dict[str, int]] = {}
    for row in table.rows:
        subject = f"sub-{label_text(row.values[_SUBJECT]).removeprefix('sub-')}"
        values = said.setdefault(subject, {})
        value = label_text(row.values[column]) if grouped else EVERYBODY
        if value.casefold() not in _MISSING:
            values.setdefault(value, row.line)
    twice = {}
    for subject, values in said.items():
        if not values:
            text = f"its {column} is missing in {_FILE}; it is in the group '{EVERYBODY}'"
            notes.append(Note("group-missing", text, f"subject {subject}"))
        if len(values) > 1:
            each = " and ".join(f"'{value}' (line {line})" for value, line in values.items())
            twice[subject] = f"{_FILE} gives {subject} several values of {column}: {each}"
    groups = {subject: next(iter(values), EVERYBODY) for subject, values in said.items()}
    return Participants(groups, grouped, tuple(notes), twice)


def other_tables(folder: Path) -> list[Note]:
    """Name files that may be meant as a data set's participants.tsv, where it has none."""
    text = f"there is no {_FILE}, and this file is not read: all subjects are one group"
    found = sorted(p for p in folder.glob("[Pp][Aa][Rr][Tt][Ii][Cc][Ii][Pp][Aa][Nn][Tt]*.*"))
    return [Note("table-not-read", text, str(p)) for p in found if p.suffix.lower() in _TABLES]


def _offers(table: TextTable, path: Path) -> Sequence[Note]:
    """Name the columns that may hold the groups."""
    offered = [c for c in table.columns if c.casefold().replace(" ", "_") in _LIKE_GROUPS]
    if not offered:
        return []
    choices = " or ".join(f"data.bids.group_column={name}" for name in offered)
    text = f"there is no column '{DEFAULT_COLUMN}', all subjects are one group; choose {choices}"
    return [Note("group-column-offered", text, str(path))]
