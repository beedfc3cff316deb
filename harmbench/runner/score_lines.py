"""The rows of one tested pair as values and as lines of the results table, without a data frame.

A cell writes rows after every volume: for so few of them a data frame takes ten times as long.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import NamedTuple

import pandas as pd

from harmbench.results import COLUMNS, ResultRow
from harmbench.storage import key_of

__all__ = ["PairRows", "RowValues", "frame_of", "pair_lines"]


class RowValues(NamedTuple):
    """The values of a row, in the order of `harmbench.results.COLUMNS`."""

    method: str
    direction: str
    fold: int
    seed: int
    subject: str
    visit: str
    group: str
    segmenter: str
    metric: str
    tissue: str
    value: float
    unit: str
    status: str

    @classmethod
    def of(cls, row: ResultRow) -> RowValues:
        """Return the values of a row; without a visit, it is ""."""
        values = {"visit": "", **row, "value": float(row["value"])}
        return cls(**values)  # type: ignore[arg-type]  # of a typed dict, mypy loses which is which


@dataclass(frozen=True)
class PairRows:
    """The rows of one pair as the results table has them: values have nine significant digits.

    Args:
        rows: in any order.
    """

    rows: Sequence[RowValues]

    @classmethod
    def written(cls, rows: Iterable[ResultRow]) -> PairRows:
        """Return new rows with the values that reading the table will give."""
        own = sorted(map(RowValues.of, rows), key=_identity)
        numbers = "".join(f"{_number(row.value)}\n" for row in own)
        # Parsed as the table is: Python's own parser may differ in the last bit.
        read = pd.read_csv(
            StringIO(f"value\n{numbers}"),
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
        )
        values = read["value"].astype(float).tolist()
        return cls([row._replace(value=v) for row, v in zip(own, values, strict=True)])

    @property
    def scores(self) -> list[tuple[str, str]]:
        """Metric and tissue of each row, sorted."""
        return sorted((row.metric, row.tissue) for row in self.rows)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the values, whatever the order of the rows."""
        ordered = sorted(self.rows, key=lambda row: (row.metric, row.tissue))
        left_out = set() if self.has_visits else {COLUMNS.index("visit")}
        return key_of([[str(v) for n, v in enumerate(row) if n not in left_out] for row in ordered])

    @property
    def has_visits(self) -> bool:
        """Whether a row has a visit."""
        return any(row.visit for row in self.rows)

    def has_metric(self, names: Collection[str]) -> bool:
        """Whether a row is of one of some metrics."""
        return any(row.metric in names for row in self.rows)

    def has_status(self, statuses: Collection[str]) -> bool:
        """Whether a row has one of some statuses."""
        return any(row.status in statuses for row in self.rows)


def pair_lines(rows: Iterable[RowValues], visits: bool) -> str:
    """Return the lines that `harmbench.results.results_text` gives for rows, without its header.

    Args:
        rows: in any order.
        visits: whether there is a column of visits.
    """
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    place, number = COLUMNS.index("visit"), COLUMNS.index("value")
    for row in sorted(rows, key=_identity):
        cells = [*row[:number], _number(row.value), *row[number + 1 :]]
        writer.writerow(cells if visits else [*cells[:place], *cells[place + 1 :]])
    return lines.getvalue()


def frame_of(rows: Iterable[RowValues]) -> pd.DataFrame:
    """Return rows as a results table."""
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return frame.astype({"value": float, "fold": int, "seed": int})


def _identity(row: RowValues) -> tuple[str | int, ...]:
    """Return what rows of the results table are ordered by."""
    whose = (row.method, row.direction, row.fold, row.seed, row.subject, row.visit)
    return (*whose, row.segmenter, row.metric, row.tissue)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"
