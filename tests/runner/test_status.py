"""`harmbench status` and `harmbench cancel` on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harmbench.runner.progress_file import (
    CellProgress,
    WrittenProgress,
    is_alive,
    read_progress,
)
from harmbench.runner.status import run_status


def _progress(pid: int, **values: object) -> dict[str, object]:
    try:
        born_s = psutil.Process(pid).create_time()
    except psutil.Error:
        born_s = 1.0
    own = {"host": socket.gethostname(), "pid": pid, "born_s": born_s, "isolated": False}
    place = {"stage": "training", "done": 25, "total": 100, "began_s": 0.0, "now_s": 50.0}
    return {**own, "parent": 1, "parent_born_s": 1.0, **place, **values}


def test_states_of_cells(finished, call) -> None:
    cell = finished("noisy")
    out = cell.parents[4]
    states = {state.cell.split()[0]: state for state in run_status(out)}
    assert {name: state.state for name, state in states.items()} == dict.fromkeys(
        ("target", "identity", "histogram_matching", "noisy"), "ok"
    )
    (cell / "progress.json").write_text(json.dumps(_progress(os.getpid())))
    rows = {row["cell"].split()[0]: row for row in json.loads(call("status", out, "--json")[1])}
    assert rows["noisy"] == {
        "cell": "noisy A-to-B fold 0 seed 0",
        "state": "running",
        "node": socket.gethostname(),
        "progress": "training 25/100",
        "left": "2 min",  # 75 steps at 2 s, 150 s in all
        "error": "",
    }
    (cell / "progress.json").write_text(json.dumps(_progress(os.getpid(), born_s=5.0)))
    assert [s.state for s in run_status(out) if s.cell.startswith("noisy")] == ["stopped"]
    shutil.rmtree(cell)
    assert [s.state for s in run_status(out) if s.cell.startswith("noisy")] == ["waiting"]
    code, _, err = call("status", out.parent)
    assert (code, "not a run folder" in err) == (2, True)


def test_cancel_ends_the_process_that_works_on_the_run(finished, call) -> None:
    cell = finished("noisy")
    out = cell.parents[4]
    assert "nothing of this run is going on" in call("cancel", out)[2]
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (cell / "progress.json").write_text(json.dumps(_progress(worker.pid)))
        assert f"processes: {worker.pid}" in call("cancel", out)[2]
        assert worker.wait(30) == -15
    finally:
        worker.kill()
        worker.wait()
    assert "nothing of this run is going on" in call("cancel", out)[2]
    elsewhere = _progress(1, host="another", now_s=time.time())
    (cell / "progress.json").write_text(json.dumps(elsewhere))
    code, _, err = call("cancel", out)
    assert (code, "the run goes on on another" in err) == (2, True)


def test_progress_is_written_and_goes_with_the_block(tmp_path: Path) -> None:
    path, told = tmp_path / "progress.json", []
    with WrittenProgress(path, lambda *report, **values: told.append(report)) as progress:
        first = read_progress(path)
        assert first is not None
        assert is_alive(first)
        assert (first.stage, first.left_s) == ("start", None)
        progress("training", 1, 10, loss=0.5)
    assert told == [("training", 1, 10)]
    assert not path.exists()
    assert read_progress(path) is None
    path.write_text("{")
    assert read_progress(path) is None


@pytest.mark.parametrize(("silent_s", "alive"), [(10, True), (3600, False)])
def test_a_process_of_another_machine_is_judged_by_its_silence(silent_s: int, alive: bool) -> None:
    values = _progress(1, host="another", now_s=time.time() - silent_s)
    assert is_alive(CellProgress.model_validate(values)) is alive
