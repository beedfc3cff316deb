"""Cells as jobs of a real SLURM cluster on this machine; one of its two nodes dies in the middle."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from cluster import NODES, Cluster, NoClusterError, why_not

from harmbench.contract import tiny_pairs
from harmbench.errors import HarmbenchError
from harmbench.results import read_results
from harmbench.runner.status import CellState, run_status
from harmbench.volume import write

pytest.importorskip("submitit", reason="submitit is not installed")
pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is a cluster"),
    # As a signal, so that the cluster is stopped after it.
    pytest.mark.timeout(540, method="signal"),
]

CELLS = 12
LONG_S = 240
"""Longer than any step takes on a busy machine; each waits for what it needs, and no longer."""
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
        ends = time.monotonic() + 300
        while not Path(GATE).exists() and time.monotonic() < ends:
            task.progress("waiting", 1, 10)
            time.sleep(0.2)
        return source.with_data(source.data * 0.5)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # A short path: it holds a socket.
    with tempfile.TemporaryDirectory(prefix="slurm-") as place:
        made = Cluster(Path(place))
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        try:
            try:
                made.start()
            except NoClusterError as error:
                pytest.skip(f"no cluster comes up on this machine: {error}")
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
        "data: {path: scans.csv}\nfolds: {k: 2}\ndevice: cpu\n"
        "volume_controls: []\ncontrols: []\nceiling: false\n"
        f"scoring: {{segmenter: '{tmp_path}/halves.py:Halves'}}\n"
        f"methods: {{slow: {{uses: '{tmp_path}/slow.py:Slow'}}, identity: , histogram_matching: }}\n"
        "resources: {default: {time: 0.5, extra: {comment: tests}}}\n"
    )
    return tmp_path


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "harmbench", *map(str, words)]


def _call(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*words), capture_output=True, text=True, check=False, timeout=LONG_S
    )


@contextmanager
def _started(log: Path, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; it is killed at the end of the block where it has not ended."""
    with log.open("w") as file:
        run = subprocess.Popen(_command(*words), stderr=file, stdout=file)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def _states(out: Path) -> list[CellState]:
    try:
        return run_status(out)
    except HarmbenchError:  # the run is about to begin
        return []


def _at_work(out: Path, count: int) -> list[CellState]:
    """Return the slow cells that wait for the gate, once there are so many; a job that began has not."""
    found = [s for s in _states(out) if s.state == "running" and s.progress.startswith("waiting")]
    return found if len(found) == count else []


def _wait(what: str, there: Callable[[], object], run: subprocess.Popen[bytes] | None = None):
    ends = time.monotonic() + LONG_S
    while not (found := there()):
        assert time.monotonic() < ends, f"no {what}"
        assert run is None or run.poll() is None, f"no {what}: the run has ended"
        time.sleep(0.5)
    return found


def _bits(out: Path) -> pd.DataFrame:
    found = read_results(out / "results.csv")
    return found.assign(value=[f"{value!r}" for value in found["value"]])


def test_a_grid_outlives_its_terminal_and_a_node_and_is_cancelled(
    cluster: Cluster, place: Path
) -> None:
    out, log = place / "out", place / "run.log"
    words = ("run", "--config", place / "run.yaml", "--out", out, "--executor", "slurm")
    slots = min(4, cluster.cpus * len(NODES))

    # All places are taken by cells that wait; an interrupt leaves them at work.
    with _started(log, *words) as run:
        states = _wait("slow cells at work", lambda: _at_work(out, slots), run)
        assert {state.node for state in states} == set(NODES)
        shown = _call("status", out)
        assert shown.returncode == 0, shown.stderr
        assert len(re.findall(r"running.*waiting 1/10", shown.stdout)) == slots
        run.send_signal(signal.SIGINT)
        assert run.wait(LONG_S) == 130, log.read_text()
    assert "The same command takes them up again" in log.read_text()
    assert len(_at_work(out, slots)) == slots

    # A node dies; the same command ends with every cell, each submitted once.
    cluster.kill_node("n2")
    (place / "gate").touch()
    with _started(log, *words) as run:
        local = place / "local"
        done = _call("run", "--config", place / "run.yaml", "--out", local, "--jobs", "2")
        assert done.returncode == 0, done.stderr
        assert run.wait(LONG_S) == 0, log.read_text()[-3000:]
    states = _states(out)
    assert [state.state for state in states] == ["ok"] * CELLS
    # Each of the two runs had one job for all real scans.
    assert len(list((out / "slurm").glob("*_submitted.pkl"))) == CELLS + 2
    assert cluster.states()["n2"].startswith("down")
    pd.testing.assert_frame_equal(_bits(out), _bits(local))

    # Another run in the folder, which is cancelled while it waits: it submits nothing again.
    (place / "gate").unlink()
    only = ("--method", "slow", "--seed", 7, "--fold", 0, "--direction", "A-to-B")
    with _started(log, *words, *only) as run:
        _wait("a job at work", lambda: _at_work(out, 1), run)
        (job,) = json.loads((out / "slurm" / "jobs.json").read_text())["jobs"].values()
        cancelled = _call("cancel", out)
        assert cancelled.stderr == f"jobs: {job}\n"
        assert run.wait(LONG_S) not in {0, 130}, log.read_text()
    assert "1 jobs were cancelled by harmbench cancel" in " ".join(log.read_text().split())
    assert not json.loads((out / "slurm" / "jobs.json").read_text())["jobs"]
    _wait("empty queue", lambda: not cluster.call("squeue", "--noheader").strip())
    assert "running" not in {state.state for state in _states(out)}
