"""Preparations that fail, are killed, or are refused."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from prepared import QUICK, Row, files, preparation_table

import harmbench.preparation.cohort
import harmbench.preparation.subject
import harmbench.preparation.summary
from harmbench.cohorts.base import Cohort
from harmbench.cohorts.bids import read_bids
from harmbench.errors import CohortError, HarmbenchError, PreparationError


def test_unusable_scans_cost_their_own_subject_only(
    prepare, manifest, raw_cohort: Cohort, tmp_path: Path
) -> None:
    scan = raw_cohort.scans["sub-02", "3T"].path
    image = nib.load(scan)
    data, affine = np.asarray(image.dataobj), image.affine

    def stored(name: str, values: np.ndarray, code: int = 1, affine: np.ndarray = affine) -> Path:
        made = nib.Nifti1Image(values, affine)
        made.set_qform(affine, code)
        made.set_sform(affine, code)
        nib.save(made, tmp_path / name)
        return tmp_path / name

    other = nib.load(raw_cohort.scans["sub-02", "1.5T"].path)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(scan.read_bytes()[:20000])
    text = tmp_path / "text.nii.gz"
    text.write_text("not an image")
    cases = {
        "cut": (cut, "damaged or truncated"),
        "text": (text, "not an image"),
        "series": (stored("4d.nii.gz", np.stack([data, data], axis=-1)), "expected a single 3D"),
        "turned": (stored("turned.nii.gz", data, 0), "has no orientation in the header"),
    }

    def add(rows: list[Row]) -> None:
        two = [row for row in rows if row["subject"] == "sub-02"]
        rows[:] = [row for row in rows if row["subject"] == "sub-01"]
        # No scan may be there twice: each subject gets one of its own brightness.
        for place, (name, (path, _)) in enumerate(cases.items(), start=1):
            for row in two:
                bright = other.get_fdata(dtype=np.float32) * (1 + place / 50)
                own = stored(f"{name}-1p5T.nii.gz", bright, affine=other.affine)
                file = path if row["session"] == "3T" else own
                rows.append({**row, "subject": name, "path": str(file)})
        rows.append({**two[0], "subject": "alone"})

    summary = prepare(data=manifest(add))
    assert summary.prepared == ("sub-01",)
    # A subject with one scan could be in no pair: it is left out, and counted.
    assert set(summary.failed) == set(cases)
    for name, (path, message) in cases.items():
        assert message in summary.failed[name]
        assert str(path) in summary.failed[name]
    assert "one scan only, on 1.5T" in summary.page.read_text()
    folders = {p.name for p in (tmp_path / "out").glob("sub-*")}
    assert folders == {"sub-01"}
    assert list(read_bids(tmp_path / "out").groups) == ["sub-01"]
    table = preparation_table(tmp_path / "out").set_index("subject")
    assert table.loc["series", "status"] == "failed"
    assert "expected a single 3D" in summary.page.read_text()


def test_no_brain_is_a_failure(prepare) -> None:
    summary = prepare("strip.plausible_ml=[3000, 4000]")
    assert "expected 3000 to 4000 ml" in summary.failed["sub-01"]


def test_a_full_disk_leaves_finished_subjects_intact(prepare, tmp_path: Path, monkeypatch) -> None:
    prepare()
    before = files(tmp_path / "out" / "sub-01")
    shutil.rmtree(tmp_path / "out" / "sub-02")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(harmbench.preparation.subject, "write_session", full)
    summary = prepare()
    assert summary.failed == {"sub-02": f"{tmp_path / 'out'}: no space left for its files"}
    assert files(tmp_path / "out" / "sub-01") == before
    assert not list((tmp_path / "out").glob(".new-*"))
    monkeypatch.setattr(harmbench.preparation.summary, "write_participants", full)
    with pytest.raises(OSError, match=r"No space left.*prepared subjects are intact"):
        prepare()
    assert files(tmp_path / "out" / "sub-01") == before


@pytest.mark.figures
def test_a_killed_preparation_goes_on_and_ends_in_the_same_place(
    prepare, manifest, tmp_path: Path
) -> None:
    prepare(out="whole")
    out = tmp_path / "parts"
    command = [sys.executable, "-m", "harmbench", "prepare", str(manifest()), str(out)]
    command += ["--jobs", "1", *(part for setting in QUICK for part in ("--set", setting))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(out.glob(".new-sub-02-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a process outlived its command"
    assert (out / "sub-01").is_dir()
    assert not (out / "sub-02").exists()
    assert not (out / "qc.html").exists()
    finished = files(out / "sub-01")
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert "sub-01: prepared before" in again.stderr
    assert files(out / "sub-01") == finished
    made = {name: data for name, data in files(out).items() if not name.startswith(".new-")}
    assert made == files(tmp_path / "whole")
    assert read_bids(out).groups == {"sub-01": "HC", "sub-02": "MS"}


def test_an_unexpected_error_is_logged_with_its_traceback(prepare, tmp_path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(harmbench.preparation.subject, "measure", broken)
    summary = prepare()
    assert summary.failed["sub-01"].startswith("ZeroDivisionError: oh (logs/sub-01.log")
    assert "Traceback" in (tmp_path / "out" / "logs" / "sub-01.log").read_text()


@pytest.mark.parametrize(
    ("overrides", "out", "error", "message"),
    [
        (["registration.reference=7T"], "out", PreparationError, r"no session '7T'; .*1\.5T, 3T"),
        (["strip.method=bet"], "out", HarmbenchError, "FSLDIR is not set"),
        ([], "raw.csv/out", PreparationError, "is a file"),
        ([], "full", PreparationError, "neither empty nor a prepared data set"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    prepare, tmp_path: Path, monkeypatch, overrides, out, error, message
) -> None:
    monkeypatch.delenv("FSLDIR", raising=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(error, match=message):
        prepare(*overrides, out=out)
    assert not (tmp_path / "out").exists()
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_subjects_that_become_one_are_refused(prepare, manifest, tmp_path: Path) -> None:
    def rename(rows: list[Row]) -> None:
        for row in rows:
            row["subject"] = {"sub-01": "P_1", "sub-02": "P1"}[row["subject"]]

    with pytest.raises(CohortError, match=r"subject 'P1' cannot be .* the same as P_1"):
        prepare(data=manifest(rename))
    assert not (tmp_path / "out").exists()


def test_a_scan_that_is_there_twice_is_refused(prepare, manifest, tmp_path: Path) -> None:
    def repeat(rows: list[Row]) -> None:
        image = nib.load(rows[0]["path"])
        nib.save(image, tmp_path / "copy.nii")
        rows[2]["path"] = str(tmp_path / "copy.nii")

    with pytest.raises(CohortError, match="is the same scan as"):
        prepare(data=manifest(repeat))
    assert not (tmp_path / "out").exists()


def test_outputs_among_the_scans_are_refused(prepare, raw_cohort: Cohort) -> None:
    scan = next(iter(raw_cohort.scans.values())).path
    with pytest.raises(PreparationError, match="holds the input"):
        prepare(out=str(scan.parent))
