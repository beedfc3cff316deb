"""A method is foreign code: what it does to its process costs its own cell, and no more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harmbench.config import load_experiment
from harmbench.executors import Died, LocalExecutor
from harmbench.executors.workers import how_it_ended
from harmbench.guard import method_call
from harmbench.progress import Display
from harmbench.results import read_results
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import RunFolder

METHOD = '''
import ctypes, os, signal, sys, threading, time
import numpy as np
from pydantic import Field
from harmbench.method import Method, Settings


class FaultsSettings(Settings):
    fault: str = ""


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(lambda: one)

    def __str__(self):
        raise ValueError("no words")


class Faults(Method):
    """Do what a method must not."""

    Config = FaultsSettings
    title = "Faults"

    def harmonize(self, source, task):
        getattr(self, self.config.fault)(source)
        return source.with_data(source.data * 0.5)

    def fine(self, source): ...
    def leave(self, source): sys.exit(0)
    def interrupt(self, source): raise KeyboardInterrupt
    def hard_exit(self, source): ctypes.CDLL(None)._exit(0)
    def crash(self, source): os.kill(os.getpid(), signal.SIGSEGV)
    def unsendable(self, source): raise OddError(1, 2)
    def change(self, source):
        source.data.flags.writeable = True
        source.data[...] = 0
    def wander(self, source): os.chdir("/")
    def talk(self, source):
        print("a word from the method")
        print("50 %\\r100 %", file=sys.stderr)
    def threads(self, source): threading.Thread(target=time.sleep, args=(3600,), name="stays").start()
    def fork(self, source):
        if os.fork() == 0:
            raise ValueError("in the fork")
    def linger(self, source):
        if os.fork() == 0:
            time.sleep(3600)
    def spoil(self, source):
        np.random.seed(0)
        np.multiply = None
    def hang(self, source):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
'''
FAILS = {
    "leave": r"sys\.exit\(0\) was called",
    "interrupt": "KeyboardInterrupt was raised",
    "hard_exit": "its process ended with exit code 0, without a result",
    "crash": r"its process crashed \(SIGSEGV\)",
    "unsendable": "OddError",
    "change": "changed the scan that it was given",
    "spoil": "NoneType",
}
FINE = ("wander", "talk", "threads", "fork", "linger", "fine")


@pytest.fixture
def run(make_manifest, file_segmenter: str, tmp_path: Path):
    (tmp_path / "faults.py").write_text(METHOD)

    def start(*faults: str, **settings: object) -> Summary:
        changes = {
            "data.path": make_manifest(2),
            "data.direction": "A-to-B",
            "folds.k": 2,
            "folds.run": "0",
            "device": "cpu",
            "controls": [],
            "ceiling": False,
            "volume_controls": [],
            "isolate": True,
            "scoring.segmenter": file_segmenter,
            "methods": {
                name: {"uses": f"{tmp_path / 'faults.py'}:Faults", "fault": name} for name in faults
            },
            **settings,
        }
        return run_experiment(load_experiment(None, (), changes), tmp_path / "out", lambda _: None)

    return start


def test_ten_faults_cost_their_own_cells(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = psutil.Process().children(recursive=True)
    summary = run(*FAILS, *FINE)
    assert {name.split()[0] for name in summary.failed} == set(FAILS)
    for name, reason in summary.failed.items():
        assert re.search(FAILS[name.split()[0]], reason), (name, reason)
    results = read_results(tmp_path / "out" / "results.csv")
    failed = results["status"] == "failed"
    assert set(results["method"][failed]) == set(FAILS)
    values = results[~failed].groupby("method")["value"].apply(list)
    assert set(values.index) == set(FINE)
    for name in FINE:  # to the bit
        assert [f"{v!r}" for v in values[name]] == [f"{v!r}" for v in values["fine"]]
    assert Path.cwd() == tmp_path
    left = [own for own in psutil.Process().children(recursive=True) if own not in before]
    # Python's own tracker of shared memory stays until the program ends.
    assert [own for own in left if "resource_tracker" not in " ".join(own.cmdline())] == []
    logs = {
        cell.method: (RunFolder(tmp_path / "out").cell(cell).log.read_text())
        for cell, _ in RunFolder(tmp_path / "out").cells()
    }
    assert "a word from the method" in logs["talk"]
    assert "printed: 100 %" in logs["talk"]
    assert "threads were left running: stays" in logs["threads"]
    assert "in the fork" not in logs["fork"]


def test_a_hung_cell_becomes_a_failed_row(run, tmp_path: Path) -> None:
    start = time.monotonic()
    summary = run("hang", cell_hours=6 / 3600)
    (reason,) = summary.failed.values()
    assert reason == "it took longer than the limit of 6 s for a cell"
    assert set(read_results(tmp_path / "out" / "results.csv")["status"]) == {"failed"}
    assert time.monotonic() - start < 200


SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from harmbench.executors import LocalExecutor
from harmbench.progress import Display
sys.path.insert(0, sys.argv[1])
from work import sleep

if __name__ == "__main__":
    with Display("x", 1, Console(quiet=True)) as display:
        list(LocalExecutor(1, isolated=True).run(sleep, [Path(sys.argv[1])], display))
"""
WORK = """
import ctypes, os, time


def sleep(place, progress):
    below = os.fork()
    if below == 0:
        os.setsid()
        time.sleep(600)
    (place / "new").write_text(f"{os.getpid()} {below}")
    (place / "new").rename(place / "pids")
    ctypes.PyDLL(None).sleep(600)  # no thread of Python runs meanwhile
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_parent_alone_ends_all_below_it(tmp_path: Path, number: int) -> None:
    (tmp_path / "work.py").write_text(WORK)
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        ends = time.monotonic() + 120
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < ends
            time.sleep(0.1)
        children = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        parent.send_signal(number)
        parent.wait(60)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def _die_beside(item: int, progress) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_items_of_one_kin_share_a_process_and_no_others() -> None:
    from rich.console import Console

    with Display("test", 5, Console(quiet=True)) as display:
        executor = LocalExecutor(1, isolated=True)
        found = dict(executor.run(_die_beside, [2, 4, 1, 3, 5], display, kin=lambda n: n % 2))
    assert isinstance(found[1], Died)
    assert found[2] == found[4] != found[3] == found[5]
    assert os.getpid() not in found.values()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "its process ended with exit code 3, without a result"),
        (-9, "its process was killed (out of memory?)"),
        (-11, "its process crashed (SIGSEGV)"),
        (-200, "its process crashed (200)"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert how_it_ended(code) == words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_the_user_sent_is_not_the_methods(number: int) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), method_call():
            signal.raise_signal(number)
        with method_call():
            signal.signal(number, signal.SIG_DFL)
        assert signal.getsignal(number) is interrupted
    finally:
        signal.signal(number, before)
