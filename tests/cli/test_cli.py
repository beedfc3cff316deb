"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest

import harmbench
from harmbench.results import read_results
from harmbench.volume import read


def _run(manifest: Path, out: Path) -> list[object]:
    shared = ["run", "--data", manifest, "--folds", 2, "--out", out, "--device", "cpu"]
    return [*shared, "--segmenter", "thresholds", "--set", "volume_controls=[]"]


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


def test_folds_of_the_command_line_replace_those_of_a_file(
    call, thresholds, make_manifest, tmp_path
) -> None:
    table, config = tmp_path / "folds.tsv", tmp_path / "own.yaml"
    table.write_text("subject\tfold\ns0\t0\ns1\t1\ns2\t2\n")
    shared = ["run", "--data", make_manifest(3), "--segmenter", "thresholds", "--device", "cpu"]
    shared += ["--config", config, "--set", "controls=[identity]"]
    for given, own, folds in (("k: 2", table, 3), (f"file: {table}", 2, 2)):
        config.write_text(f"folds:\n  {given}\n")
        out = tmp_path / f"out-{folds}"
        code, _, err = call(*shared, "--folds", own, "--out", out)
        assert code == 0, err
        assert read_results(out / "results.csv")["fold"].nunique() == folds


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

    monkeypatch.setattr("harmbench.runner.outside_labels.segment_scan", full)
    code, _, err = call("segment", "in.nii.gz", "out.nii.gz")
    assert code == 3
    assert err == "system error: /data/out.nii.gz: No space left on device\n"


def test_debug_shows_the_traceback(call) -> None:
    code, _, err = call("methods", "dn", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_a_new_method_goes_all_the_way(
    call, thresholds, few_figures, make_manifest, tmp_path, monkeypatch
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


SLOW = """
import json
import time

from harmbench.method import Method

class Slow(Method):
    def fit(self, pairs, task):
        path = task.folder / "step.json"
        first = json.loads(path.read_text()) if path.exists() else 0
        for step in range(first, 20):
            time.sleep(0.1)
            with (task.folder / "steps.txt").open("a") as file:
                file.write(f"{step}\\n")
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(step + 1))
            fresh.replace(path)
            task.progress("fit", step, 20)

    def harmonize(self, source, task):
        return source.with_data(source.data * 0.9)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_run_goes_on_from_its_checkpoint(
    make_manifest, file_segmenter: str, tmp_path, jobs: int
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "harmbench", "run", "--data", make_manifest(2)]
    command += ["--method", f"{tmp_path}/slow.py:Slow", "--folds", 2, "--set", "controls=[]"]
    command += ["--direction", "A-to-B", "--fold", 0, "--out", tmp_path / "out", "--jobs", jobs]
    command += ["--segmenter", file_segmenter, "--device", "cpu", "--set", "ceiling=false"]
    command += ["--set", "volume_controls=[]"]
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
    assert 0 < reached < 20
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a process outlived its run"
    assert len((training / "steps.txt").read_text().split()) == reached
    assert not (tmp_path / "out" / "results.csv").exists()
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    steps = [int(step) for step in (training / "steps.txt").read_text().split()]
    # Killed between a step and its checkpoint, a run repeats that one step.
    assert steps[reached] in {reached - 1, reached}
    assert steps == [*range(reached), *range(steps[reached], 20)]
    results = read_results(tmp_path / "out" / "results.csv")
    assert set(results["status"]) <= {"ok", "undefined", "empty"}


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
