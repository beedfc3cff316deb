"""The local executor keeps going when a process dies."""

from __future__ import annotations

import os
import signal

import pytest
from rich.console import Console

from harmbench.executors import Died, LocalExecutor
from harmbench.progress import Display, Remaining


def _double(item: int, progress) -> int:
    progress("double", 1, 1, value=float(item))
    return 2 * item


def _die_at_three(item: int, progress) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def _threads(item: int, progress) -> str:
    return os.environ["OMP_NUM_THREADS"]


def _quietly(item: int, progress) -> str:
    return str(item)


def _run(work, items, jobs):
    console = Console(quiet=True)
    with Display("test", len(items), console) as display:
        return dict(LocalExecutor(jobs).run(work, items, display))


def test_results_come_back_with_their_items() -> None:
    expected = {i: 2 * i for i in range(5)}
    assert _run(_double, range(5), 1) == expected
    assert _run(_double, range(5), 2) == expected


def test_a_killed_process_costs_its_own_item_only() -> None:
    results = _run(_die_at_three, range(6), 2)
    assert sorted(results) == list(range(6))
    assert isinstance(results[3], Died)
    assert "killed" in results[3].reason
    assert all(results[i] == i for i in range(6) if i != 3)


class _Noted(Remaining):
    """Knows no time left; notes what begins and ends."""

    def __init__(self) -> None:
        super().__init__({})
        self.events: list[str] = []

    def begin(self, piece: str) -> None:
        self.events.append(f"begin {piece}")

    def finish(self, piece: str) -> None:
        self.events.append(f"finish {piece}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_item_that_reports_nothing_has_begun_all_the_same(jobs: int) -> None:
    noted = _Noted()
    with Display("test", 2, Console(quiet=True), left=noted) as display:
        dict(LocalExecutor(jobs).run(_quietly, [0, 1], display))
    for piece in (0, 1):
        assert noted.events.index(f"begin {piece}") < noted.events.index(f"finish {piece}")
    assert len(noted.events) == 4


def test_processes_share_the_cores() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    share = _run(_threads, [0], 2)[0]
    assert share == str(max(1, (os.cpu_count() or 1) // 2))
    assert os.environ.get("OMP_NUM_THREADS") == before
