"""A cell's rows of the results table on disk: added to, and checked before they are trusted."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError
from harmbench.metrics.lesion_declarations import LESION_METRICS
from harmbench.results import ResultRow, ScoreRow, read_results, results_header, table
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.pairs import SessionPair
from harmbench.runner.score_lines import PairRows, RowValues, frame_of, pair_lines
from harmbench.runner.scoring import missing_rows
from harmbench.runner.tissue_volumes import VOLUME_METRICS
from harmbench.storage import write_text

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
        self._wanted: dict[bool, list[tuple[str, str]]] = {}
        self._with_visits = self._changed = False

    @classmethod
    def of(cls, folder: CellFolder, record: CellRecord) -> CellScores:
        """Return the rows of a cell; those of a volume correction are of volumes alone."""
        metrics = VOLUME_METRICS if record.maps == "volumes" else None
        return cls(folder.scores, record.checksums, metrics)

    @property
    def checksums(self) -> Mapping[str, str]:
        """Pair to the checksum of its rows as they were last put."""
        return dict(self._checksums)

    @cached_property
    def _by_pair(self) -> dict[str, PairRows]:
        found: dict[tuple[str, str], list[RowValues]] = {}
        for row in self._read().itertuples(index=False, name=None):
            values = RowValues(*row)
            found.setdefault((values.subject, values.visit), []).append(values)
        self._with_visits = any(visit for _, visit in found)
        # A damaged name gives rows of a pair that nobody wrote; without any checksums it is not known.
        known = self._checksums
        named = {SessionPair(*key, "", "").name: PairRows(rows) for key, rows in found.items()}
        return {name: own for name, own in sorted(named.items()) if not known or name in known}

    def _read(self) -> pd.DataFrame:
        if not self._path.is_file():
            return table([])
        try:
            rows = read_results(self._path).astype({"value": float, "fold": int, "seed": int})
        except (ReportError, ValueError, OverflowError, OSError) as error:
            log.warning("%s: damaged, its rows are made again (%s)", self._path, error)
            return table([])
        # The last row of a file that was cut may end anywhere.
        return rows[(rows[_NEEDED].fillna("") != "").all(axis=1)]

    def trusted(self) -> pd.DataFrame:
        """Return all rows but those of pairs whose rows are not as they were written."""
        good = (pair.rows for name, pair in self._by_pair.items() if self._is_intact(name))
        return frame_of(chain.from_iterable(good))

    def is_whole(self, name: str) -> bool:
        """Whether every metric and tissue of a pair has its row, as it was written."""
        pair = self._by_pair.get(name)
        if pair is None:
            return False
        # Whether a pair has metrics of lesions is a part of its scores' key.
        wanted = self._all_scores(pair.has_metric(LESION_METRICS))
        return pair.scores == wanted and self._is_intact(name)

    def _all_scores(self, lesions: bool) -> list[tuple[str, str]]:
        if lesions not in self._wanted:
            rows = self.missing_rows("failed", lesions=lesions)
            self._wanted[lesions] = sorted((row["metric"], row["tissue"]) for row in rows)
        return self._wanted[lesions]

    def _is_intact(self, name: str) -> bool:
        """Whether a pair's rows are as they were written."""
        wanted = self._checksums.get(name)
        return wanted is None or wanted == self._by_pair[name].checksum

    def is_scored(self, name: str, failures: Sequence[str] = ("failed",)) -> bool:
        """Whether a pair's rows are whole and none has a status of `failures`."""
        return self.is_whole(name) and not self._by_pair[name].has_status(failures)

    def missing_rows(self, status: str, *, lesions: bool = False) -> list[ScoreRow]:
        """Return a row without a value for each metric and tissue that a pair of the cell has."""
        return missing_rows(status, self._metrics, lesions=lesions)

    def put(self, rows: Mapping[str, Iterable[ResultRow]]) -> None:
        """Put rows of pairs in place of those that they have; `write` brings them onto the disk."""
        known = self._by_pair
        self._changed |= bool(rows)
        for name, own in rows.items():
            known[name] = PairRows.written(own)
            self._checksums[name] = known[name].checksum
            self._texts.pop(name, None)
            if known[name].has_visits and not self._with_visits:
                self._with_visits = True
                self._texts.clear()

    def write(self) -> None:
        """Write the file where anything was put since it was written."""
        if not self._changed:
            return
        for name, pair in self._by_pair.items():
            if name not in self._texts:
                self._texts[name] = pair_lines(pair.rows, self._with_visits)
        header = results_header(self._with_visits)
        write_text(self._path, header + "".join(self._texts[s] for s in sorted(self._texts)))
        self._changed = False

    def clear(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._by_pair.clear()
        self._texts.clear()
        self._checksums.clear()
        self._changed = False
