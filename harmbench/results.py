"""The tidy results table: one row per method, direction, fold, seed, subject, visit, metric and tissue.

Its files have the column `visit` only where a row has one: where subjects have one scan on each scanner,
it says nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TextIO, TypedDict

import pandas as pd
from typing_extensions import NotRequired

from harmbench.errors import ReportError
from harmbench.storage import write_text

__all__ = [
    "BASELINE",
    "CEILING",
    "COLUMNS",
    "FAILURES",
    "REAL_SCANS",
    "RESCAN",
    "STATUSES",
    "ResultRow",
    "ScoreRow",
    "has_visits",
    "merge",
    "read_results",
    "read_training_sizes",
    "results_header",
    "results_text",
    "table",
    "training_sizes_text",
    "write_results",
    "write_training_sizes",
]

BASELINE = "identity"
"""The control that paired differences are taken to: the untreated source."""

CEILING = "target"
"""The control that nothing is ranked against: the reference scored against itself."""

RESCAN = "rescan"
"""The control that says how good anyone can be: another scan on the target scanner, where there is one,
scored against the reference."""

REAL_SCANS = frozenset({CEILING, RESCAN})
"""Controls that are real scans of the target scanner: no method, and not ranked."""


class ScoreRow(TypedDict):
    """One score of a volume: a value in `unit`, NaN where it is missing, and one of `STATUSES`."""

    metric: str
    tissue: str
    value: float
    unit: str
    status: str


class ResultRow(ScoreRow):
    """A row of the results table: a score, and whose it is; without a visit, it is empty."""

    method: str
    direction: str
    fold: int
    seed: int
    subject: str
    visit: NotRequired[str]
    group: str
    segmenter: str


COLUMNS = (
    "method",
    "direction",
    "fold",
    "seed",
    "subject",
    "visit",
    "group",
    "segmenter",
    "metric",
    "tissue",
    "value",
    "unit",
    "status",
)

STATUSES = {
    "ok": "measured",
    "empty": "a tissue class is missing from one segmentation; the value is the metric's penalty",
    "undefined": "the metric has no value for these volumes",
    "segmentation_failed": "the volume could not be segmented; the value is missing",
    "segmentation_implausible": "the segmentation cannot be a brain's tissues, such as one without "
    "white matter; the value is missing",
    "failed": "the cell failed; the value is missing, the cell's log says why",
}

FAILURES = ("failed", "segmentation_failed", "segmentation_implausible")
"""Statuses of values that are missing because something failed."""

_IDENTITY = [c for c in COLUMNS if c not in {"value", "unit", "status", "group"}]
_SIZE = "train_subjects"
_TEXT = [
    "method",
    "direction",
    "subject",
    "visit",
    "group",
    "segmenter",
    "metric",
    "tissue",
    "unit",
    "status",
]


def table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Make a results table from rows, with all columns in order; a row without a visit has ""."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    frame["visit"] = frame["visit"].astype(object).fillna("")
    return frame.astype({"value": float, "fold": int, "seed": int})


def has_visits(frame: pd.DataFrame) -> bool:
    """Whether a row of a results table has a visit."""
    return bool((frame["visit"] != "").any())


def results_text(frame: pd.DataFrame, visits: bool | None = None) -> str:
    """Return a results table as CSV, in a fixed row order, values with nine significant digits.

    Args:
        frame: the table.
        visits: whether there is a column of visits; `None`: where a row has one.
    """
    with_visits = has_visits(frame) if visits is None else visits
    ordered = frame.sort_values(_IDENTITY, kind="stable")[_written_columns(with_visits)]
    return ordered.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def results_header(visits: bool) -> str:
    """Return the first line of `results_text`, with its line break."""
    return ",".join(_written_columns(visits)) + "\n"


def _written_columns(visits: bool) -> list[str]:
    return [name for name in COLUMNS if name != "visit" or visits]


def write_results(frame: pd.DataFrame, path: Path) -> None:
    """Write a results table as CSV (see `results_text`), atomically."""
    write_text(path, results_text(frame))


def read_results(source: Path | TextIO) -> pd.DataFrame:
    """Read a results table from its file, or from an open text; without visits, they are "".

    Raises:
        ReportError: the file is missing, or lacks a column.
    """
    if isinstance(source, Path) and not source.is_file():
        raise ReportError(f"{source}: no such file; is this the folder of a finished run?")
    texts: dict[Hashable, type[str]] = dict.fromkeys(_TEXT, str)
    try:
        frame = pd.read_csv(source, dtype=texts, keep_default_na=False, na_values={"value": [""]})
    except (ValueError, pd.errors.ParserError) as error:
        raise ReportError(f"{source}: not a results table ({error})") from error
    if "visit" not in frame.columns:
        frame["visit"] = ""
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ReportError(f"{source}: not a results table, columns missing: {', '.join(missing)}")
    return frame[list(COLUMNS)]


def write_training_sizes(frames: Iterable[pd.DataFrame], path: Path) -> None:
    """Write results tables that have the column `train_subjects` as one CSV, atomically.

    Args:
        frames: tables with the columns of `COLUMNS` and `train_subjects`, a number.
        path: the file.
    """
    write_text(path, training_sizes_text(pd.concat(frames, ignore_index=True)))


def training_sizes_text(whole: pd.DataFrame) -> str:
    """Return a results table with the column `train_subjects` as CSV, in a fixed row order."""
    columns = _written_columns(has_visits(whole))
    place = columns.index("seed") + 1
    columns.insert(place, _SIZE)
    ordered = whole.sort_values([*_IDENTITY, _SIZE], kind="stable")[columns]
    text: str = ordered.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return text


def read_training_sizes(path: Path | TextIO) -> pd.DataFrame:
    """Read what `write_training_sizes` wrote: a results table with the column `train_subjects`.

    Raises:
        ReportError: the file is missing, or lacks a column.
    """
    frame = read_results(path)
    if not isinstance(path, Path):
        path.seek(0)
    try:
        sizes = pd.read_csv(path, usecols=[_SIZE], dtype={_SIZE: int})
    except ValueError as error:
        raise ReportError(f"{path}: not a table of training sizes ({error})") from error
    return frame.assign(train_subjects=sizes[_SIZE].to_numpy())


def merge(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put tables together; where two hold the same measurement, the later one counts."""
    found = [frame for frame in frames if len(frame)]
    if not found:
        return table([])
    whole = pd.concat(found, ignore_index=True)
    return whole.drop_duplicates(_IDENTITY, keep="last", ignore_index=True)
