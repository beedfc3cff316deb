"""Cells that several processes want: what one does that has lost its cell to another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harmbench.config import load_experiment
from harmbench.executors import LocalExecutor
from harmbench.holders import Watch
from harmbench.owners import Owner
from harmbench.runner.cell import rescore_cell, run_cell
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.grid import run_cells
from harmbench.runner.opening import open_run
from harmbench.runner.sharing import Held, Work, alone
from harmbench.task import Direction, NoProgress

pytestmark = pytest.mark.usefixtures("thresholds")

METHOD = '''
from pydantic import Field

from harmbench.method import Method, Settings


class TellingSettings(Settings):
    swallow: bool = Field(False)


class Telling(Method):
    """Reports progress while it is fitted; may swallow what that raises."""

    Config = TellingSettings

    def fit(self, pairs, task):
        task.progress("epoch", 0, 1)
        try:
            task.progress("subjects", 1, 1)
        except Exception:
            if not self.config.swallow:
                raise

    def harmonize(self, source, task):
        return source
'''

CELL = Cell("telling", Direction("A", "B"), 0, 0)
ELSEWHERE = Owner("elsewhere", "machine", "boot", "", 1, "1")


@pytest.fixture
def context(make_manifest: Callable[[int], Path], tmp_path: Path) -> Callable[..., RunContext]:
    """Return a function that opens a run of the method on four subjects in two folds."""
    path = tmp_path / "telling.py"
    path.write_text(METHOD)
    manifest = make_manifest(4)

    def make(*, swallow: bool = False) -> RunContext:
        experiment = load_experiment(
            None,
            ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2"],
            {
                "data.path": manifest,
                "methods": {"telling": {"uses": f"{path}:Telling", "swallow": swallow}},
            },
        )
        return open_run(experiment, tmp_path / "out", "cpu").context

    return make


def hold_elsewhere(folder: CellFolder, purpose: str = "") -> None:
    """Make a lock of a cell that a process of another machine holds."""
    folder.root.mkdir(parents=True, exist_ok=True)
    claim = {**asdict(ELSEWHERE), "token": "theirs", "purpose": purpose}
    folder.lock.write_text(json.dumps(claim))


class _Queue:
    """A queue whose jobs run one after another, here; keeps what they returned."""

    remote = True

    def __init__(self) -> None:
        self.results: list[object] = []

    def run(self, work, items, display, line=None, kin=None):
        for item in items:
            result = work(item, NoProgress())
            self.results.append(result)
            yield item, result


class _Robber:
    """A progress reporter that gives the cell to another process on the first report of a stage."""

    def __init__(self, folder: CellFolder, stage: str) -> None:
        self._folder, self._stage = folder, stage
        self.theirs: dict[str, str] = {}

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        if stage != self._stage or self.theirs:
            return
        hold_elsewhere(self._folder)
        born = {"born_s": 1.0, "parent": 1, "parent_born_s": 1.0, "isolated": False}
        place = {"began_s": 1.0, "now_s": 1.0, "stage": "fit", "done": 1, "total": 9}
        self._folder.progress.write_text(
            json.dumps({"host": "elsewhere", "pid": 1, **born, **place})
        )
        self._folder.record.write_text("their record")
        self._folder.scores.write_text("their rows")
        self.theirs = self.now()

    def now(self) -> dict[str, str]:
        """Return the texts of all that the other process wrote."""
        own = self._folder
        paths = (own.lock, own.progress, own.record, own.scores)
        return {path.name: path.read_text() for path in paths if path.exists()}


@pytest.mark.parametrize("swallow", [False, True])
def test_a_process_that_lost_its_cell_in_a_fit_writes_nothing_more(
    context: Callable[..., RunContext], swallow: bool
) -> None:
    run = context(swallow=swallow)
    folder = run.folder.cell(CELL)
    robber = _Robber(folder, "epoch")
    assert isinstance(alone(run_cell, run, CELL, robber), Held)
    assert len(robber.theirs) == 4
    assert robber.now() == robber.theirs
    assert not folder.model.exists()


@pytest.mark.parametrize("work", [run_cell, rescore_cell])
def test_a_process_that_lost_its_cell_between_subjects_writes_nothing_more(
    context: Callable[..., RunContext], work: Work
) -> None:
    run = context()
    assert not isinstance(alone(run_cell, run, CELL, NoProgress()), Held)
    robber = _Robber(run.folder.cell(CELL), "subjects")
    assert isinstance(alone(work, run, CELL, robber), Held)
    assert robber.now() == robber.theirs


def test_a_job_that_is_queued_again_takes_its_cell_over_from_a_machine_that_is_away(
    context: Callable[..., RunContext],
) -> None:
    run = replace(context(), invocation="this one")
    hold_elsewhere(run.folder.cell(CELL), "this one")
    queue = _Queue()
    began_s = time.monotonic()
    assert run_cells(run, [CELL], lambda _: None, queue) == ({}, {})
    assert time.monotonic() - began_s < 60  # it would be 300 s, and another place in the queue
    assert len(queue.results) == 1


@pytest.mark.parametrize("lives", [False, True])
def test_a_job_waits_until_it_is_known_whether_the_process_of_another_run_lives(
    context: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    run = replace(context(), invocation="this one")
    folder = run.folder.cell(CELL)
    hold_elsewhere(folder, "an earlier one")
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if lives and len(looks) == 3:
            (folder.root / "lock-theirs.beat").write_text("1")

    monkeypatch.setattr("harmbench.runner.sharing.time.sleep", pause)
    monkeypatch.setattr(
        "harmbench.runner.sharing.Watch", lambda: Watch(clock=lambda: 40.0 * len(looks))
    )
    end = alone(run_cell, run, CELL, NoProgress(), dead="this one", wait_s=60.0)
    assert isinstance(end, Held) == lives
    assert len(looks) == (3 if lives else 8)


def test_a_lock_that_stays_unreadable_fails_its_cell_alone(
    context: Callable[..., RunContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = context(), replace(CELL, fold=1)
    lock = run.folder.cell(CELL).lock
    lock.mkdir(parents=True)
    run.folder.record.write_text("{}")
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += 100.0

    monkeypatch.setattr("harmbench.runner.sharing.time.sleep", pause)
    monkeypatch.setattr("harmbench.runner.grid.Watch", lambda: Watch(clock=lambda: now[0]))
    said: list[str] = []
    failed, incomplete = run_cells(run, [CELL, other], said.append, LocalExecutor())
    assert list(failed) == [str(CELL)]
    assert str(lock) in failed[str(CELL)]
    assert "remove it where no run works" in failed[str(CELL)]
    assert incomplete == {}
    assert f"failed: {CELL}: {failed[str(CELL)]}" in said
    assert run.folder.cell(other).read_record() is not None
    assert run.folder.cell(CELL).read_record() is None, "its owner may write there"


def test_a_damaged_lock_costs_its_cell_a_minute(
    context: Callable[..., RunContext],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run, now = context(), [0.0]
    lock = run.folder.cell(CELL).lock
    lock.parent.mkdir(parents=True)
    lock.write_text("{")
    run.folder.record.write_text("{}")

    def pause(seconds: float) -> None:
        now[0] += 20.0

    monkeypatch.setattr("harmbench.runner.sharing.time.sleep", pause)
    monkeypatch.setattr("harmbench.runner.grid.Watch", lambda: Watch(clock=lambda: now[0]))
    assert run_cells(run, [CELL], lambda _: None, LocalExecutor()) == ({}, {})
    assert now[0] == 60.0
    assert str(lock) in caplog.text
    assert not lock.exists()
