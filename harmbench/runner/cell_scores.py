"""A cell's rows of the results table on disk: added to, and checked before they are trusted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError
from harmbench.results import ResultRow, read_results, results_text, table
from harmbench.runner.scoring import missing_rows
from harmbench.storage import key_of, write_text

__all__ = ["CellScores"]

log = logging.getLogger(__name__)

_NEEDED = ["method", "direction", "subject", "metric", "status"]


class CellScores:
    """The file `scores.csv` of a cell; it is read once, when first needed.

    A file that is cut or damaged never raises: what of it cannot be read counts as missing, and what
    can be read is compared with the checksums that the cell's record keeps. Each subject's rows are one
    stretch of the file, so that adding a subject formats the new rows alone.

    Args:
        path: the file; it need not exist.
        checksums: subject to the checksum of its rows, as the cell's record has them.
    """

    def __init__(self, path: Path, checksums: Mapping[str, str]) -> None:
        self._path, self._checksums = path, dict(checksums)
        self._texts: dict[str, str] = {}

    @property
    def checksums(self) -> Mapping[str, str]:
        """Subject to the checksum of its rows as they were last written."""
        return dict(self._checksums)

    @cached_property
    def _by_subject(self) -> dict[str, pd.DataFrame]:
        rows = self._read()
        return {str(subject): own for subject, own in rows.groupby("subject", sort=True)}

    def _read(self) -> pd.DataFrame:
        if not self._path.is_file():
            return table([])
        try:
            rows = _typed(read_results(self._path))
        except (ReportError, ValueError, OSError) as error:
            log.warning("%s: damaged, its rows are made again (%s)", self._path, error)
            return table([])
        # The last row of a file that was cut may end anywhere.
        return rows[(rows[_NEEDED].fillna("") != "").all(axis=1)]

    def trusted(self) -> pd.DataFrame:
        """Return all rows but those of subjects whose rows are not as they were written."""
        good = [
            rows
            for subject, rows in self._by_subject.items()
            if self._checksums.get(subject) in {None, _checksum(rows)}
        ]
        return pd.concat(good) if good else table([])

    def is_whole(self, subject: str) -> bool:
        """Whether every metric and tissue of a subject has its row, as it was written."""
        rows = self._by_subject.get(subject)
        if rows is None:
            return False
        wanted = sorted((row["metric"], row["tissue"]) for row in missing_rows("failed"))
        found = sorted(zip(rows["metric"], rows["tissue"], strict=True))
        return found == wanted and self._checksums.get(subject) in {None, _checksum(rows)}

    def is_scored(self, subject: str, failures: Sequence[str] = ("failed",)) -> bool:
        """Whether a subject's rows are whole and none has a status of `failures`."""
        if not self.is_whole(subject):
            return False
        return not self._by_subject[subject]["status"].isin(failures).any()

    def put(self, rows: Mapping[str, Sequence[ResultRow]]) -> None:
        """Write the rows of subjects in place of those that they have."""
        if not rows:
            return
        for subject, own in rows.items():
            text = results_text(table(own))
            self._texts[subject] = text.partition("\n")[2]
            # As they will be read: values have nine digits on disk.
            self._by_subject[subject] = _typed(read_results(StringIO(text)))
            self._checksums[subject] = _checksum(self._by_subject[subject])
        for subject, frame in self._by_subject.items():
            if subject not in self._texts:
                self._texts[subject] = results_text(frame).partition("\n")[2]
        header = results_text(table([]))
        write_text(self._path, header + "".join(self._texts[s] for s in sorted(self._texts)))

    def clear(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._by_subject.clear()
        self._texts.clear()
        self._checksums.clear()


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.astype({"value": float, "fold": int, "seed": int})


def _checksum(rows: pd.DataFrame) -> str:
    return key_of(rows.sort_values(["metric", "tissue"]).astype(str).to_numpy().tolist())
