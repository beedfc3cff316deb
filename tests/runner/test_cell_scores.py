"""A cell's table of scores: the same bytes as one table, without reading it again."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harmbench.results import ResultRow, read_results, results_text, table, write_results
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
        scores.write()
    scores.put({"s2": rows("s2", 0.5)})
    scores.write()
    values = {"s10": 0.0, "s2": 0.5, "s1": 2 / 7, "a,b": 3 / 7}
    whole = [row for subject in subjects for row in rows(subject, values[subject])]
    write_results(table(whole), tmp_path / "whole.csv")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_what_is_on_disk_stays_and_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first = CellScores(path, {})
    first.put({"s1": rows("s1"), "s2": rows("s2", status="failed")})
    first.write()
    again = CellScores(path, first.checksums)
    assert (again.is_scored("s1"), again.is_scored("s2")) == (True, False)
    assert again.is_whole("s2")
    assert not again.is_whole("s3")
    again.put({"s2": rows("s2")})
    again.write()
    assert again.is_scored("s2")
    pd.testing.assert_frame_equal(
        again.trusted().reset_index(drop=True), read_results(path), check_dtype=False
    )


def test_changed_rows_are_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    scores = CellScores(path, {})
    scores.put({"s1": rows("s1"), "s2": rows("s2")})
    scores.write()
    path.write_text(path.read_text().replace("0.333333333", "0.9", 1))
    again = CellScores(path, scores.checksums)
    assert not again.is_whole("s1")
    assert set(again.trusted()["subject"]) == {"s2"}


def test_the_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    first = CellScores(path, {})
    first.put({"s1": rows("s1")})
    first.write()
    reads = []

    def counted(source):
        reads.append(isinstance(source, Path))
        return read_results(source)

    monkeypatch.setattr(cell_scores, "read_results", counted)
    scores = CellScores(path, {})
    for number in range(5):
        scores.put({f"t{number}": rows(f"t{number}")})
        scores.write()
        assert scores.is_scored("s1")
    assert sum(reads) == 1


def test_a_cleared_table_is_gone(tmp_path: Path) -> None:
    scores = CellScores(tmp_path / "scores.csv", {})
    scores.put({"s1": rows("s1")})
    scores.write()
    scores.clear()
    assert not (tmp_path / "scores.csv").exists()
    assert scores.checksums == {}
    assert scores.trusted().empty


def test_rows_under_a_damaged_name_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first = CellScores(path, {})
    first.put({"s1": rows("s1"), "s2": rows("s2")})
    first.write()
    good = path.read_text()
    path.write_text(good.replace(",s1,", ",s8,", 1))
    damaged = CellScores(path, first.checksums)
    assert (damaged.is_whole("s1"), damaged.is_whole("s2")) == (False, True)
    assert set(damaged.trusted()["subject"]) == {"s2"}
    damaged.put({"s1": rows("s1")})
    damaged.write()
    assert path.read_text() == good


def test_rows_on_disk_are_those_of_the_last_writing(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    scores = CellScores(path, {})
    scores.put({"s1": rows("s1")})
    assert not path.exists()
    scores.write()
    before = path.stat().st_ino
    scores.write()  # nothing was put meanwhile
    assert path.stat().st_ino == before
    scores.put({"s2": rows("s2")})
    assert set(read_results(path)["subject"]) == {"s1"}
    assert set(scores.trusted()["subject"]) == {"s1", "s2"}


def test_checksums_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Computed with data frames, before rows were values: a change would make stored scores stale."""
    odd = rows("s1", 1 / 7)
    for number, value in enumerate([float("nan"), 12345678.123, 1e-7, 40000.0]):
        odd[number]["value"] = value
    visit = [ResultRow(**{**row, "visit": "v2"}) for row in rows("a,b", 0.1234567894)]
    scores = CellScores(tmp_path / "scores.csv", {})
    scores.put({"s1": odd, "a,b_v2": visit})
    scores.write()
    expected = {
        "s1": "0e9720acddf10ae19c965dc5b9e3c72c9dcedf229e5e0159a4d1afa556ac0120",
        "a,b_v2": "918b1321c452ae6338cd2c54791f27e3d4f0592b9d6cb5112fac518b64485817",
    }
    assert scores.checksums == expected
    again = CellScores(tmp_path / "scores.csv", expected)
    assert len(again.trusted()) == len(odd) + len(visit)
    whole = results_text(table([*odd, *visit]))
    assert (tmp_path / "scores.csv").read_text() == whole
