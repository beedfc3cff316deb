"""The page of quality control: numbers, flags and pictures of prepared subjects in one HTML file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pandas as pd

from harmbench.pages.html import EmbeddedFigure, image_address, page_environment
from harmbench.pages.render import unit_text
from harmbench.pages.table import Column, Entry, Head, Row, Table
from harmbench.preparation.qc.figure import READING
from harmbench.storage import write_text

__all__ = ["PAGE_NAME", "QcColumn", "QcFlag", "QcRow", "write_qc_page"]

PAGE_NAME = "qc.html"

# A page may hold hundreds of figures; the PNG files have the full quality.
_IMAGE_QUALITY = 60

# Two folders or more: cutting them from a path leaves the file's name.
_FOLDERS = re.compile(r"(?<![\w./\\:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])+")


@dataclass(frozen=True, slots=True)
class QcColumn:
    """One number of the table.

    Attributes:
        name: its key in the rows.
        title: header.
        unit: `mm`, `ml`, `%`; empty or `1` for none.
        digits: decimals printed.
        explanation: what it measures, and which values speak for a failure.
    """

    name: str
    title: str
    unit: str
    digits: int
    explanation: str


@dataclass(frozen=True, slots=True)
class QcFlag:
    """A number that quality control noticed: its name, and a sentence for the reader."""

    number: str
    sentence: str


@dataclass(frozen=True, slots=True)
class QcRow:
    """One session of a subject.

    Attributes:
        subject, session: their names.
        status: how the preparation ended, such as `ok`.
        numbers: by name of a column; one that is absent or NaN is shown as a dash.
        flags: what was noticed.
    """

    subject: str
    session: str
    status: str
    numbers: Mapping[str, float]
    flags: tuple[QcFlag, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences of the flags."""
        return tuple(flag.sentence for flag in self.flags)


@dataclass(frozen=True, slots=True)
class _Flagged:
    """A subject with flags: the sentences, each with its session, and the anchor of its figure."""

    subject: str
    anchor: str
    pictured: bool
    sentences: tuple[tuple[str, str], ...]


def write_qc_page(
    root: Path,
    *,
    title: str,
    simulated: bool,
    settings: Mapping[str, object],
    rows: Sequence[QcRow],
    columns: Sequence[QcColumn],
    pictures: Mapping[str, Path],
    failures: Mapping[str, str],
    notes: Sequence[str],
) -> Path:
    """Write `qc.html` atomically; the same arguments give the same file.

    The page names no folder outside of `root`: paths in messages and settings are cut to the name
    of the file.

    Args:
        root: folder of the prepared data set.
        title: heading of the page.
        simulated: whether the scans are simulated; the page says so at the top.
        settings: of the preparation, nested.
        rows: one per subject and session.
        columns: the numbers shown, in order.
        pictures: subject to PNG file; a subject whose file is missing is named on the page.
        failures: subject to message, for those that could not be prepared.
        notes: sentences for the top of the page.

    Returns:
        Path of the page.
    """
    subjects = list(dict.fromkeys(row.subject for row in rows))
    subjects += [subject for subject in pictures if subject not in subjects]
    flagged = [subject for subject in subjects if _sentences(rows, subject)]
    ordered = [*flagged, *(subject for subject in subjects if subject not in flagged)]
    anchors = {subject: f"subject-{place}" for place, subject in enumerate(ordered, start=1)}
    prepared = [subject for subject in subjects if subject not in failures]
    found = {subject: path for subject, path in pictures.items() if path.is_file()}
    template = page_environment("harmbench.preparation.qc").get_template("qc.html.j2")
    page = template.render(
        title=title,
        simulated=simulated,
        prepared=len(prepared),
        total=len({*subjects, *failures}),
        failures={subject: _without_folders(text) for subject, text in failures.items()},
        flagged=[_Flagged(s, anchors[s], s in found, _sentences(rows, s)) for s in flagged],
        notes=[_without_folders(note) for note in notes],
        table=_table(rows, columns) if rows else None,
        columns=columns,
        unit=unit_text,
        settings=list(_flat(settings)),
        reading=READING,
        figures=[_figure(s, anchors[s], rows, found[s]) for s in ordered if s in found],
        unpictured=[subject for subject in prepared if subject not in found],
    )
    write_text(root / PAGE_NAME, page)
    return root / PAGE_NAME


def _without_folders(text: str) -> str:
    return _FOLDERS.sub("", text)


def _sentences(rows: Sequence[QcRow], subject: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (row.session, _without_folders(sentence))
        for row in rows
        if row.subject == subject
        for sentence in row.sentences
    )


def _table(rows: Sequence[QcRow], columns: Sequence[QcColumn]) -> Table:
    shown = [
        Row(
            labels=(row.subject, row.session, _status(row)),
            entries=tuple(_entry(row, column) for column in columns),
        )
        for row in rows
    ]
    return Table(
        name="numbers-table",
        title="Numbers per subject and session",
        caption="Bold, with the word “flagged”: a number that a flag is about. A dash: there is no "
        "such number, as for the reference session, which is not registered.",
        labels=("Subject", "Session", "Status"),
        columns=tuple(Column((Head(c.title, c.unit),), decimals=c.digits) for c in columns),
        rows=tuple(shown),
        data=pd.DataFrame(
            [
                {
                    "subject": row.subject,
                    "session": row.session,
                    "status": row.status,
                    **row.numbers,
                }
                for row in rows
            ]
        ),
    )


def _status(row: QcRow) -> str:
    count = len(row.flags)
    return f"{row.status}, {count} flag{'s' if count > 1 else ''}" if count else row.status


def _entry(row: QcRow, column: QcColumn) -> Entry:
    marked = any(flag.number == column.name for flag in row.flags)
    value = row.numbers.get(column.name, math.nan)
    return Entry(value, best=marked, note="flagged" if marked else "")


def _flat(settings: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as `strip.method` and value."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _value_text(value)


def _value_text(value: object) -> str:
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, str):
        return _without_folders(value)
    return _without_folders(json.dumps(value, default=str))


def _figure(subject: str, anchor: str, rows: Sequence[QcRow], picture: Path) -> EmbeddedFigure:
    address, width, height = image_address(picture, quality=_IMAGE_QUALITY)
    sentences = [f"{session}: {text}" for session, text in _sentences(rows, subject)]
    return EmbeddedFigure(
        name=anchor,
        title=f"Subject {subject}{' (flagged)' if sentences else ''}",
        caption=" ".join(f"Session {sentence}" for sentence in sentences),
        alt=f"Brain masks, checkerboards and histograms of subject {subject}.",
        section="subjects",
        width=width,
        height=height,
        address=address,
    )
