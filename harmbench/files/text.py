"""Tables and JSON files of any encoding, line end and separator; all values stay text."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.bounded import JSON_BYTES, TABLE_BYTES, parse_json, read_bytes
from harmbench.errors import CohortError
from harmbench.files.kinds import EMPTY_FILE, HEAD_BYTES, pointer, why_no_file
from harmbench.notes import Note

__all__ = ["TextRow", "TextTable", "label_text", "read_object", "read_table", "read_text"]

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_NO_WIDTH = "\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}\N{WORD JOINER}"
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}


@dataclass(frozen=True, slots=True)
class TextRow:
    """One row of a table: the number of its first line, and its values by column, all text."""

    line: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table as it is in its file: `NA`, `007` and `1e3` stay text as written."""

    columns: tuple[str, ...]
    rows: tuple[TextRow, ...]
    notes: tuple[Note, ...] = ()


def label_text(text: str) -> str:
    """Return a label in one spelling: accents composed (NFC), one space between its words.

    Disks and tables write accented letters as one sign or as two, and tables have signs without a
    width; a label with them is not another one.
    """
    seen = text.translate(dict.fromkeys(map(ord, _NO_WIDTH)))
    return " ".join(unicodedata.normalize("NFC", seen).split())


def read_text(path: Path, most: int = TABLE_BYTES) -> tuple[str, tuple[Note, ...]]:
    r"""Read a text file in UTF-8, UTF-16, UTF-32 or, with a note, Windows-1252; lines end in `\n`.

    Args:
        path: the file.
        most: how many bytes it may have.

    Raises:
        CohortError: the file is not there, stands for one that is elsewhere (such as a pointer of
            Git LFS), cannot be read, is too large, or is not text.
    """
    problem = why_no_file(path)
    if problem and problem != EMPTY_FILE:
        raise CohortError(f"{path}: {problem}")
    try:
        raw = read_bytes(path, most)
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror})") from error
    if stand_in := pointer(raw[:HEAD_BYTES], path):
        raise CohortError(f"{path}: {stand_in}")
    notes: tuple[Note, ...] = ()
    encoding = _encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise CohortError(
                f"{path}: not readable as {encoding} text ({error.reason})"
            ) from error
        text = raw.decode("cp1252" if _fits(raw, "cp1252") else "latin-1")
        notes = (Note("encoding-guessed", "not UTF-8; read as Windows-1252 (Latin-1)", str(path)),)
    if "\0" in text:
        raise CohortError(f"{path}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _encoding(raw: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return encoding
    # UTF-16 without a mark: every other byte of Western text is 0.
    if raw[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if raw[:1] == b"\0" else "utf-8"


def _fits(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def read_object(path: Path) -> tuple[dict[str, object], tuple[Note, ...]]:
    """Read a JSON file that holds one object, and the notes on it.

    Raises:
        CohortError: the file cannot be read, is not JSON (the message names the line), has a field
            twice, or holds something else.
    """
    text, notes = read_text(path, JSON_BYTES)
    try:
        found = parse_json(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CohortError(f"{path}: not valid JSON, {where}: {error.msg}") from error
    except ValueError as error:
        raise CohortError(f"{path}: not usable JSON ({error})") from error
    if not isinstance(found, dict):
        raise CohortError(f"{path}: expected a JSON object {{...}}, got {type(found).__name__}")
    return found, notes


def read_table(path: Path, separator: str) -> TextTable:
    """Read a table with a header.

    Empty lines, and empty columns and values at the end of lines, are left out; spaces around
    values too. Values that are missing at the end of a line are empty.

    Args:
        path: the file.
        separator: tab or comma; where the header has none, the other one or `;` is used, and a
            note says so.

    Raises:
        CohortError: the file cannot be read, begins with a comment, a quotation has no end, a column
            has no name or occurs twice, or a line has more values than there are columns.
    """
    text, notes = read_text(path)
    # Excel's own first line; left empty, so that lines are counted as an editor does.
    if told := re.match(r"sep=(.)\n", text, re.IGNORECASE):
        separator, text = told[1], text[told.end() - 1 :]
    header = next((line for line in text.split("\n") if line.strip()), "")
    found = max(_SEPARATORS, key=lambda s: (s == separator and s in header, header.count(s)))
    if found != separator and found in header:
        text_of_note = f"values are separated by {_SEPARATORS[found]}"
        notes += (Note("table-separator", text_of_note, str(path)),)
    lines = _lines(path, text, found if found in header else separator)
    if not lines:
        raise CohortError(f"{path}: the table is empty")
    (first, columns), *rest = lines
    if columns[0].startswith("# ") or (
        columns[0].startswith("#") and any(any(v[len(columns) :]) for _, v in rest)
    ):
        raise CohortError(
            f"{path}: line {first} begins with #: comments are not read; the first line names the "
            "columns"
        )
    # An extra separator at the line ends gives a last column without name and values.
    while columns and not columns[-1] and not any("".join(v[len(columns) - 1 :]) for _, v in rest):
        columns = columns[:-1]
    problems = [f"column {n} has no name" for n, name in enumerate(columns, 1) if not name]
    twice = {name for name in columns if name and columns.count(name) > 1}
    problems += [f"column '{name}' is there twice" for name in sorted(twice)]
    rows = []
    for line, values in rest:
        if any(values[len(columns) :]):
            problems.append(f"line {line} has {len(values)} values for {len(columns)} columns")
        padded = [*values, *[""] * len(columns)]
        rows.append(TextRow(line, dict(zip(columns, padded, strict=False))))
    if problems:
        raise CohortError(f"{path} is not a usable table:", problems)
    return TextTable(tuple(columns), tuple(rows), notes)


def _quotation(error: csv.Error) -> str:
    """Say what is wrong with the quotation marks of a line; other errors are told as they are."""
    found = str(error)
    if "unexpected end" in found:
        return (
            "a value begins with a quotation mark that no other one closes before the end of the "
            "file; remove it, or write a mark inside a quotation as two"
        )
    if "expected after" in found:
        return "text goes on after a closing quotation mark; write a mark inside a quotation as two"
    return found


def _lines(path: Path, text: str, separator: str) -> list[tuple[int, Sequence[str]]]:
    """Split a table into values, without empty lines; each row with the number of its first line."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    found: list[tuple[int, Sequence[str]]] = []
    begins = 1
    try:
        for values in reader:
            stripped = [value.strip() for value in values]
            if any(stripped):
                found.append((begins, stripped))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise CohortError(f"{path}: line {begins}: {_quotation(error)}") from error
    return found
