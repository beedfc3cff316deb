"""A cell's rows of the results table on disk: added to, and checked before they are trusted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harmbench.errors import ReportError
from harmbench.results import merge, read_results, table, write_results
from harmbench.runner.scoring import missing_rows
from harmbench.storage import key_of

__all__ = ["CellScores"]

log = logging.getLogger(__name__)

_NEEDED = ["method", "direction", "subject", "metric", "status"]


class CellScores:
    """The file `scores.csv` of a cell.

    A file that is cut or damaged never raises: what of it cannot be read counts as missing, and what
    can be read is compared with the checksums that the cell's record keeps.

    Args:
        path: the file; it need not exist.
        checksums: subject to the checksum of its rows. Kept up to date here; the caller stores it.
    """

    def __init__(self, path: Path, checksums: dict[str, str]) -> None:
        self._path, self._checksums = path, checksums

    def rows(self, subject: str | None = None) -> pd.DataFrame:
        """Read the rows of a subject, or all; none where the file is absent or damaged."""
        if not self._path.is_file():
            return table([])
        try:
            rows = read_results(self._path).astype({"value": float, "fold": int, "seed": int})
        except (ReportError, ValueError, OSError) as error:
            log.warning("%s: damaged, its rows are made again (%s)", self._path, error)
            return table([])
        # The last row of a file that was cut may end anywhere.
        rows = rows[(rows[_NEEDED].fillna("") != "").all(axis=1)]
        return rows if subject is None else rows[rows["subject"] == subject]

    def trusted(self) -> pd.DataFrame:
        """Read all rows but those of subjects whose rows are not as they were written."""
        rows = self.rows()
        wrong = [
            subject
            for subject, own in rows.groupby("subject")
            if self._checksums.get(str(subject)) not in {None, _checksum(own)}
        ]
        return rows[~rows["subject"].isin(wrong)]

    def is_whole(self, subject: str) -> bool:
        """Whether every metric and tissue of a subject has its row, as it was written."""
        return self._is_whole(self.rows(subject), subject)

    def is_scored(self, subject: str, failures: Sequence[str] = ("failed",)) -> bool:
        """Whether a subject's rows are whole and none has a status of `failures`."""
        rows = self.rows(subject)
        return self._is_whole(rows, subject) and not rows["status"].isin(failures).any()

    def _is_whole(self, rows: pd.DataFrame, subject: str) -> bool:
        wanted = sorted((row["metric"], row["tissue"]) for row in missing_rows("failed"))
        found = sorted(zip(rows["metric"], rows["tissue"], strict=True))
        return found == wanted and self._checksums.get(subject) in {None, _checksum(rows)}

    def put(self, subject: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a subject's rows in place of those that it has."""
        kept = self.rows()
        kept = kept[kept["subject"] != subject]
        write_results(merge([kept, table(rows)]), self._path)
        self._checksums[subject] = _checksum(self.rows(subject))

    def clear(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._checksums.clear()


def _checksum(rows: pd.DataFrame) -> str:
    return key_of(rows.sort_values(["metric", "tissue"]).astype(str).to_numpy().tolist())
