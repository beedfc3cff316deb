"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest
import torch

import harmbench
from harmbench.metrics.suite import METRICS
from harmbench.results import read_results
from harmbench.volume import Volume, read, write


def _run(manifest: Path, out: Path) -> list[object]:
    shared = ["run", "--data", manifest, "--folds", 2, "--out", out, "--device", "cpu"]
    return [*shared, "--segmenter", "thresholds"]


def test_help_of_every_command(call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    names = ["run", "rescore", "report", "demo", "methods", "metrics", "new-method"]
    names += ["check-method", "cohort", "prepare", "segment", "score", "apply", "export", "doctor"]
    for name in names:
        assert f" {name} " in out
        code, help_text, _ = call(name, "--help")
        assert code == 0
        assert "Usage: harmbench" in help_text


def test_version(call) -> None:
    code, out, _ = call("--version")
    assert (code, out) == (0, f"harmbench {harmbench.__version__}\n")


def test_run_writes_results_and_adds_up(call, thresholds, make_manifest, tmp_path) -> None:
    command = _run(make_manifest(4), tmp_path / "out")
    code, _, err = call(*command, "--method", "identity", "--fold", "0", "--set", "controls=[]")
    assert code == 0, err
    assert "segmenter: thresholds" in err
    code, _, err = call(*command, "--fold", "1", "--method", "histogram_matching")
    assert code == 0, err
    results = read_results(tmp_path / "out" / "results.csv")
    folds = results.groupby("method")["fold"].unique().map(sorted).to_dict()
    assert folds == {"identity": [0, 1], "histogram_matching": [1], "target": [0, 1]}


def test_failed_cells_show_in_the_exit_code(call, thresholds, make_manifest, tmp_path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from harmbench.method import Method\n"
        "class Bad(Method):\n"
        "    def harmonize(self, source, task):\n"
        "        raise ValueError('by design')\n"
    )
    code, _, err = call(*_run(make_manifest(2), tmp_path / "out"), "--method", f"{bad}:Bad")
    assert code == 1
    assert "failed, subject" in err
    assert "by design" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--method", "dn"], "unknown method 'dn'"),
        (["run", "--set", "fold.k=3"], "fold: unknown setting; did you mean 'folds'?"),
        (
            ["run", "--method", "identity", "--set", "methods.dm.stpes=1"],
            "dm.stpes: unknown setting",
        ),
        (["run", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["run", "--data", "none.csv"], "none.csv: no such file or folder"),
        (["report", "nowhere"], "nowhere"),
        (["segment", "none.nii.gz", "o.nii.gz"], "none.nii.gz: no such file"),
        (["score", "--volume", "a", "--reference", "b"], "no such file or folder: a, b"),
        (["apply", "nowhere", "a.nii.gz"], "not a cell's folder"),
        (["methods", "dn"], "unknown method 'dn'"),
        (["new-method", "Not-A-Name"], "lower-case Python name"),
    ],
)
def test_wrong_input_is_one_readable_line(call, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_errors_of_the_system_are_one_line_too(call, make_manifest, tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/data/out.nii.gz")

    monkeypatch.setattr("harmbench.runner.outside.segment_scan", full)
    code, _, err = call("segment", "in.nii.gz", "out.nii.gz")
    assert code == 3
    assert err == "system error: /data/out.nii.gz: No space left on device\n"


def test_debug_shows_the_traceback(call) -> None:
    code, _, err = call("methods", "dn", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_methods_and_their_settings(call) -> None:
    _, out, _ = call("methods", "--json")
    assert {"identity", "histogram_matching", "dm"} <= {row["method"] for row in json.loads(out)}
    _, out, _ = call("methods", "dm", "--json")
    described = json.loads(out)
    assert described["parameters"]["network"] == 11_402_370
    assert "iterations" in {row["setting"] for row in described["settings"]}
    code, out, _ = call("methods", "dm")
    assert code == 0
    assert "11,402,370" in out
    code, listed, _ = call("methods", "--json")
    code, asked, _ = call("methods", "--full", "--json")
    assert json.loads(listed) == json.loads(asked)


def test_methods_that_do_not_declare_what_they_are(call, install) -> None:
    text = """
from harmbench import Method

class Hidden(Method):
    title = "Hid" + "den".lower()

    def harmonize(self, source, task):
        return source

    def parameter_counts(self):
        return {"network": 12}
"""
    install({"hidden": text}, {"harmbench.methods:hidden": "hidden:Hidden"})
    code, out, err = call("methods")
    assert code == 0
    assert "not declared" in out
    assert "--full asks the methods themselves" in err
    code, out, err = call("methods", "--full", "--json")
    (row,) = (row for row in json.loads(out) if row["method"] == "hidden")
    assert (row["title"], row["parameters"]) == ("Hidden", {"network": 12})


def test_metrics_declare_themselves(call) -> None:
    _, out, _ = call("metrics", "--json")
    assert [row["name"] for row in json.loads(out)] == list(METRICS)
    code, out, _ = call("metrics", "hd95")
    assert code == 0
    assert "unit: mm" in out
    assert METRICS["hd95"].description in out
    code, _, err = call("metrics", "hd96")
    assert code == 2
    assert "unknown metric 'hd96'; did you mean 'hd95'" in err


def test_a_new_method_goes_all_the_way(
    call, thresholds, make_manifest, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("new-method", "my_method")
    assert code == 0
    assert "check-method my_method.py:MyMethod" in out
    code, out, _ = call("check-method", "my_method.py:MyMethod", "--json")
    assert code == 0
    assert {row["result"] for row in json.loads(out)} == {"passed"}
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_method.py"]
    assert subprocess.run(test, check=False, timeout=120).returncode == 0
    command = _run(make_manifest(4), tmp_path / "out")
    code, _, err = call(*command, "--method", "my_method.py:MyMethod")
    assert code == 0, err
    results = read_results(tmp_path / "out" / "results.csv")
    mse = results[results["metric"] == "mse"].groupby("method")["value"].mean()
    assert mse["MyMethod"] < mse["identity"]
    code, _, err = call("report", tmp_path / "out")
    assert code == 0, err
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "My method <code>MyMethod</code>" in page
    code, _, err = call("new-method", "my_method")
    assert code == 2
    assert "is there already" in err


def test_check_method_tells_what_broke(call, tmp_path) -> None:
    (tmp_path / "bad.py").write_text(
        "from harmbench.method import Method\n"
        "class Bad(Method):\n"
        "    def harmonize(self, source, task):\n"
        "        return source.with_data(source.data * 5)\n"
    )
    code, out, _ = call("check-method", f"{tmp_path}/bad.py:Bad")
    assert code == 1
    assert "FAILED" in out


def test_cohort_lists_scans_or_every_problem(call, make_manifest, tmp_path) -> None:
    manifest = make_manifest(2)
    code, out, _ = call("cohort", "--data", manifest, "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["scans"]) == 4
    assert [row["direction"] for row in found["directions"]] == ["A-to-B", "B-to-A"]
    _, out, _ = call("cohort", "--data", manifest, "--scans")
    assert "s1_B.nii.gz" in out
    (tmp_path / "scans" / "s0_A.nii.gz").write_text("x")
    code, _, err = call("cohort", "--data", manifest)
    assert code == 2
    assert "subject s0, session A" in err


def test_segment_one_scan(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(1)
    scan, labels = tmp_path / "scans" / "s0_A.nii.gz", tmp_path / "labels.nii.gz"
    code, out, _ = call("segment", scan, labels, "--segmenter", "thresholds", "--json")
    assert code == 0
    found = read(labels, kind="label")
    rows = {row["tissue"]: row for row in json.loads(out)}
    volume_mm3 = float(np.prod(found.spacing_mm))
    for tissue, label in (("CSF", 1), ("GM", 2), ("WM", 3)):
        assert rows[tissue]["voxels"] == np.count_nonzero(found.data == label)
        assert rows[tissue]["volume_mm3"] == pytest.approx(
            rows[tissue]["voxels"] * volume_mm3, rel=1e-2
        )
    dark = read(scan)
    write(dark.with_data(dark.data * 0.1), tmp_path / "dark.nii.gz")
    code, _, err = call(
        "segment", tmp_path / "dark.nii.gz", tmp_path / "no.nii.gz", "--segmenter", "thresholds"
    )
    assert code == 2
    assert "too dark" in err
    assert not (tmp_path / "no.nii.gz").exists()


def test_score_files_and_folders(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(2)
    scans = tmp_path / "scans"
    a, b = scans / "s0_A.nii.gz", scans / "s0_B.nii.gz"
    tail = ["--segmenter", "thresholds", "--json", "--jobs", "1"]
    code, out, _ = call("score", "--volume", a, "--reference", b, "--source", a, *tail)
    assert code == 0
    rows = {(r["metric"], r["tissue"]): r for r in json.loads(out)}
    expected = np.mean((read(a).data.astype(float) - read(b).data) ** 2)
    assert rows["mse", ""]["value"] == pytest.approx(expected)
    assert rows["gradient_correlation", ""]["value"] == pytest.approx(1)
    assert {m for m, _ in rows} == set(METRICS)
    for name, session in (("made", "A"), ("real", "B")):
        for subject in ("s0", "s1"):
            volume = read(scans / f"{subject}_{session}.nii.gz")
            write(volume, tmp_path / name / f"{subject}.nii.gz")
    folders = ["--volume", tmp_path / "made", "--reference", tmp_path / "real"]
    code, _, _ = call("score", *folders, *tail, "--out", tmp_path / "scores.csv")
    assert code == 0
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert set(frame["name"]) == {"s0", "s1"}
    correlation = frame[frame["metric"] == "gradient_correlation"]
    assert (correlation["status"] == "undefined").all()
    (tmp_path / "real" / "s1.nii.gz").unlink()
    code, _, err = call("score", *folders, *tail)
    assert code == 2
    assert "s1.nii.gz: no such file" in err


def test_score_in_several_processes_says_why_there_are_no_labels(
    call, make_manifest, tmp_path
) -> None:
    make_manifest(3)
    for name, session in (("made", "A"), ("real", "B")):
        for subject in ("s0", "s1", "s2"):
            volume = read(tmp_path / "scans" / f"{subject}_{session}.nii.gz")
            if (name, subject) == ("made", "s1"):
                volume = volume.with_data(volume.data * 0)
            if (name, subject) == ("made", "s2"):
                volume = volume.with_data(np.where(volume.data > 0.7, np.nan, volume.data))
            write(volume, tmp_path / name / f"{subject}.nii.gz")
    folders = ["--volume", tmp_path / "made", "--reference", tmp_path / "real", "--json"]
    found = {}
    for jobs in (1, 2):
        code, out, err = call("score", *folders, "--segmenter", "hmrf", "--jobs", jobs)
        assert code == 1, err
        assert "s2.nii.gz: " in err
        assert "voxels are NaN or infinite" in err
        assert f"{tmp_path / 'made' / 's1.nii.gz'}: hmrf: the volume has no voxel above 0" in err
        found[jobs] = json.loads(out)
    assert found[1] == found[2]
    assert list(dict.fromkeys(row["name"] for row in found[1])) == ["s0", "s1", "s2"]
    dice = [row for row in found[1] if row["metric"] == "dice"]
    assert {row["status"] for row in dice if row["name"] == "s1"} == {"segmentation_failed"}
    assert {row["status"] for row in dice if row["name"] == "s0"} == {"ok"}
    assert {row["status"] for row in found[1] if row["name"] == "s2"} == {"failed"}


def test_rescore_keeps_volumes(call, thresholds, make_manifest, tmp_path) -> None:
    command = _run(make_manifest(4), tmp_path / "out")
    assert call(*command, "--method", "identity")[0] == 0
    code, _, err = call("rescore", tmp_path / "out", "--set", "scoring.stacking_axis=2")
    assert code == 0, err
    assert "12 of 12 cells are done" in err
    code, _, err = call("rescore", tmp_path / "out", "--set", "folds.k=3")
    assert code == 2
    assert "only scoring.*, jobs and device" in err
    code, _, err = call("rescore", tmp_path)
    assert code == 2
    assert "not a run folder" in err


def test_bad_volumes_are_named_with_what_is_wrong(call, make_manifest, tmp_path) -> None:
    make_manifest(1)
    reference = tmp_path / "scans" / "s0_B.nii.gz"
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    brain = scan.data > 0
    halves = np.where(np.indices(scan.shape)[0] < 8, 0.3, 0.7)
    noise = np.random.default_rng(0).normal(0, 0.02, scan.shape)
    cases = {
        "zero": (0 * scan.data, "no voxel above 0"),
        "constant": (0.5 * brain, "fewer than three"),
        "two": (halves * brain, "fewer than three"),
        "missing": ((halves + noise) * brain, "GM died out"),
        "nan": (np.where(scan.data > 0.7, np.nan, scan.data), "voxels are NaN or infinite"),
        "negative": (scan.data - 0.1, "intensities from -0.1"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / f"{name}.nii.gz"
        write(scan.with_data(data.astype(np.float32)), path)
        code, _, err = call("segment", path, tmp_path / "labels.nii.gz", "--segmenter", "hmrf")
        assert code == 2
        assert str(path) in err
        assert message in err
        assert not (tmp_path / "labels.nii.gz").exists()
        files = ["--volume", path, "--reference", reference, "--segmenter", "hmrf", "--json"]
        code, out, err = call("score", *files)
        assert message in err
        if name in ("nan", "negative"):
            assert code == 2
            continue
        assert code == 1
        tissue = [row for row in json.loads(out) if row["tissue"]]
        assert {row["status"] for row in tissue} == {"segmentation_failed"}


def test_score_refuses_other_grids_and_ranges(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(1)
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    write(Volume(scan.data[1:], scan.affine), tmp_path / "cut.nii.gz")
    write(scan.with_data(scan.data * 500), tmp_path / "raw.nii.gz")
    reference = tmp_path / "scans" / "s0_B.nii.gz"
    for name, message in (("cut", "has shape (15, 24, 20)"), ("raw", "--rescale percentile")):
        code, _, err = call(
            "score", "--volume", tmp_path / f"{name}.nii.gz", "--reference", reference
        )
        assert code == 2
        assert message in err
    code, _, err = call("score", "--volume", reference, "--reference", tmp_path / "scans")
    assert code == 2
    assert "all files or all folders" in err


def test_apply_returns_the_scans_own_grid(call, thresholds, make_manifest, tmp_path) -> None:
    code, _, err = call(*_run(make_manifest(4), tmp_path / "out"))
    assert code == 0, err
    scan = read(tmp_path / "scans" / "s1_A.nii.gz")
    # The same scan stored left to right and back to front, with scanner coordinates.
    stored = nib.Nifti1Image(
        scan.data[::-1, ::-1],
        scan.affine @ np.array([[-1, 0, 0, 15], [0, -1, 0, 23], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )
    stored.set_qform(stored.affine, code=1)
    stored.set_sform(stored.affine, code=2)
    nib.save(stored, tmp_path / "new.nii.gz")
    cell = tmp_path / "out/cells/histogram_matching/A-to-B/fold-0/seed-0"
    code, out, err = call("apply", cell, tmp_path / "new.nii.gz", "--out", tmp_path / "applied")
    assert code == 0, err
    (path,) = out.split()
    result = nib.load(path)
    assert result.shape == stored.shape
    assert np.allclose(result.affine, stored.affine)
    assert int(result.header["sform_code"]) == 2
    direct = tmp_path / "out/cells/histogram_matching/A-to-B/fold-0/seed-0/volumes/s1.nii.gz"
    if direct.is_file():
        assert np.allclose(read(path).data, read(direct).data, atol=1e-6)
    ceiling = tmp_path / "out/cells/target/A-to-B/fold-0/seed-0"
    code, _, err = call("apply", ceiling, tmp_path / "new.nii.gz")
    assert code == 2
    assert "no fitted model" in err


def _findings(out: str) -> dict[str, dict[str, str]]:
    return {row["what"]: row for row in json.loads(out)}


def test_doctor_looks_without_trying(call, install) -> None:
    code, out, err = call("doctor", "--json")
    findings = _findings(out)
    assert code == 0
    assert findings["method dm"] == {
        "what": "method dm",
        "state": "found",
        "detail": "11,402,370 parameters",
    }
    assert findings["segmenter hmrf"]["state"] == findings["torch"]["state"] == "found"
    assert "segmenter auto" not in findings
    assert findings["weights VGG16"]["detail"].startswith(torch.hub.get_dir())
    assert "harmbench doctor --full" in err
    install({}, {"harmbench.methods:lost": "lost:Lost", "harmbench.segmenters:gone": "gone:Gone"})
    code, out, _ = call("doctor", "--json")
    broken = {name for name, row in _findings(out).items() if row["state"] == "broken"}
    assert (code, broken) == (1, {"method lost", "segmenter gone"})


def test_doctor_tries_everything(call) -> None:
    code, out, err = call("doctor", "--full", "--json")
    findings = _findings(out)
    assert code == 0
    assert findings["method dm"]["state"] == "ok"
    assert findings["method dm"]["detail"] == "11,402,370 parameters"
    assert findings["segmenter auto"]["state"] == findings["segmenter hmrf"]["state"] == "ok"
    assert err == ""


@pytest.mark.parametrize("command", ["methods", "metrics", "doctor"])
def test_tables_fit_a_terminal_of_80_columns(call, monkeypatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    code, out, _ = call(command)
    lines = [re.sub("\x1b[^m]*m", "", line) for line in out.splitlines()]
    assert code == 0
    assert max(map(len, lines)) <= 80
    for name in ("histogram_matching", "relative_volume_difference", "scikit-image"):
        # No name is broken over two lines.
        assert any(name in line for line in lines) == (name in _NAMES[command])


_NAMES = {
    "methods": {"histogram_matching"},
    "metrics": {"relative_volume_difference"},
    "doctor": {"histogram_matching", "scikit-image"},
}


SLOW = """
import json
import time

from harmbench.method import Method

class Slow(Method):
    def fit(self, pairs, task):
        path = task.folder / "step.json"
        first = json.loads(path.read_text()) if path.exists() else 0
        for step in range(first, 40):
            time.sleep(0.1)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(step + 1))
            fresh.replace(path)
            with (task.folder / "steps.txt").open("a") as file:
                file.write(f"{step}\\n")
            task.progress("fit", step, 40)

    def harmonize(self, source, task):
        return source.with_data(source.data * 0.9)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on_from_its_checkpoint(make_manifest, tmp_path, jobs: int) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "harmbench", "run", "--data", make_manifest(2)]
    command += ["--method", f"{tmp_path}/slow.py:Slow", "--folds", 2, "--set", "controls=[]"]
    command += ["--direction", "A-to-B", "--fold", 0, "--out", tmp_path / "out", "--jobs", jobs]
    command += ["--segmenter", "atropos", "--device", "cpu", "--set", "ceiling=false"]
    command = [str(part) for part in command]
    training = tmp_path / "out/cells/Slow/A-to-B/fold-0/seed-0/training"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (training / "steps.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    reached = len((training / "steps.txt").read_text().split())
    assert 0 < reached < 40
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a process outlived its run"
    assert len((training / "steps.txt").read_text().split()) == reached
    assert not (tmp_path / "out" / "results.csv").exists()
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    steps = [int(step) for step in (training / "steps.txt").read_text().split()]
    assert steps == list(range(40))
    results = read_results(tmp_path / "out" / "results.csv")
    assert set(results["status"]) <= {"ok", "undefined", "empty"}


@pytest.mark.parametrize(
    "options", [("--crop", "\N{SUPERSCRIPT TWO}x2x2"), ("--memory", "nan"), ("--jobs", "0")]
)
def test_odd_numbers_of_prepare(call, make_manifest, tmp_path: Path, options) -> None:
    code, _, err = call("prepare", make_manifest(2), tmp_path / "prepared", *options)
    assert code == 2
    assert "internal error" not in err
