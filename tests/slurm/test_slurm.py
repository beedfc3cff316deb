"""Cells as jobs of a real SLURM cluster on this machine; one of its two nodes dies in the middle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from cluster import Cluster, why_not

from harmbench.contract import tiny_pairs
from harmbench.results import read_results
from harmbench.volume import write

pytest.importorskip("submitit", reason="submitit is not installed")
pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a cluster"),
    pytest.mark.timeout(1500),
]

SEGMENTER = """
import numpy as np


class Halves:
    name, version, contrasts = "halves", "1", ("T1w",)

    def __init__(self, *, device, contrast): ...

    def segment(self, volume):
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        cuts = [1e-6, low + 0.15 * extent, low + 0.35 * extent]
        labels = np.digitize(volume.data, cuts).astype(np.uint8)
        return volume.with_data(labels, kind="label")
"""
SLOW = """
import time
from pathlib import Path
from harmbench.method import Method


class Slow(Method):
    title = "Slow"

    def harmonize(self, source, task):
        ends = time.monotonic() + 600
        while not Path(GATE).exists() and time.monotonic() < ends:
            task.progress("waiting", 1, 10)
            time.sleep(0.2)
        return source.with_data(source.data * 0.5)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # A short path: it holds a socket.
    with tempfile.TemporaryDirectory(prefix="slurm-") as place:
        made = Cluster(Path(place))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    lines = ["subject,group,session,path"]
    for number, pair in enumerate(tiny_pairs(4)):
        for session, volume in (("A", pair.source), ("B", pair.target)):
            write(volume, tmp_path / f"s{number}_{session}.nii.gz")
            lines.append(f"s{number},HC,{session},s{number}_{session}.nii.gz")
    (tmp_path / "scans.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "halves.py").write_text(SEGMENTER)
    (tmp_path / "slow.py").write_text(SLOW.replace("GATE", repr(str(tmp_path / "gate"))))
    (tmp_path / "run.yaml").write_text(
        "data: {path: scans.csv}\nfolds: {k: 2}\ndevice: cpu\nvolume_controls: []\n"
        f"scoring: {{segmenter: '{tmp_path}/halves.py:Halves'}}\n"
        f"methods: {{slow: {{uses: '{tmp_path}/slow.py:Slow'}}}}\n"
        "resources: {default: {time: 0.5, extra: {comment: tests}}}\n"
    )
    return tmp_path


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "harmbench", *map(str, words)]


def _call(cluster: Cluster, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*words),
        env={**os.environ, **cluster.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def _states(cluster: Cluster, out: Path) -> list[dict[str, str]]:
    done = _call(cluster, "status", out, "--json")
    return json.loads(done.stdout) if done.returncode == 0 else []


def _wait(what: str, there, seconds: float = 400) -> None:
    ends = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < ends, what
        time.sleep(2)


def _end(run: subprocess.Popen[bytes]) -> None:
    if run.poll() is None:
        run.kill()
        run.wait()


@pytest.fixture(autouse=True)
def no_jobs_left(cluster: Cluster) -> Iterator[None]:
    """End a test's jobs after it: they would keep the nodes from the next."""
    yield
    cluster.end_jobs()


def _bits(out: Path) -> pd.DataFrame:
    found = read_results(out / "results.csv")
    return found.assign(value=[f"{value!r}" for value in found["value"]])


def test_a_grid_whose_node_dies_ends_as_on_one_machine(cluster: Cluster, place: Path) -> None:
    out = place / "out"
    words = ("run", "--config", place / "run.yaml", "--out", out, "--executor", "slurm")
    with (place / "run.log").open("w") as log:
        run = subprocess.Popen(
            _command(*words), env={**os.environ, **cluster.environment}, stderr=log
        )
    try:
        _wait(
            "slow cells on both nodes",
            lambda: (
                {
                    state["node"]
                    for state in _states(cluster, out)
                    if state["cell"].startswith("slow") and state["state"] == "running"
                }
                == {"n1", "n2"}
            ),
        )
        # A job that has just begun has no progress yet.
        running = [s for s in _states(cluster, out) if s["state"] == "running" and s["progress"]]
        assert running
        assert all(re.match(r"(waiting|subjects|start) \d+/\d+", s["progress"]) for s in running)
        cluster.kill_node("n2")
        _wait("a dead node", lambda: cluster.states()["n2"].startswith("down"))
        (place / "gate").touch()
        cluster.start_node("n2")
        assert run.wait(900) == 0, (place / "run.log").read_text()[-3000:]
    finally:
        _end(run)
    states = _states(cluster, out)
    assert len(states) == 16
    assert {state["state"] for state in states} == {"ok"}
    local = place / "local"
    done = _call(cluster, "run", "--config", place / "run.yaml", "--out", local, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(_bits(out), _bits(local))


def test_an_interrupt_detaches_and_cancel_ends_the_jobs(cluster: Cluster, place: Path) -> None:
    out = place / "out"
    only = (
        "--set",
        "controls=[]",
        "--set",
        "ceiling=false",
        "--fold",
        "0",
        "--direction",
        "A-to-B",
    )
    words = ("run", "--config", place / "run.yaml", "--out", out, "--executor", "slurm", *only)
    with (place / "run.log").open("w") as log:
        run = subprocess.Popen(
            _command(*words), env={**os.environ, **cluster.environment}, stderr=log
        )
    try:
        _wait("a running job", lambda: [s["state"] for s in _states(cluster, out)] == ["running"])
        run.send_signal(2)
        assert run.wait(60) == 130
    finally:
        _end(run)
    assert "The same command takes them up again" in (place / "run.log").read_text()
    (job,) = json.loads((out / "slurm" / "jobs.json").read_text())["jobs"].values()
    assert [state["state"] for state in _states(cluster, out)] == ["running"]
    (place / "gate").touch()
    done = _call(cluster, *words)
    assert done.returncode == 0, done.stderr
    assert list((out / "slurm").glob(f"{job}_0_result.pkl"))
    assert len(list((out / "slurm").glob("*_result.pkl"))) == len(
        list((out / "slurm").glob("*_submitted.pkl"))
    )
    (place / "gate").unlink()
    run = subprocess.Popen(
        _command(*words, "--seed", 7),
        env={**os.environ, **cluster.environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait("another job", lambda: "running" in [s["state"] for s in _states(cluster, out)])
        run.send_signal(2)
        run.wait(60)
    finally:
        _end(run)
    done = _call(cluster, "cancel", out)
    assert done.stderr.startswith("jobs: ")
    _wait("no job", lambda: not cluster.call("squeue", "--noheader").strip())
    assert "running" not in [state["state"] for state in _states(cluster, out)]
