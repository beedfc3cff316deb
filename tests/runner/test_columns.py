"""The results table by columns: what the table as CSV gives, and never another table's rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harmbench.results import ResultRow, read_results, results_text, table
from harmbench.runner import columns as columns_module
from harmbench.runner import folder as folder_module
from harmbench.runner.columns import columns_of, read_columns
from harmbench.runner.folder import RunFolder
from harmbench.runner.invocation_files import add_invocation
from harmbench.runner.run_record import RunRecord
from harmbench.runner.scoring import missing_rows
from harmbench.runner.tables import damaged_tables, text_sums
from harmbench.storage import file_key

pytest.importorskip("pyarrow")


def rows(value: float) -> list[ResultRow]:
    return [
        ResultRow(
            method="dm",
            direction="A-to-B",
            fold=0,
            seed=0,
            subject="s1",
            visit="",
            group="HC",
            segmenter="fast",
            metric=row["metric"],
            tissue=row["tissue"],
            value=value if number else float("nan"),
            unit=row["unit"],
            status="ok",
        )
        for number, row in enumerate(missing_rows("failed"))
    ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A table by columns and as CSV."""
    text = results_text(table(rows(1 / 7)))
    content = columns_of(text)
    assert content is not None
    by_columns, csv = tmp_path / "results.parquet", tmp_path / "results.csv"
    by_columns.write_bytes(content)
    csv.write_text(text)
    return by_columns, csv


def test_columns_are_what_the_csv_gives(files: tuple[Path, Path]) -> None:
    by_columns, csv = files
    found = read_columns(by_columns, csv, [file_key(by_columns)])
    assert found is not None
    pd.testing.assert_frame_equal(found, read_results(csv), check_exact=True)


def test_the_same_table_gives_the_same_bytes() -> None:
    text = results_text(table(rows(0.25)))
    assert columns_of(text) == columns_of(text)


def test_columns_of_another_table_are_not_used(files: tuple[Path, Path]) -> None:
    by_columns, csv = files
    csv.write_text(results_text(table(rows(0.5))))
    assert read_columns(by_columns, csv, [file_key(by_columns)]) is None


def test_damaged_columns_are_not_used(files: tuple[Path, Path]) -> None:
    by_columns, csv = files
    good, known = by_columns.read_bytes(), [file_key(by_columns)]
    for place in range(0, len(good), len(good) // 20):
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        by_columns.write_bytes(bytes(damaged))
        assert read_columns(by_columns, csv, known) is None


def test_without_pyarrow_there_are_no_columns(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "find_spec", lambda name: None)
    assert read_columns(*files, [file_key(files[0])]) is None
    assert columns_of(files[1].read_text()) is None


def test_a_folder_reads_the_columns_that_it_recorded(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(files[0].parent)
    tables = text_sums({path.name: path.read_bytes() for path in files})
    add_invocation(folder.root, "run", RunRecord(tables=tables))
    expected = folder.read_results()
    parsed = []

    def counted(path: Path) -> pd.DataFrame:
        parsed.append(path)
        return read_results(path)

    monkeypatch.setattr(folder_module, "read_results", counted)
    assert folder.read_results().equals(expected)
    assert not parsed
    files[0].write_bytes(files[0].read_bytes()[:-1])
    assert folder.read_results().equals(expected)
    assert parsed == [folder.results]
    assert list(damaged_tables(folder)) == ["inputs.csv", "folds.csv", "results.parquet"]
