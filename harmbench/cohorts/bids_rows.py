"""Rows of a BIDS folder's tables that are about nothing in the folder."""

from __future__ import annotations

import os
from collections.abc import Iterable

from harmbench.cohorts.bids_names import Listing
from harmbench.cohorts.bids_tables import StudyTables
from harmbench.files.text import label_text
from harmbench.notes import Note

__all__ = ["rows_without_scan"]

_OF_SESSIONS = ("sessions.tsv", "participants.tsv")


def rows_without_scan(tables: StudyTables, listing: Listing, suffixes: Iterable[str]) -> list[Note]:
    """Note rows of scans.tsv that fit no file, and rows about sessions that are not there.

    Args:
        tables: of the data set.
        listing: the data set's images.
        suffixes: of the scans that are asked for; rows of scans.tsv for others are left alone.
    """
    return [*_without_file(tables, listing, suffixes), *_without_session(tables, listing)]


def _without_file(tables: StudyTables, listing: Listing, suffixes: Iterable[str]) -> list[Note]:
    paths = [*(file.path for file in listing.files), *(one.path for one in listing.unknown)]
    known = {label_text(str(path.relative_to(tables.root))) for path in paths}
    known |= {label_text(path.name) for path in paths}
    endings = tuple(f"_{suffix.casefold()}" for suffix in suffixes)
    text = "the file of this row is not there; the row is not used"
    return [
        Note("table-row-without-file", text, f"{row.path}, line {row.line}: {key}")
        for key, rows in tables.rows("scans.tsv").items()
        if key.partition(".nii")[0].casefold().endswith(endings)
        if key not in known and not os.path.lexists(tables.root / key)
        for row in rows
    ]


def _without_session(tables: StudyTables, listing: Listing) -> list[Note]:
    known = {f"{file.subject} {file.session}" for file in listing.files}
    known |= {f"{one.subject} {one.session}" for one in listing.unknown}
    # participants.tsv is compared with the subjects where the groups are read.
    listed = {key for key in tables.rows("participants.tsv") if " " not in key}
    known |= {*listing.subjects, *listed}
    text = "the session of this row is not there; the row is not used"
    return [
        Note("table-row-without-session", text, f"{row.path}, line {row.line}: {key}")
        for table in _OF_SESSIONS
        for key, rows in tables.rows(table).items()
        if key not in known and not _has_folder(tables, key)
        for row in rows
    ]


def _has_folder(tables: StudyTables, key: str) -> bool:
    """Whether there is a folder, which may have no image or be left out by `.bidsignore`."""
    subject, _, session = key.partition(" ")
    # `Path.is_dir` raises for a name that is too long for a folder.
    return os.path.isdir(tables.root / subject / (f"ses-{session}" if session else ""))  # noqa: PTH112
