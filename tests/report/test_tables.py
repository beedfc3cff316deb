"""The tables of a report: their shapes, numbers, marks of the best and notes of failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.metrics.suite import METRICS
from harmbench.pages.table import Table
from harmbench.report.evidence import Evidence
from harmbench.report.loading import load_evidence
from harmbench.report.tables.run import cost_table, published_tables, status_table
from harmbench.report.tables.selection import all_tables
from harmbench.results import read_results, write_results
from harmbench.task import Direction

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def evidence(finished_run: Path) -> Evidence:
    return load_evidence([finished_run], METRICS)


@pytest.fixture(scope="module")
def tables(evidence: Evidence) -> dict[str, Table]:
    found = list(all_tables(evidence))
    assert len({table.name for table in found}) == len(found)
    return {table.name: table for table in found}


def texts(table: Table, row: int) -> list[str]:
    entries = table.rows[row].entries
    return [entry.format(column) for entry, column in zip(entries, table.columns, strict=True)]


def test_the_papers_tables_have_the_papers_shapes(tables: dict[str, Table]) -> None:
    shapes = {name: len(table.columns) for name, table in tables.items() if name < "table-14"}
    assert shapes == {
        "table-01-mse-ahd": 4,
        "table-02-volume-differences": 6,
        "table-03-dice-hd": 12,
        "table-06-mse-ahd-folds-3T-to-1.5T": 4,
        "table-07-mse-ahd-folds-1.5T-to-3T": 4,
        "table-08-volume-differences-folds-3T-to-1.5T": 6,
        "table-09-volume-differences-folds-1.5T-to-3T": 6,
        "table-10-dice-folds-3T-to-1.5T": 6,
        "table-11-dice-folds-1.5T-to-3T": 6,
        "table-12-hd-folds-3T-to-1.5T": 6,
        "table-13-hd-folds-1.5T-to-3T": 6,
    }


def test_rows_are_methods_with_the_ceiling_last(tables: dict[str, Table]) -> None:
    table = tables["table-01-mse-ahd"]
    assert [row.labels[0] for row in table.rows] == ["Original", "pGAN", "DM", "Target (ceiling)"]
    assert [row.control for row in table.rows] == [False, False, False, True]


def test_numbers_are_fold_means(evidence: Evidence, tables: dict[str, Table]) -> None:
    rows = evidence.results.query(
        "method == 'dm' and metric == 'mse' and direction == '3T-to-1.5T'"
    )
    expected = rows.groupby("fold")["value"].mean().mean()
    table = tables["table-01-mse-ahd"]
    assert table.rows[2].entries[0].value == pytest.approx(expected)
    data = table.data.query("method == 'dm' and metric == 'mse' and direction == '3T-to-1.5T'")
    assert data["fold_mean"].item() == pytest.approx(expected)


def test_the_best_is_bold_and_failures_are_printed(tables: dict[str, Table]) -> None:
    table = tables["table-01-mse-ahd"]
    assert [[entry.best for entry in row.entries] for row in table.rows] == [
        [False] * 4,
        [False] * 4,
        [True] * 4,
        [False] * 4,
    ]
    assert {entry.note for entry in table.rows[1].entries} == {"2 of 8 failed"}
    assert {entry.note for entry in table.rows[2].entries} == {""}


def test_fold_tables_label_variance_and_sd(tables: dict[str, Table]) -> None:
    table = tables["table-08-volume-differences-folds-3T-to-1.5T"]
    heads = [column.heads[-1] for column in table.columns[:2]]
    assert [head.text for head in heads] == ["mean ± SD", "variance"]
    assert [head.unit for head in heads] == ["ml", "ml²"]
    mean, variance = table.rows[0].entries[:2]
    assert mean.spread**2 == pytest.approx(variance.value)
    assert mean.value > 0
    assert " ± " in mean.format(table.columns[0])
    assert "number of folds - 1 as divisor" in table.caption
    assert "the paper does not say which divisor" in table.caption


def test_every_metric_is_in_a_table(evidence: Evidence, tables: dict[str, Table]) -> None:
    shown = {name for table in tables.values() for name in table.data["metric"]}
    assert shown == set(evidence.metrics)


def test_groups_are_rows(tables: dict[str, Table]) -> None:
    table = tables["table-20-groups-mse-ahd"]
    assert table.labels == ("Method", "Group")
    assert [row.labels for row in table.rows][::4] == [("Original", "HC"), ("Original", "MS")]
    assert set(table.data["group"]) == {"HC", "MS"}


def test_tables_of_simulated_scans_say_so_wherever_they_are_read(
    evidence: Evidence, tables: dict[str, Table], make_run: MakeRun
) -> None:
    own = [*tables.values()]
    assert all("Simulated scans, not acquired." in table.caption for table in own)
    assert not any("real" in table.caption for table in own)
    real = load_evidence([make_run(simulated=False, volumes=False)], METRICS)
    assert not any("imulated" in table.caption for table in all_tables(real))


def test_a_signed_mean_is_said_to_be_a_bias(tables: dict[str, Table]) -> None:
    said = {name for name, table in tables.items() if "shows bias" in table.caption}
    assert said == {"table-18-volumes-3T-to-1.5T", "table-18-volumes-1.5T-to-3T"}


def test_intervals_enclose_their_means(tables: dict[str, Table]) -> None:
    table = tables["table-25-intervals-dice-3T-to-1.5T"]
    for row in table.rows[:3]:
        for entry in row.entries[::2]:
            assert entry.low <= entry.value <= entry.high
    assert all(entry.format(table.columns[1]) for entry in table.rows[0].entries)
    assert "not corrected" in table.caption


def test_cost(evidence: Evidence) -> None:
    table = cost_table(evidence)
    assert table is not None
    dm = table.data.set_index("method").loc["dm"]
    assert (dm["cells"], dm["fit_s"], dm["peak_memory_mib"], dm["parameters"]) == (8, 10, 500, 1234)
    assert dm["score_s"] == 1.5  # 6 s for four volumes
    heads = [column.heads[0].text for column in table.columns]
    assert heads == ["Parameters", "Cells", "Fit per cell", "Score per volume", "Peak memory"]


def test_status(evidence: Evidence) -> None:
    table = status_table(evidence)
    counts = table.data.set_index(["method", "direction"]).loc[("pgan", "3T-to-1.5T")]
    measures = 5 + 7 * 3
    assert (counts["cells"], counts["cells_failed"]) == (4, 1)
    assert (counts["n_ok"], counts["n_failed"]) == (6 * measures, 2 * measures)


def test_published_numbers_are_marked(evidence: Evidence) -> None:
    found = {table.name: table for table in published_tables(evidence)}
    assert len(found) == 11
    for table in found.values():
        assert table.published
        assert "as published by Durrer et al. 2023, other data" in table.title
        assert set(table.data["source"]) == {"as published by Durrer et al. 2023, other data"}
    first = found["published-table-01"]
    assert texts(first, 0) == ["1.85", "6.15", "1.85", "6.15"]
    assert [row.labels[0] for row in first.rows] == ["Original", "DH", "pGAN", "DM"]
    assert texts(found["published-table-07"], 3) == ["0.76 [±0.008]", "1.48 [±0.16]"]
    assert first.data["mean"].iloc[0] == 1.85e-3


def test_other_directions(make_run: MakeRun) -> None:
    directions = [Direction("T1w", "ceT1w"), Direction("ceT1w", "T1w")]
    run = make_run(directions=directions, volumes=False)
    evidence = load_evidence([run], METRICS)
    assert not list(published_tables(evidence))
    assert "table-06-mse-ahd-folds-T1w-to-ceT1w" in {t.name for t in all_tables(evidence)}


def test_one_direction(make_run: MakeRun) -> None:
    run = make_run(directions=[Direction("1.5T", "3T")], volumes=False)
    evidence = load_evidence([run], METRICS)
    assert len(next(all_tables(evidence)).columns) == 2
    assert [t.name[-2:] for t in published_tables(evidence)] == [
        *("01", "02", "03", "07", "09", "11", "13")
    ]
    spreads = [str(t.number) for t in all_tables(evidence) if "-folds-" in t.name]
    assert spreads == ["7", "9", "11", "13"], "numbered as the paper numbers this direction"


def test_a_third_direction_does_not_take_a_number_of_the_papers(make_run: MakeRun) -> None:
    directions = [Direction("T1w", "1.5T"), Direction("1.5T", "3T")]
    evidence = load_evidence([make_run(directions=directions, volumes=False)], METRICS)
    names = {t.name for t in all_tables(evidence) if "mse-ahd-folds" in t.name}
    assert names == {
        "table-07-mse-ahd-folds-1.5T-to-3T",
        "table-07-3-mse-ahd-folds-T1w-to-1.5T",
    }


def test_results_with_one_metric_and_one_method(make_run: MakeRun) -> None:
    run = make_run(gammas={"dm": 0.7}, ceiling=False, volumes=False)
    frame = read_results(run / "results.csv")
    write_results(frame[frame["metric"] == "mse"], run / "results.csv")
    evidence = load_evidence([run], METRICS)
    found = {table.name: table for table in all_tables(evidence)}
    assert len(found["table-01-mse-ahd"].columns) == 2
    assert not any(entry.best for entry in found["table-01-mse-ahd"].rows[0].entries)
    assert "table-02-volume-differences" not in found
    heads = [c.heads[-1].text for c in found["table-23-intervals-mse-ahd-3T-to-1.5T"].columns]
    assert heads == ["mean"]


def test_a_method_without_rows_in_a_direction_was_not_run(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    frame = read_results(run / "results.csv")
    gone = (frame["method"] == "pgan") & (frame["direction"] == "1.5T-to-3T")
    write_results(frame[~gone], run / "results.csv")
    table = next(all_tables(load_evidence([run], METRICS)))
    assert [entry.note for entry in table.rows[1].entries] == ["", "", "not run", "not run"]
