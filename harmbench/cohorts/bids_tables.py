"""The tables of a BIDS folder: participants.tsv, sessions.tsv and scans.tsv, looked up by scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harmbench.cohorts.bids_names import BidsFile
from harmbench.cohorts.covariates import MISSING_VALUE
from harmbench.cohorts.dates import NOT_ISO, parse_time
from harmbench.errors import CohortError, suggest
from harmbench.files.text import label_text, read_table
from harmbench.notes import Note

__all__ = ["MISSING", "TABLES", "StudyTables", "TableRow"]

TABLES: Final = ("scans.tsv", "sessions.tsv", "participants.tsv")
"""The nearest to a scan first: where several have a column, the first one counts."""

MISSING: Final = frozenset({"", "n/a", "N/A", "na", "NA"})
"""Texts that say that there is no value."""

_SUBJECT, _SESSION, _FILE = "participant_id", "session_id", "filename"
_TIMES = ("acq_time", "session_date", "date", "acq_date", "scan_date")


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table, with its place for messages."""

    path: Path
    line: int
    values: Mapping[str, str]


class StudyTables:
    """The tables of one data set.

    A damaged sessions.tsv or scans.tsv is an error only where one of its columns is asked for.

    Attributes:
        notes: what was assumed about sessions.tsv and scans.tsv.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[Note] = []
        self._damaged: dict[str, str] = {}
        self._rows: dict[str, dict[str, list[TableRow]]] = {name: {} for name in TABLES}
        self._sessions: dict[str, dict[str, dict[str, None]]] = {name: {} for name in TABLES}
        self._columns: dict[str, dict[str, None]] = {name: {} for name in TABLES}
        self._read("participants.tsv", [root / "participants.tsv"])
        sessions = [root / "sessions.tsv", *sorted(root.glob("sub-*/sub-*_sessions.tsv"))]
        self._read("sessions.tsv", sessions)
        scans = [*root.glob("sub-*/sub-*_scans.tsv"), *root.glob("sub-*/ses-*/*_scans.tsv")]
        self._read("scans.tsv", [root / "scans.tsv", *sorted(scans)])

    def columns(self, table: str) -> tuple[str, ...]:
        """Return the columns of all files of one table."""
        return tuple(self._columns[table])

    def all_columns(self) -> tuple[str, ...]:
        """Return the columns of all tables, each once."""
        return tuple(dict.fromkeys(c for name in TABLES for c in self._columns[name]))

    def value(
        self, file: BidsFile, table: str, column: str, *, of_person: bool = False
    ) -> str | None:
        """Return a scan's value in a column; `None` where it has none.

        Args:
            file: the scan.
            table: one of `TABLES`.
            column: of the table.
            of_person: the column says something of the person, such as who it is: a session without
                a row of its own has what the other rows of its subject say.

        Raises:
            CohortError: the table is damaged or has no such column, or several rows of the scan
                disagree (names both values).
        """
        found = self._cell(file, table, column, of_person=of_person)
        return None if found is None else found[0]

    def any_value(self, file: BidsFile, column: str) -> str | None:
        """Return a scan's value in the first table that has the column and a value for the scan.

        Raises:
            CohortError: several rows of the scan disagree.
        """
        found = self._any_cell(file, column)
        return None if found is None else found[0]

    def place(self, file: BidsFile, column: str) -> str:
        """Say where `any_value` finds a scan's value: a table and its line; empty for no value."""
        found = self._any_cell(file, column)
        return "" if found is None else f"{found[1].path}, line {found[1].line}"

    def when(self, file: BidsFile) -> tuple[str, tuple[Note, ...]]:
        """Return the date or time of a scan, and notes on what cannot be read as one.

        The first column with a date in ISO 8601 counts; without one, the first that has a text,
        with a note. It is empty where no table has one.
        """
        texts: list[str] = []
        notes: list[Note] = []
        for column in _TIMES:
            try:
                cell = self._any_cell(file, column)
            except CohortError:
                continue
            if cell is None or cell[0].casefold() in MISSING_VALUE:
                continue
            text, row = cell
            if parse_time(text) is not None:
                return text, tuple(notes)
            texts.append(text)
            why = (
                f"{column} is {NOT_ISO}; it is not used, and the visits are ordered by their labels"
            )
            notes.append(Note("date-not-read", why, f"'{text}' in {row.path}, line {row.line}"))
        return next(iter(texts), ""), tuple(notes)

    def rows(self, table: str) -> Mapping[str, Sequence[TableRow]]:
        """Return the rows of one table by what they are about: a path, `sub-X`, or `sub-X Y` (session Y)."""
        return self._rows[table]

    def _any_cell(self, file: BidsFile, column: str) -> tuple[str, TableRow] | None:
        for table in TABLES:
            if column in self._columns[table]:
                found = self._cell(file, table, column)
                if found is not None:
                    return found
        return None

    def _cell(
        self, file: BidsFile, table: str, column: str, *, of_person: bool = False
    ) -> tuple[str, TableRow] | None:
        """Return a scan's value in a column, with the row that has it."""
        if table in self._damaged:
            raise CohortError(self._damaged[table])
        if column not in self._columns[table]:
            there = self._columns[table]
            why = suggest(column, there) if there else f"the data set has no {table}"
            raise CohortError(f"{table} has no column '{column}'; {why}")
        found: dict[str, TableRow] = {}
        for row in self._rows_of(file, table, of_person):
            text = row.values.get(column, "")
            if text not in MISSING:
                found.setdefault(text, row)
        if len(found) > 1:
            (one, first), (two, second), *_ = found.items()
            raise CohortError(
                f"{file.subject} has two values of {column}: '{one}' ({first.path.name}, line "
                f"{first.line}) and '{two}' ({second.path.name}, line {second.line})"
            )
        return next(iter(found.items()), None)

    def sessions_listed(self, file: BidsFile, table: str) -> tuple[str, ...]:
        """Return the labels of the sessions that a table lists for the subject of a scan."""
        return tuple(self._sessions[table].get(file.subject, ()))

    def without_row(self, files: Iterable[BidsFile]) -> list[Note]:
        """Note sessions that a table has no row for, although it lists others of their subject."""
        gaps = {
            (table, file.subject, file.session)
            for table in ("sessions.tsv", "participants.tsv")
            for file in files
            if file.session
            and self.sessions_listed(file, table)
            and not self._rows_of(file, table, of_person=False)
        }
        return [
            Note(
                "session-without-row",
                f"{table} lists other sessions of the subject and not this one, which has no value there",
                f"subject {subject}, session {session}",
            )
            for table, subject, session in sorted(gaps)
        ]

    def _rows_of(self, file: BidsFile, table: str, of_person: bool) -> Sequence[TableRow]:
        """Return the rows about a scan: of its file or session, else those of its whole subject.

        A row about another session says nothing of this one, unless the column is about the person.
        """
        rows = self._rows[table]
        if table == "scans.tsv":
            own = rows.get(label_text(str(file.path.relative_to(self.root))), [])
            return own or rows.get(label_text(file.path.name), [])
        listed = self.sessions_listed(file, table)
        if file.session and file.session in listed:
            return rows[f"{file.subject} {file.session}"]
        whole = rows.get(file.subject, [])
        if whole or (file.session and not of_person):
            return whole
        return [row for session in listed for row in rows[f"{file.subject} {session}"]]

    def _read(self, name: str, paths: Iterable[Path]) -> None:
        for path in paths:
            if not path.is_file():
                continue
            try:
                table = read_table(path, "\t")
            except CohortError as error:
                if name == "participants.tsv":  # it is read, and checked, for the groups too
                    raise
                self._damaged.setdefault(name, str(error))
                reason = str(error).removeprefix(f"{path}: ").splitlines()[0]
                self.notes.append(Note("table-unreadable", f"{reason}; it is not used", str(path)))
                continue
            if name != "participants.tsv":
                self.notes += table.notes
            self._columns[name] |= dict.fromkeys(table.columns)
            for row in table.rows:
                key = _key(self.root, name, path, row.values)
                if key:
                    found = TableRow(path, row.line, row.values)
                    self._rows[name].setdefault(key, []).append(found)
                    if name != "scans.tsv" and " " in key:
                        subject, session = key.split(" ", 1)
                        self._sessions[name].setdefault(subject, {})[session] = None


def _key(root: Path, name: str, path: Path, values: Mapping[str, str]) -> str:
    """Say whose row it is: a file's path below the root, `sub-X`, or `sub-X Y` (session Y)."""
    if name == "scans.tsv":
        file = label_text(values.get(_FILE, "")).removeprefix("./")
        if not file:
            return ""
        below = label_text(str(path.parent.relative_to(root)))
        return str(Path(below, file))
    own = label_text(path.name.split("_")[0]) if path.name.startswith("sub-") else ""
    subject = label_text(values.get(_SUBJECT, "")) or own
    if not subject:
        return ""
    subject = f"sub-{subject.removeprefix('sub-')}"
    session = label_text(values.get(_SESSION, "")).removeprefix("ses-")
    return f"{subject} {session}" if session not in MISSING else subject
