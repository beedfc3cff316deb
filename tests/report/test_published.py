"""The transcription of the paper's tables: spot checks, and the tables against each other."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest

from harmbench.metrics.suite import METRICS
from harmbench.report.published import (
    DIRECTIONS,
    SLIPS,
    TABLES,
    TITLES,
    PublishedColumn,
    PublishedTable,
    applies_to,
)

VOLUME = "volume_difference_mm3"


def find(table: PublishedTable, column: PublishedColumn) -> int:
    keys = [(c.direction, c.metric, c.tissue) for c in table.columns]
    return keys.index((column.direction, column.metric, column.tissue))


def test_all_tables_of_results_are_there() -> None:
    assert list(TABLES) == [1, 2, 3, *range(6, 14)]


@pytest.mark.parametrize(
    ("number", "method", "direction", "metric", "tissue", "value"),
    [
        (1, "identity", DIRECTIONS[0], "mse", "", 1.85e-3),
        (1, "deepharmony", DIRECTIONS[1], "ahd", "", 8.22e5),
        (1, "dm", DIRECTIONS[1], "mse", "", 0.76e-3),
        (2, "pgan", DIRECTIONS[0], VOLUME, "GM", 1.14e4),
        (2, "dm", DIRECTIONS[1], VOLUME, "WM", 1.49e4),
        (3, "pgan", DIRECTIONS[0], "hd", "CSF", 21.48),
        (3, "dm", DIRECTIONS[1], "dice", "GM", 0.88),
        (6, "pgan", DIRECTIONS[0], "ahd", "", 1.27e5),
        (8, "pgan", DIRECTIONS[0], VOLUME, "GM", 1.41e4),
        (10, "dm", DIRECTIONS[0], "dice", "WM", 0.8762),
        (13, "identity", DIRECTIONS[1], "hd", "WM", 11.16),
    ],
)
def test_values(
    number: int, method: str, direction: str, metric: str, tissue: str, value: float
) -> None:
    found = TABLES[number].value(method, direction, metric, tissue)
    assert found == pytest.approx(value, rel=1e-12)


def test_spreads() -> None:
    assert TABLES[7].spreads["dm"] == (Decimal("0.008"), Decimal("0.16"))
    assert TABLES[9].spreads["dm"] == (Decimal("0.06"), Decimal("0.19"), Decimal("0.65"))
    assert TABLES[12].spreads["pgan"] == (Decimal("5.88"), Decimal("3.53"), Decimal("2.98"))
    assert not TABLES[1].spreads


def test_main_tables_are_the_detailed_ones_rounded_but_for_the_two_known_slips() -> None:
    differing = []
    for table in (TABLES[n] for n in (1, 2, 3)):
        for column in table.columns:
            detailed = next(
                t
                for n, t in TABLES.items()
                if n > 5
                and column.direction == t.columns[0].direction
                and column.metric in {c.metric for c in t.columns}
            )
            for method in table.rows:
                short = table.rows[method][find(table, column)]
                long = detailed.rows[method][find(detailed, column)]
                if long.quantize(short, ROUND_HALF_UP) != short:
                    differing.append((method, column.direction, column.metric, column.tissue))
    assert differing == [
        ("pgan", DIRECTIONS[0], VOLUME, "GM"),
        ("pgan", DIRECTIONS[1], VOLUME, "WM"),
    ]
    assert "1.14e4" in SLIPS[0]
    assert "1.41e4" in SLIPS[0]
    assert "2.09e4" in SLIPS[1]


@pytest.mark.parametrize("number", [n for n in TABLES if n > 5])
def test_bold_is_the_best_of_its_column(number: int) -> None:
    table = TABLES[number]
    for place, column in enumerate(table.columns):
        bold = {method for method in table.rows if place in table.best[method]}
        pick = max if METRICS[column.metric].better == "higher" else min
        best = pick(table.rows, key=lambda method: table.rows[method][place])
        assert bold == {best}


def test_the_untreated_row_is_the_same_in_both_directions() -> None:
    for first, second in ((6, 7), (8, 9), (10, 11), (12, 13)):
        assert TABLES[first].rows["identity"] == TABLES[second].rows["identity"]


def test_every_metric_is_declared_and_every_method_has_the_papers_name() -> None:
    for table in TABLES.values():
        assert {column.metric for column in table.columns} <= set(METRICS)
        assert set(table.rows) <= set(TITLES)


def test_a_number_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="Table 1 has no dice CSF"):
        TABLES[1].value("dm", DIRECTIONS[0], "dice", "CSF")


def test_where_the_numbers_apply() -> None:
    assert applies_to(["3T-to-1.5T"])
    assert not applies_to(["T1w-to-ceT1w"])
