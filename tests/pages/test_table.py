"""Number formats and headers of tables."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from harmbench.pages.table import (
    Column,
    Entry,
    Head,
    Table,
    TableNumber,
    decimals_for,
    exponent_for,
)


@pytest.mark.parametrize(
    ("values", "exponent"),
    [
        ([1.85e-3, 2.3e-3], -3),
        ([6.15e5, 1.27e5], 5),
        ([9.32e4, 1.1e4], 4),
        ([0.82, 0.1], 0),
        ([10.21, 95.0], 0),
        ([-3e-5], -5),
        # One method that fails does not make the others small.
        ([7.5e-4, 7.7e-4, 7.9e-4, 1.2e-2], -4),
        ([7.5e-4, 1.02e-3, 7.9e-4, 1.2e-2], -3),
        ([0.0, 0.0, 0.0, 5e-4], -4),
        ([0.0, math.nan, math.inf], 0),
        ([], 0),
    ],
)
def test_exponent(values: list[float], exponent: int) -> None:
    assert exponent_for(values) == exponent


@pytest.mark.parametrize(
    ("values", "exponent", "decimals"),
    [
        ([1.85e-3, 2.30e-3, 0.76e-3], -3, 2),
        ([0.8188, 0.8715, 0.76], 0, 3),
        ([10.21, 8.68, 11.16], 0, 1),
        ([134.0, 141.0, 78.0], 0, 0),
        ([1.63e6, 1.91e6, 0.012e6], 6, 3),  # the smallest keeps two digits
        ([1.0, 1e-9], 0, 3),
        ([0.0], 0, 2),
    ],
)
def test_decimals(values: list[float], exponent: int, decimals: int) -> None:
    assert decimals_for(values, exponent) == decimals


def test_numbers_are_scaled_and_rounded() -> None:
    column = Column((Head("MSE"),), exponent=-3, decimals=2)
    assert column.format(1.8549e-3) == "1.85"
    assert column.format(-1e-9) == "0.00"
    assert column.format(-0.006e-3) == "-0.01"
    assert column.format(math.nan) == "\N{EN DASH}"


def test_entries() -> None:
    column = Column((Head("MSE"),), exponent=0, decimals=1)
    assert Entry(1.25, 1.0, 1.52).format(column) == "1.2 [1.0, 1.5]"
    assert Entry(1.25, low=1.0).format(column) == "1.2"
    assert Entry(text="1.61").format(column) == "1.61"


def test_headers_span_equal_neighbours_under_one_parent() -> None:
    a, b, dice, hd = Head("a"), Head("b"), Head("Dice"), Head("HD")
    paths = [
        (a, dice, Head("CSF")),
        (a, dice, Head("GM")),
        (a, hd, Head("CSF")),
        (b, hd, Head("CSF")),
        (b, hd, Head("CSF")),
    ]
    columns = tuple(Column(path) for path in paths)
    table = Table("t", "T", "", ("Method",), columns, (), pd.DataFrame())
    spans = [[(head.text, span) for head, span in level] for level in table.header_rows()]
    assert spans == [
        [("a", 3), ("b", 2)],
        [("Dice", 2), ("HD", 1), ("HD", 2)],
        [("CSF", 1), ("GM", 1), ("CSF", 1), ("CSF", 1), ("CSF", 1)],
    ]


def test_a_tables_number_stands_in_its_heading_and_its_file_name() -> None:
    assert TableNumber(7).file_name("dice") == "table-07-dice"
    assert TableNumber(7, 3).file_name("dice") == "table-07-3-dice"
    numbers = [TableNumber(12), TableNumber(7, 3), TableNumber(7)]
    assert sorted(numbers) == [TableNumber(7), TableNumber(7, 3), TableNumber(12)]
    table = Table("t", "Dice", "", (), (), (), pd.DataFrame(), number=TableNumber(7, 3))
    assert table.heading == "Table 7-3. Dice"
    paper = Table("t", "as in the paper", "", (), (), (), pd.DataFrame(), True, number=numbers[0])
    assert paper.heading == "Table 12 as in the paper"
    assert Table("t", "Dice", "", (), (), (), pd.DataFrame()).heading == "Dice"
