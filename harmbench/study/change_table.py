"""The table of measured changes of a run: one row per method, direction, fold, seed, visit and tissue."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TypedDict

import pandas as pd

from harmbench.errors import ReportError
from harmbench.storage import write_text

__all__ = ["CHANGE_COLUMNS", "ChangeRow", "change_table_path", "read_changes", "write_changes"]


class ChangeRow(TypedDict):
    """One measured change.

    `true_percent` and `measured_percent` are in percent of the first visit's volume on the target
    scanner; the latter is NaN where a volume could not be made or segmented. `key` says what it was
    measured from.
    """

    method: str
    direction: str
    fold: int
    seed: int
    subject: str
    group: str
    visit: str
    segmenter: str
    tissue: str
    true_percent: float
    measured_percent: float
    status: str
    key: str


CHANGE_COLUMNS = tuple(ChangeRow.__annotations__)
_NUMBERS = {"true_percent", "measured_percent", "fold", "seed"}
_ORDER = ["method", "direction", "segmenter", "fold", "seed", "subject", "visit", "tissue"]


def change_table_path(run: Path) -> Path:
    """Path of the table in a run folder."""
    return run / "study" / "changes.csv"


def read_changes(path: Path) -> pd.DataFrame:
    """Read the table; it is empty where there is none.

    Raises:
        ReportError: the file is not such a table.
    """
    if not path.is_file():
        return pd.DataFrame(columns=list(CHANGE_COLUMNS))
    texts: dict[Hashable, type[str]] = {c: str for c in CHANGE_COLUMNS if c not in _NUMBERS}
    missing_value = {"measured_percent": [""]}
    try:
        frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=missing_value)
    except (ValueError, pd.errors.ParserError) as error:
        raise ReportError(f"{path}: not a table of changes ({error})") from error
    missing = [column for column in CHANGE_COLUMNS if column not in frame.columns]
    if missing:
        raise ReportError(f"{path}: not a table of changes, it lacks {', '.join(missing)}")
    return frame[list(CHANGE_COLUMNS)]


def write_changes(frame: pd.DataFrame, path: Path) -> None:
    """Write the table atomically, in a fixed order, values with nine significant digits."""
    ordered = frame[list(CHANGE_COLUMNS)].sort_values(_ORDER, kind="stable")
    write_text(path, ordered.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
