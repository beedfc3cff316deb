"""A cell's rows of the results table on disk: added to, and checked before they are trusted."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError
from harmbench.metrics.lesion_declarations import LESION_METRICS
from harmbench.results import (
    ResultRow,
    ScoreRow,
    has_visits,
    read_results,
    results_header,
    results_text,
    table,
)
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.pairs import SessionPair
from harmbench.runner.scoring import missing_rows
from harmbench.runner.tissue_volumes import VOLUME_METRICS
from harmbench.storage import key_of, write_text

__all__ = ["CellScores"]

log = logging.getLogger(__name__)

_NEEDED = ["method", "direction", "subject", "metric", "status"]


class CellScores:
    """The file `scores.csv` of a cell; it is read once, when first needed.

    A file that is cut or damaged never raises: what of it cannot be read counts as missing, and what
    can be read is compared with the checksums that the cell's record keeps. The rows of each tested pair
    are one stretch of the file, so that adding a pair formats the new rows alone.

    Pairs go by their names: the subject, and the visit if there is one (`SessionPair.name`).

    Args:
        path: the file; it need not exist.
        checksums: pair to the checksum of its rows, as the cell's record has them.
        metrics: names of the metrics that have rows; `None`: all.
    """

    def __init__(
        self, path: Path, checksums: Mapping[str, str], metrics: Collection[str] | None = None
    ) -> None:
        self._path, self._checksums, self._metrics = path, dict(checksums), metrics
        self._texts: dict[str, str] = {}
        self._intact: dict[str, bool] = {}
        self._with_visits = False

    @classmethod
    def of(cls, folder: CellFolder, record: CellRecord) -> CellScores:
        """Return the rows of a cell; those of a volume correction are of volumes alone."""
        metrics = VOLUME_METRICS if record.maps == "volumes" else None
        return cls(folder.scores, record.checksums, metrics)

    @property
    def checksums(self) -> Mapping[str, str]:
        """Pair to the checksum of its rows as they were last written."""
        return dict(self._checksums)

    @cached_property
    def _by_pair(self) -> dict[str, pd.DataFrame]:
        rows = self._read()
        self._with_visits = has_visits(rows)
        groups = rows.groupby(["subject", "visit"], sort=True)
        found = {SessionPair(str(s), str(v), "", "").name: own for (s, v), own in groups}
        # A damaged name gives rows of a pair that nobody wrote; without any checksums it is not known.
        known = self._checksums
        return {name: own for name, own in found.items() if not known or name in known}

    def _read(self) -> pd.DataFrame:
        if not self._path.is_file():
            return table([])
        try:
            rows = _typed(read_results(self._path))
        except (ReportError, ValueError, OverflowError, OSError) as error:
            log.warning("%s: damaged, its rows are made again (%s)", self._path, error)
            return table([])
        # The last row of a file that was cut may end anywhere.
        return rows[(rows[_NEEDED].fillna("") != "").all(axis=1)]

    def trusted(self) -> pd.DataFrame:
        """Return all rows but those of pairs whose rows are not as they were written."""
        good = [rows for name, rows in self._by_pair.items() if self._is_intact(name)]
        return pd.concat(good) if good else table([])

    def is_whole(self, name: str) -> bool:
        """Whether every metric and tissue of a pair has its row, as it was written."""
        rows = self._by_pair.get(name)
        if rows is None:
            return False
        # Whether a pair has metrics of lesions is a part of its scores' key.
        lesions = bool(rows["metric"].isin(list(LESION_METRICS)).any())
        all_rows = self.missing_rows("failed", lesions=lesions)
        wanted = sorted((row["metric"], row["tissue"]) for row in all_rows)
        found = sorted(zip(rows["metric"], rows["tissue"], strict=True))
        return found == wanted and self._is_intact(name)

    def _is_intact(self, name: str) -> bool:
        """Whether a pair's rows are as they were written; looked at once, as the file is read once."""
        if name not in self._intact:
            wanted = self._checksums.get(name)
            self._intact[name] = wanted in {None, _checksum(self._by_pair[name])}
        return self._intact[name]

    def is_scored(self, name: str, failures: Sequence[str] = ("failed",)) -> bool:
        """Whether a pair's rows are whole and none has a status of `failures`."""
        if not self.is_whole(name):
            return False
        return not self._by_pair[name]["status"].isin(failures).any()

    def missing_rows(self, status: str, *, lesions: bool = False) -> list[ScoreRow]:
        """Return a row without a value for each metric and tissue that a pair of the cell has."""
        return missing_rows(status, self._metrics, lesions=lesions)

    def put(self, rows: Mapping[str, Sequence[ResultRow]]) -> None:
        """Write the rows of pairs in place of those that they have."""
        if not rows:
            return
        known = self._by_pair
        if not self._with_visits and any(row.get("visit") for own in rows.values() for row in own):
            self._with_visits = True
            self._texts.clear()
        for name, own in rows.items():
            text = results_text(table(own), self._with_visits)
            self._texts[name] = text.partition("\n")[2]
            # As they will be read: values have nine digits on disk.
            known[name] = _typed(read_results(StringIO(text)))
            self._checksums[name] = _checksum(known[name])
            self._intact[name] = True
        for name, frame in known.items():
            if name not in self._texts:
                self._texts[name] = results_text(frame, self._with_visits).partition("\n")[2]
        header = results_header(self._with_visits)
        write_text(self._path, header + "".join(self._texts[s] for s in sorted(self._texts)))

    def clear(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._by_pair.clear()
        self._texts.clear()
        self._intact.clear()
        self._checksums.clear()


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.astype({"value": float, "fold": int, "seed": int})


def _checksum(rows: pd.DataFrame) -> str:
    if not has_visits(rows):
        rows = rows.drop(columns="visit")
    return key_of(rows.sort_values(["metric", "tissue"]).astype(str).to_numpy().tolist())
