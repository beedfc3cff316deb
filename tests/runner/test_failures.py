"""Methods and segmentations that fail: rows with a status, while everything else goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harmbench.results import read_results
from harmbench.runner.folder import RunFolder
from harmbench.volume import Volume, read, write

pytestmark = pytest.mark.usefixtures("thresholds")


def test_a_failed_fit_is_rows_and_the_others_go_on(start, tmp_path: Path) -> None:
    summary = start(fail="fit")
    assert len(summary.failed) == 4
    assert all("no gradient" in reason for reason in summary.failed.values())
    results = read_results(tmp_path / "out" / "results.csv")
    failed = results[results["method"] == "tricks"]
    ok = results[results["method"] == "identity"]
    assert (failed["status"] == "failed").all()
    assert failed["value"].isna().all()
    assert len(failed) == len(ok)
    assert set(ok["status"]) <= {"ok", "empty", "undefined"}
    folder = RunFolder(tmp_path / "out")
    cell = next(cell for cell, _ in folder.cells() if cell.method == "tricks")
    log = folder.cell(cell).log.read_text()
    assert "Traceback" in log
    assert "ValueError: no gradient" in log


def test_one_failing_subject_costs_its_own_rows_only(start, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    scan = read(folder / "s2_A.nii.gz")
    bright = scan.data.copy()
    bright[3, 12, 10] = 0.9
    for name in ("s0", "s1", "s3"):
        other = read(folder / f"{name}_A.nii.gz")
        dim = other.data.copy()
        dim[3, 12, 10] = 0.2
        write(Volume(dim, other.affine), folder / f"{name}_A.nii.gz")
    write(Volume(bright, scan.affine), folder / "s2_A.nii.gz")
    start("data.direction=A-to-B", fail="harmonize")
    results = read_results(tmp_path / "out" / "results.csv")
    rows = results[results["method"] == "tricks"]
    assert set(rows["subject"]) == {"s0", "s1", "s2", "s3"}
    assert set(rows["subject"][rows["status"] == "failed"]) == {"s2"}


def test_a_failed_segmentation_keeps_the_image_scores(start, tmp_path: Path) -> None:
    summary = start(fail="dark")
    assert not summary.failed
    assert len(summary.incomplete) == 4
    assert all("too dark for three classes" in reason for reason in summary.incomplete.values())
    results = read_results(tmp_path / "out" / "results.csv")
    rows = results[results["method"] == "tricks"]
    tissue = rows["tissue"] != ""
    assert (rows["status"][tissue] == "segmentation_failed").all()
    assert rows["value"][tissue].isna().all()
    assert rows["value"][rows["metric"] == "mse"].notna().all()


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        ("raise SystemExit(0)", r"fit: sys\.exit\(0\) was called"),
        ("raise SystemExit('no licence')", r"fit: sys\.exit\('no licence'\) was called"),
        ("raise GeneratorExit()", "fit: GeneratorExit was raised"),
        ("raise KeyboardInterrupt()", "fit: KeyboardInterrupt was raised"),
        ("raise type('Own', (BaseException,), {})('x')", "fit: Own was raised: x"),
        ("exit", r"subject s\d: sys\.exit\(\) was called"),
    ],
)
def test_a_method_that_ends_the_program_fails(
    start, tmp_path: Path, fail: str, message: str
) -> None:
    summary = start("data.direction=A-to-B", "folds.run=0", fail=fail)
    (reason,) = summary.failed.values()
    assert re.match(message, reason)
    results = read_results(tmp_path / "out" / "results.csv")
    assert (results["status"][results["method"] == "tricks"] == "failed").all()
    assert set(results["method"]) == {"identity", "target", "tricks"}


def test_an_interrupt_stays_one(start) -> None:
    with pytest.raises(KeyboardInterrupt):
        start(fail="interrupt")


@pytest.mark.parametrize("names", ["a|A", "", "é|e\u0301|É"])
def test_names_of_kept_volumes_are_told_apart(start, names: str) -> None:
    summary = start("data.direction=A-to-B", "folds.run=0", fail=f"keep {names}")
    (reason,) = summary.failed.values()
    assert "keep(" in reason
