"""A table as data: headers, rows, cells and the numbers behind them, without any output format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from harmbench.metrics.base import Better

__all__ = [
    "Column",
    "Entry",
    "Head",
    "Row",
    "Table",
    "TableNumber",
    "decimals_for",
    "exponent_for",
]

_OUTLIER: Final = 10.0
"""Times the median of a column that a number may be, and count for its power of ten."""


@dataclass(frozen=True, slots=True)
class Head:
    """One header cell.

    Attributes:
        text: what the column or group of columns holds.
        unit: its unit; empty or `1` for none.
        exponent: power of ten that the numbers below are multiplied by.
        better: which way is better, shown as an arrow.
    """

    text: str
    unit: str = ""
    exponent: int = 0
    better: Better = "none"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its headers from the top, and how its numbers are printed.

    Numbers are divided by `10 ** exponent` and printed with `decimals`.
    """

    heads: tuple[Head, ...]
    exponent: int = 0
    decimals: int = 2

    def format(self, value: float) -> str:
        """Print a number; a missing one as a dash."""
        if not math.isfinite(value):
            return "\N{EN DASH}"
        text = f"{value / 10**self.exponent:.{self.decimals}f}"
        # Print a rounded -0.00 without its sign.
        return text.removeprefix("-") if float(text) == 0 else text


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell: a number with a spread or an interval, or text; `note` is printed after it.

    Attributes:
        value: the number; NaN where it is missing.
        low, high: ends of an interval around it; NaN for none.
        spread: its standard deviation; NaN for none.
        best: whether it is shown in bold.
        note: such as how many values are missing.
        text: shown in place of the number.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    best: bool = False
    note: str = ""
    text: str = ""
    spread: float = math.nan

    @property
    def is_number(self) -> bool:
        """Whether the cell holds a number alone, or one with its spread, or nothing."""
        return not (self.text or self.note or math.isfinite(self.low) or math.isfinite(self.high))

    def format(self, column: Column) -> str:
        """Print the cell as plain text: `1.61`, `1.61 ± 0.07` or `1.61 [1.50, 1.72]`."""
        if self.text:
            return self.text
        shown = column.format(self.value)
        if math.isfinite(self.value) and math.isfinite(self.spread):
            shown += f" ± {column.format(self.spread)}"
        if math.isfinite(self.low) and math.isfinite(self.high):
            shown += f" [{column.format(self.low)}, {column.format(self.high)}]"
        return shown


@dataclass(frozen=True, slots=True, order=True)
class TableNumber:
    """The number of a table in its report; Table 7-3 is the third part of Table 7.

    Attributes:
        number: at least 1.
        part: 0 for a table without parts.
    """

    number: int
    part: int = 0

    def __str__(self) -> str:
        return f"{self.number}" + (f"-{self.part}" if self.part else "")

    def file_name(self, name: str) -> str:
        """Return a file name that sorts by number: `table-07-3-NAME`."""
        return f"table-{self.number:02d}{f'-{self.part}' if self.part else ''}-{name}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its labels (method, perhaps group), cells, and whether it is a control."""

    labels: tuple[str, ...]
    entries: tuple[Entry, ...]
    control: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A table of a report.

    Attributes:
        name: file name without suffix, such as `table-01-mse-ahd`.
        title: what it shows, without a number, such as `MSE and AHD`.
        caption: what is shown, how it was averaged, what bold and arrows mean.
        labels: headers of the label columns.
        columns: the other columns.
        rows: rows in order.
        data: raw numbers behind the table, tidy: one row per number or summary row.
        published: whether the numbers are the paper's and not this run's.
        section: where the page puts it.
        number: its number in the report; `None` where tables are not numbered.
    """

    name: str
    title: str
    caption: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    data: pd.DataFrame
    published: bool = False
    section: str = "more"
    number: TableNumber | None = None

    @property
    def heading(self) -> str:
        """Title with the number before it: `Table 1. MSE and AHD`."""
        if self.number is None:
            return self.title
        return f"Table {self.number}{'' if self.published else '.'} {self.title}"

    def header_rows(self) -> list[list[tuple[Head, int]]]:
        """Return the header, one list per level, of (head, number of columns that it spans)."""
        depth = max((len(column.heads) for column in self.columns), default=0)
        levels: list[list[tuple[Head, int]]] = []
        for level in range(depth):
            spans: list[tuple[Head, int]] = []
            previous: tuple[Head, ...] | None = None
            for column in self.columns:
                path = column.heads[: level + 1]
                # Only headers under one parent are joined, and the lowest level never is.
                if path == previous and level < depth - 1:
                    spans[-1] = (spans[-1][0], spans[-1][1] + 1)
                else:
                    spans.append((path[-1], 1))
                previous = path
            levels.append(spans)
        return levels


def exponent_for(values: Iterable[float]) -> int:
    """Choose a power of ten for a column, so that its largest number has one digit before the point.

    A largest number from 0.1 to 9999 stays as it is. Numbers above ten times the median do not count:
    one method that fails makes those of the others no smaller.
    """
    sizes = _sizes(values)
    if not sizes:
        return 0
    largest = max(size for size in sizes if size <= _OUTLIER * sizes[len(sizes) // 2])
    return 0 if 0.1 <= largest < 1e4 else math.floor(math.log10(largest))


def decimals_for(values: Iterable[float], exponent: int, digits: int = 3) -> int:
    """Choose how many decimals a column's numbers get, at most 5.

    Its median shows `digits` significant digits; one more decimal is spent on its smallest number.
    """
    sizes = [size / 10**exponent for size in _sizes(values)]
    if not sizes:
        return 2
    typical = digits - 1 - math.floor(math.log10(sizes[len(sizes) // 2]))
    smallest = 1 - math.floor(math.log10(sizes[0]))
    return min(max(typical, min(smallest, typical + 1), 0), 5)


def _sizes(values: Iterable[float]) -> list[float]:
    """Return the sizes of numbers in their order, without zeros."""
    return sorted(abs(v) for v in values if math.isfinite(v) and v != 0)
