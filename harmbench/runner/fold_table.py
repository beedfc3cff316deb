"""`folds.csv`: which fold holds each subject out, and the folds that single directions have instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from harmbench.folds import Folds
from harmbench.runner.inputs import read_table
from harmbench.task import Direction

__all__ = ["FoldRows", "fold_rows", "folds_text", "read_fold_rows"]

FoldRows = dict[tuple[str, str], int]
"""(direction, subject) to fold; the direction is empty for the folds that all share."""


def fold_rows(folds: Folds, own: Mapping[Direction, Folds]) -> FoldRows:
    """Return the rows of common folds, and of those of single directions."""
    rows = {("", subject): fold for subject, fold in folds.assignment.items()}
    for way, other in own.items():
        rows |= {(str(way), subject): fold for subject, fold in other.assignment.items()}
    return rows


def read_fold_rows(path: Path) -> tuple[FoldRows, dict[str, str]]:
    """Read the folds of a run, and the group of each subject.

    Raises:
        RunError: the table is missing or damaged.
    """
    frame = read_table(path, ("subject", "group", "fold"))
    ways = frame["direction"] if "direction" in frame.columns else [""] * len(frame)
    rows = {
        (str(way), str(subject)): int(fold)
        for way, subject, fold in zip(ways, frame["subject"], frame["fold"], strict=True)
    }
    return rows, dict(zip(frame["subject"], frame["group"], strict=True))


def folds_text(rows: FoldRows, groups: Mapping[str, str]) -> str:
    """Return the folds of a run as CSV, with a column `direction` only where one has its own folds."""
    table = [
        {"subject": subject, "group": groups[subject], "fold": fold, "direction": way}
        for (way, subject), fold in rows.items()
    ]
    columns = ["subject", "group", "fold", *(["direction"] if any(way for way, _ in rows) else [])]
    return pd.DataFrame(table, columns=columns).to_csv(index=False, lineterminator="\n")
