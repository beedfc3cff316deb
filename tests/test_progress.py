"""What progress looks like where nothing can be drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harmbench import progress
from harmbench.progress import Display


def _lines(log: io.StringIO) -> list[str]:
    return log.getvalue().splitlines()


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    return clock


def test_a_log_gets_a_line_a_minute_for_each_piece(clock: _Clock) -> None:
    log = io.StringIO()
    with Display("cells", 1, Console(file=log, width=200)) as display:
        for step in range(0, 401, 10):
            clock.now = step / 2
            display.update("dm fold 0", "train", step, 400, loss=0.25)
        display.finish("dm fold 0", "dm fold 0: ok")
    assert _lines(log) == [
        "dm fold 0: train 120/400  0:02:20 left  loss 0.25",
        "dm fold 0: train 240/400  0:01:20 left  loss 0.25",
        "dm fold 0: train 360/400  0:00:20 left  loss 0.25",
        "dm fold 0: ok",
    ]


def test_a_new_stage_starts_its_own_estimate(clock: _Clock) -> None:
    log = io.StringIO()
    with Display("report", 1, Console(file=log, width=200)) as display:
        display("validate", 0, 8)
        clock.now = 100
        display("sample", 4, 8)
        clock.now = 170
        display("sample", 6, 8)
        display("sample", 8, 8)
    assert _lines(log) == ["sample 6/8  0:01:10 left"]


def test_a_terminal_draws_instead() -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    with Display("cells", 2, terminal, interval_s=0) as display:
        for step in range(4):
            display.update("one", "train", step, 4, loss=0.5)
        display.finish("one", "one: ok")
    drawn = screen.getvalue()
    assert "one: ok" in drawn
    assert "one: train" in drawn
    assert "train 2/4" not in drawn
