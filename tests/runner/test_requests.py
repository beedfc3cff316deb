"""Requests that are refused before anything is written, and labels that make folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmbench.config import load_experiment
from harmbench.errors import CohortError, ConfigError, FoldError, HarmbenchError, RunError
from harmbench.runner.experiment import run_experiment
from harmbench.runner.folder import RunFolder

pytestmark = pytest.mark.usefixtures("thresholds")


@pytest.mark.parametrize(
    ("overrides", "tricks", "error", "message"),
    [
        (["folds.k=5"], {}, FoldError, "5 folds of 4 subjects: choose from 2 to 4"),
        (["folds.run=7"], {}, FoldError, "no such fold: '7'"),
        (["scoring.segmenter=fasst"], {}, HarmbenchError, "unknown segmenter 'fasst'"),
        (["data.direction=A-to-C"], {}, CohortError, "unknown direction 'A-to-C'"),
        ([], {"gian": 1}, ConfigError, "methods.tricks.gian: unknown.*'gain'"),
        ([], {"uses": "nothing"}, HarmbenchError, "unknown method 'nothing'"),
    ],
)
def test_bad_requests_write_nothing(start, tmp_path, overrides, tricks, error, message) -> None:
    with pytest.raises(error, match=message):
        start(*overrides, **tricks)
    assert not (tmp_path / "out").exists()


def test_bad_scans_write_nothing(start, tmp_path: Path) -> None:
    (tmp_path / "scans" / "s1_B.nii.gz").write_bytes(b"no image")
    with pytest.raises(CohortError, match="subject s1, session B"):
        start()
    assert not (tmp_path / "out").exists()


def test_a_scan_that_stands_twice_is_a_leak(start, tmp_path: Path) -> None:
    copy = (tmp_path / "scans" / "s0_A.nii.gz").read_bytes()
    (tmp_path / "scans" / "s1_A.nii.gz").write_bytes(copy)
    with pytest.raises(CohortError, match="subject s1, session A is the same scan as subject s0"):
        start()


def test_unusable_run_folders(start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        start(out="file/run")
    if Path("/proc/self").is_dir():
        # Nobody can make a folder there, root neither.
        with pytest.raises(RunError, match=r"/proc/run: cannot write in /proc"):
            start(out="/proc/run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(RunError, match="neither empty nor a run folder"):
        start(out="full")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "a method has an empty name"),
        ("Target", "would share one file"),
        ("IDENTITY", "would share one file"),
        ("m" * 300, "too long for a file"),
    ],
)
def test_labels_that_cannot_be_folders(make_manifest, adapter, tmp_path, label, message) -> None:
    changes = {
        "data.path": make_manifest(4),
        "methods": {label: {"uses": f"{adapter}:Tricks"}},
        "scoring.segmenter": "thresholds",
    }
    with pytest.raises(RunError, match=message):
        run_experiment(load_experiment(None, (), changes), tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_dots_are_labels_like_others(make_manifest, adapter: Path, tmp_path: Path) -> None:
    changes = {
        "data.path": make_manifest(2),
        "data.direction": "A-to-B",
        "methods": {name: {"uses": f"{adapter}:Tricks"} for name in (".", "..")},
        "scoring.segmenter": "thresholds",
        "folds.run": "0",
    }
    run_experiment(load_experiment(None, (), changes), tmp_path / "out", say=lambda _: None)
    folder = RunFolder(tmp_path / "out")
    assert {".", ".."} <= {cell.method for cell, _ in folder.cells()}
    assert {path.parts[-5] for path in (tmp_path / "out").rglob("cell.json")} > {"%2E", "%2E%2E"}
    known = {"out", "scans", "tricks.py", "calls.txt", "__pycache__"}
    assert {path.name for path in tmp_path.iterdir()} <= known
