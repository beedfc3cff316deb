"""The script of all measurements on a GPU: its time limits, and what is kept.

`make bench-dry-run` goes through the parts themselves, on the CPU.
"""

from __future__ import annotations

import csv
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harmbench.task import Pair
from harmbench.volume import Volume

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def benchmark(name):
    """Import a script as its neighbours do: by its name alone."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


gpu, gpu_rows = benchmark("gpu"), benchmark("gpu_rows")
FIRST, SECOND, LAST = gpu.Part("first", 10, 60), gpu.Part("second", 20, 30), gpu.Part("last", 5, 99)


@pytest.mark.parametrize(
    ("left_s", "limit_s"),
    [(300, 60), (50, 25), (30, 10), (10, 10), (9, 0)],
    ids=["its most", "what later parts leave", "its least", "nothing for others", "too little"],
)
def test_a_part_leaves_what_later_ones_need(left_s, limit_s) -> None:
    assert gpu.time_limit([FIRST, SECOND, LAST], left_s) == limit_s


def test_the_last_part_gets_what_is_left() -> None:
    assert gpu.time_limit([LAST], 77) == 77


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_failed_part_costs_no_other_and_what_has_no_time_is_skipped() -> None:
    clock, saved, took = Clock(), [], {"first": 12.0, "second": 25.0, "last": 1.0}

    def run(part, limit_s):
        clock.now += took[part.name]
        return "failed" if part.name == "first" else "ok"

    def save(ended):
        saved.append([(one.part, one.status) for one in ended])

    ended = gpu.run_parts([FIRST, SECOND, LAST], 40.0, run, save, clock)
    assert [(one.part, one.status, one.seconds) for one in ended] == [
        ("first", "failed", 12.0),
        ("second", "ok", 25.0),
        ("last", "skipped", 0.0),
    ]
    assert [len(one) for one in saved] == [1, 2, 3]


PART = """
import subprocess, sys, time
from pathlib import Path
name, rows = sys.argv[1:3]
with Path(rows).open("a") as file:
    file.write('{"row": {"part": "%s", "setting": "", "measure": "", "value": 1.0}}\\n' % name)
print("hello from", name, flush=True)
if name == "first":
    raise SystemExit(3)
if name == "second":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    told = Path(rows).with_name("told")
    told.write_text(str(child.pid))
    told.rename(told.with_name("child"))
    time.sleep(60)
"""


def test_processes_that_fail_or_hang_are_ended_and_their_rows_stay(tmp_path, monkeypatch) -> None:
    script = tmp_path / "part.py"
    script.write_text(PART)
    monkeypatch.setattr(gpu, "PARTS_SCRIPT", script)

    def run(part):
        return gpu.run_in_process(part, 60.0, tmp_path, "tiny", "cpu")

    def hangs(process, seconds):
        """Wait until the part waits, then say that its time is over."""
        while not (tmp_path / "child").exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired(process.args, seconds)

    assert run(FIRST) == "failed"
    with monkeypatch.context() as patched:
        patched.setattr(gpu, "ended_within", hangs)
        assert run(SECOND) == "stopped"
    assert run(LAST) == "ok"
    _, rows = gpu_rows.read_notes(tmp_path / "rows.jsonl")
    assert [row.part for row in rows] == ["first", "second", "last"]
    assert (tmp_path / "log.txt").read_text().count("hello from") == 3
    assert has_ended(int((tmp_path / "child").read_text()))


def has_ended(pid) -> bool:
    """Whether a process is gone, or waits for its parent to read how it ended."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_rows_are_kept_with_their_targets(tmp_path) -> None:
    notes = gpu_rows.Notebook(tmp_path / "rows.jsonl", "hmrf")
    notes.fact("device", "a GPU")
    notes.row("one volume", "time", 0.2, "s", at_most=0.3)
    notes.row("four volumes", "speed", 2.5, at_least=3.0)
    notes.check("doctor", "sees it", True, "A | B")
    with notes.path.open("a") as file:
        file.write('{"row": {"part": "cut')
    facts, rows = gpu_rows.read_notes(notes.path)
    assert facts == {"device": "a GPU"}
    assert [row.met for row in rows] == [True, False, True]
    ended = [gpu_rows.Ended("hmrf", "ok", 3.0, 60.0)]
    page = gpu_rows.write_results(tmp_path, "Measured", facts, ended, rows)
    assert "at most 0.3" in page
    whole = json.loads((tmp_path / "results.json").read_text())
    assert [row["met"] for row in whole["rows"]] == [True, False, True]
    with (tmp_path / "results.csv").open() as file:
        assert [row["at_least"] for row in csv.DictReader(file)] == ["", "3.0", "1.0"]


def test_nothing_measured_is_a_page_too(tmp_path) -> None:
    facts, rows = gpu_rows.read_notes(tmp_path / "rows.jsonl")
    assert gpu_rows.write_results(tmp_path, "Nothing", facts, [], rows).startswith("# Nothing")


def test_every_part_is_there() -> None:
    parts = benchmark("gpu_parts")
    assert [part.name for part in gpu.PARTS] == [*parts.PARTS]
    assert sum(part.least_s for part in gpu.PARTS) < 9 * 60


def test_the_time_of_dm_is_divided() -> None:
    dm = benchmark("gpu_dm")
    plan = dm.plan_of(200.0, 40.0, 4, 150)
    training_s = 2 * plan.iterations * 0.040
    sampling_s = plan.slices * 1000 * dm.FORWARD_SHARE * 0.040 / 4
    assert training_s == pytest.approx(200 * 2 * dm.TRAINING_SHARE, rel=0.01)
    assert sampling_s <= 200 * dm.SLAB_SHARE
    assert dm.plan_of(200.0, 0.1, 4, 150).slices == 150
    assert dm.plan_of(0.0, 40.0, 4, 150) == dm.Plan(20, 2)


def test_the_middle_of_the_brain_is_cut_out() -> None:
    dm = benchmark("gpu_dm")
    data = np.zeros((10, 4, 4), np.float32)
    data[2:8, 1:3, 1:3] = np.linspace(0.1, 0.6, 6, dtype=np.float32)[:, None, None]
    volume = Volume(data, np.diag([2.0, 1.0, 1.0, 1.0]))
    cut = dm.middle(Pair("a", "", volume, volume), 2)
    assert np.array_equal(cut.source.data, data[4:6])
    assert cut.target.affine[0, 3] == 8.0
