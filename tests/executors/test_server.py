"""The process that starts workers: how it starts them, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from rich.console import Console

from harmbench.errors import RunError
from harmbench.executors import Died, LocalExecutor, server
from harmbench.executors.server import WorkerServer, program_of_worker
from harmbench.executors.serving import StartMethod, start_method
from harmbench.progress import Display

linux = pytest.mark.skipif(sys.platform != "linux", reason="a fork server is for Linux")


def _run(executor: LocalExecutor, work, items: Sequence[int], kin: Callable[[int], object] | None):
    with Display("test", len(items), Console(quiet=True)) as display:
        return dict(executor.run(work, items, display, kin=kin))


def _own(item: int) -> int:
    return item


def _die_at_three(item: int, progress) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("start", [pytest.param("fork", marks=linux), "spawn"])
def test_a_worker_that_is_killed_costs_its_item(start: StartMethod) -> None:
    found = _run(LocalExecutor(2, start=start), _die_at_three, range(1, 5), _own)
    assert isinstance(found[3], Died)
    assert "killed" in found[3].reason
    assert {item: end for item, end in found.items() if item != 3} == {1: 1, 2: 2, 4: 4}


class _Busy:
    """A server on a machine that has no more processes for a while; it counts how often it is closed."""

    def __init__(self, failures: int) -> None:
        self.failures, self.closed = failures, 0

    def ask(self, order: object, connection: object = None) -> int | None:
        self.failures -= 1
        return None if self.failures >= 0 else 4711

    def close(self) -> None:
        self.closed += 1


def test_a_process_that_cannot_be_started_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_AGAIN_S", (0.0, 0.0))
    busy, starter = _Busy(2), WorkerServer()
    monkeypatch.setattr(starter, "_running", busy)
    pid, pipe = starter.start(_nothing, {})
    pipe.close()
    assert (pid, busy.closed) == (4711, 0)
    busy.failures = 100
    with pytest.raises(RunError, match="no process can be started"):
        starter.start(_nothing, {})
    assert (busy.failures, busy.closed) == (97, 0)


def _nothing(pipe: object) -> None: ...


def _note(place: Path) -> None:
    with place.open("a") as file:
        file.write("warm\n")


def _state(item: int, progress) -> tuple[bool, str, int, float]:
    program = program_of_worker()
    assert program is not None
    draw = float(np.random.random())  # noqa: NPY002 - what a method may use
    return "PLACE" in os.environ, os.environ.get("PLACE", ""), program.pid, draw


@linux
def test_a_warm_up_serves_all_workers_of_all_calls(tmp_path: Path) -> None:
    places = ({"PLACE": "one"}, {"PLACE": "two"})
    executor = LocalExecutor(places=places, warm_up=partial(_note, tmp_path / "warm"))
    found = [*_run(executor, _state, range(4), _own).values()]
    found += _run(executor, _state, range(2), _own).values()
    assert (tmp_path / "warm").read_text() == "warm\n"
    assert {where for _, where, _, _ in found} == {"one", "two"}
    assert {program for _, _, program, _ in found} == {os.getpid()}
    # Forked processes would share the state of numpy's global generator.
    assert len({draw for *_, draw in found}) == len(found)
    assert program_of_worker() is None


@linux
def test_a_warm_up_that_fails_changes_nothing() -> None:
    assert _run(
        LocalExecutor(1, isolated=True, warm_up=_value_error), _die_at_three, [1], None
    ) == {1: 1}


def _value_error() -> None:
    raise ValueError


@pytest.mark.parametrize("in_use", [False, True])
def test_a_process_that_uses_a_gpu_is_not_forked(monkeypatch, in_use: bool) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: in_use)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(sys, "platform", "linux")
    assert start_method() == ("spawn" if in_use else "fork")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert start_method() == "spawn"


def _leave_a_daemon(place: Path, item: int, progress) -> int:
    """Start a process that has a session of its own and whose parent is gone at once."""
    if os.fork() == 0:
        os.setsid()
        daemon = os.fork()
        if daemon:
            (place / f"{item}").write_text(str(daemon))
            os._exit(0)
        time.sleep(600)
    ends = time.monotonic() + 60
    while not (place / f"{item}").exists() and time.monotonic() < ends:
        time.sleep(0.02)
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@linux
def test_processes_that_a_worker_started_end_with_it_whatever_their_session(tmp_path: Path) -> None:
    executor = LocalExecutor(1, isolated=True)
    found = _run(executor, partial(_leave_a_daemon, tmp_path), [1, 2], _own)
    assert found[1] == 1
    assert isinstance(found[2], Died)
    for item in (1, 2):
        assert not psutil.pid_exists(int((tmp_path / str(item)).read_text()))


def _kill_the_server(item: int, progress) -> int:
    if item == 2:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return item


@linux
def test_a_killed_server_takes_its_workers_along_and_starts_anew() -> None:
    start = time.monotonic()
    found = _run(LocalExecutor(1, isolated=True), _kill_the_server, [1, 2, 3], _own)
    assert isinstance(found[2], Died)
    assert (found[1], found[3]) == (1, 3)
    assert time.monotonic() - start < 120


def test_an_executor_that_is_gone_leaves_no_process() -> None:
    before = psutil.Process().children(recursive=True)
    executor = LocalExecutor(1, isolated=True)
    assert _run(executor, _die_at_three, [1], None) == {1: 1}
    del executor
    left = [one for one in psutil.Process().children(recursive=True) if one not in before]
    assert [one for one in left if "resource_tracker" not in " ".join(one.cmdline())] == []


@linux
def test_a_server_warms_up_while_its_program_goes_on(tmp_path: Path) -> None:
    begun = WorkerServer()
    begun.begin(partial(_note, tmp_path / "early"))
    executor = LocalExecutor(2, warm_up=partial(_note, tmp_path / "late"), server=begun)
    assert _run(executor, _die_at_three, [1, 2], _own) == {1: 1, 2: 2}
    beside = executor.beside(1)
    assert _run(beside, _die_at_three, [4], _own) == {4: 4}
    assert {place.name: place.read_text() for place in tmp_path.iterdir()} == {
        "early": "warm\n",
        "late": "warm\n",
    }


def _wait(place: Path) -> None:
    try:
        place.write_text("waits")
        time.sleep(600)
    finally:
        place.write_text("left")


@linux
def test_a_server_that_warms_up_leaves_when_it_is_not_needed(tmp_path: Path) -> None:
    begun, place = WorkerServer(), tmp_path / "warm"
    begun.begin(partial(_wait, place))
    while not place.exists():
        time.sleep(0.01)
    begun.close()
    assert place.read_text() == "left"
