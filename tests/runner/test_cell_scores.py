"""A cell's table of scores: the same bytes as one table, without reading it again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harmbench.results import ResultRow, read_results, table, write_results
from harmbench.runner import cell_scores
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.scoring import missing_rows


def rows(subject: str, value: float = 1 / 3, status: str = "ok") -> list[ResultRow]:
    return [
        ResultRow(
            method="dm",
            direction="A-to-B",
            fold=0,
            seed=0,
            subject=subject,
            group="HC",
            segmenter="fast",
            metric=row["metric"],
            tissue=row["tissue"],
            value=value,
            unit=row["unit"],
            status=status,
        )
        for row in missing_rows("failed")
    ]


def test_subjects_added_in_turn_give_the_bytes_of_one_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    scores = CellScores(path, {})
    subjects = ["s10", "s2", "s1", "a,b"]
    for number, subject in enumerate(subjects):
        scores.put({subject: rows(subject, number / 7)})
    scores.put({"s2": rows("s2", 0.5)})
    values = {"s10": 0.0, "s2": 0.5, "s1": 2 / 7, "a,b": 3 / 7}
    whole = [row for subject in subjects for row in rows(subject, values[subject])]
    write_results(table(whole), tmp_path / "whole.csv")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_what_is_on_disk_stays_and_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first = CellScores(path, {})
    first.put({"s1": rows("s1"), "s2": rows("s2", status="failed")})
    again = CellScores(path, first.checksums)
    assert (again.is_scored("s1"), again.is_scored("s2")) == (True, False)
    assert again.is_whole("s2")
    assert not again.is_whole("s3")
    again.put({"s2": rows("s2")})
    assert again.is_scored("s2")
    pd.testing.assert_frame_equal(
        again.trusted().reset_index(drop=True), read_results(path), check_dtype=False
    )


def test_changed_rows_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    scores = CellScores(path, {})
    scores.put({"s1": rows("s1"), "s2": rows("s2")})
    path.write_text(path.read_text().replace("0.333333333", "0.9", 1))
    again = CellScores(path, scores.checksums)
    assert not again.is_whole("s1")
    assert set(again.trusted()["subject"]) == {"s2"}


def test_the_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    CellScores(path, {}).put({"s1": rows("s1")})
    reads = []

    def counted(source):
        reads.append(isinstance(source, Path))
        return read_results(source)

    monkeypatch.setattr(cell_scores, "read_results", counted)
    scores = CellScores(path, {})
    for number in range(5):
        scores.put({f"t{number}": rows(f"t{number}")})
        assert scores.is_scored("s1")
    assert sum(reads) == 1


def test_a_cleared_table_is_gone(tmp_path: Path) -> None:
    scores = CellScores(tmp_path / "scores.csv", {})
    scores.put({"s1": rows("s1")})
    scores.clear()
    assert not (tmp_path / "scores.csv").exists()
    assert scores.checksums == {}
    assert scores.trusted().empty


def test_rows_under_a_damaged_name_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first = CellScores(path, {})
    first.put({"s1": rows("s1"), "s2": rows("s2")})
    good = path.read_text()
    path.write_text(good.replace(",s1,", ",s8,", 1))
    damaged = CellScores(path, first.checksums)
    assert (damaged.is_whole("s1"), damaged.is_whole("s2")) == (False, True)
    assert set(damaged.trusted()["subject"]) == {"s2"}
    damaged.put({"s1": rows("s1")})
    assert path.read_text() == good
