"""Tables of a run folder that another program saved anew, or damaged: the same data are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.errors import RunError
from harmbench.results import read_results
from harmbench.runner.folder import RunFolder
from harmbench.runner.tables import damaged_tables
from harmbench.volume import read, write

pytestmark = pytest.mark.usefixtures("thresholds")


def _by_a_spreadsheet(text: str) -> str:
    return "\ufeff" + text.replace("\n", "\r\n")


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _header(text: str) -> str:
    return text.partition("\n")[0] + "\n"


def _nothing(text: str) -> str:
    return ""


def _spoil(path: Path, change: Callable[[str], str]) -> None:
    path.write_bytes(change(path.read_text(encoding="utf-8")).encode())


@pytest.mark.parametrize("change", [_by_a_spreadsheet, _cut, _header, _nothing])
def test_other_folds_are_refused_whatever_became_of_their_table(
    start, tmp_path: Path, change: Callable[[str], str]
) -> None:
    start("data.direction=A-to-B")
    before = read_results(tmp_path / "out" / "results.csv")
    _spoil(tmp_path / "out" / "folds.csv", change)
    for other in ("folds.seed=5", "folds.k=4"):
        with pytest.raises(RunError, match=r"holds a run with other (subjects or )?folds"):
            start("data.direction=A-to-B", other)
    start("data.direction=A-to-B")
    assert read_results(tmp_path / "out" / "results.csv").equals(before)


@pytest.mark.parametrize("change", [_cut, _nothing])
def test_other_subjects_are_refused_where_the_table_of_folds_is_damaged(
    start, make_manifest, tmp_path: Path, change: Callable[[str], str]
) -> None:
    start("data.direction=A-to-B", "folds.run=0")
    _spoil(tmp_path / "out" / "folds.csv", change)
    make_manifest(6)  # in the place of the first one
    with pytest.raises(RunError, match="holds a run with other subjects or folds"):
        start("data.direction=A-to-B", "folds.run=0")


def test_other_scans_are_refused_where_the_table_of_scans_was_saved_anew(
    start, tmp_path: Path
) -> None:
    start("data.direction=A-to-B")
    _spoil(tmp_path / "out" / "inputs.csv", _by_a_spreadsheet)
    path = tmp_path / "scans" / "s0_A.nii.gz"
    scan, good = read(path), path.read_bytes()
    write(scan.with_data(scan.data * 0.9), path)
    with pytest.raises(RunError, match=r"other scans.*1 changed: s0 A"):
        start("data.direction=A-to-B")
    path.write_bytes(good)
    start("data.direction=A-to-B")


def test_a_damaged_sum_of_a_scan_is_no_other_scan(start, tmp_path: Path) -> None:
    start("data.direction=A-to-B")
    path = tmp_path / "out" / "inputs.csv"
    good = path.read_text()
    key = good.splitlines()[1].split(",")[5]
    assert len(key) == 64
    path.write_text(good.replace(key, "0" * 64))
    start("data.direction=A-to-B")
    assert path.read_text() == good


def test_a_run_that_is_killed_as_it_ends_leaves_no_table_that_counts_as_damaged(
    start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Stands for a process that is no more."""

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    asked = ("data.direction=A-to-B", "train_subjects=[1,all]", "folds.k=4")
    start(*asked, gain=1.0)
    folder = RunFolder(tmp_path / "out")
    tables = (folder.results, folder.training_sizes)
    before = [path.read_bytes() for path in tables]
    with monkeypatch.context() as late:
        late.setattr("harmbench.runner.experiment.end_invocation", killed)
        with pytest.raises(KilledError):
            start(*asked, gain=0.5)
    assert all(path.read_bytes() != old for path, old in zip(tables, before, strict=True))
    assert damaged_tables(folder) == {}
    with monkeypatch.context() as early:
        early.setattr("harmbench.runner.experiment.write_tables", killed)
        with pytest.raises(KilledError):
            start(*asked, gain=0.7)
    assert damaged_tables(folder) == {}
