"""What progress looks like where nothing can be drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harmbench.progress import Display, Remaining


def _lines(log: io.StringIO) -> list[str]:
    return log.getvalue().splitlines()


class _Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr("harmbench.progress.time.monotonic", clock.monotonic)
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


def test_the_time_left_follows_what_pieces_really_take() -> None:
    clock = _Clock()
    left = Remaining({"a": 10, "b": 10, "c": 20}, clock=clock.monotonic)
    assert left.seconds() == 40
    left.begin("a")
    clock.now = 5
    left.begin("a")
    assert left.seconds() == 35
    clock.now = 20  # `a` took twice as long as expected
    left.finish("a")
    assert left.seconds() == 60
    left.finish("unknown")
    assert left.seconds() == 60
    clock.now = 100  # `b` took far longer: the factor is at most 3
    left.finish("b")
    assert left.seconds() == 60
    left.finish("c")
    assert left.seconds() == 0


def test_the_time_left_with_pieces_side_by_side_and_what_comes_after() -> None:
    clock = _Clock()
    left = Remaining(dict.fromkeys("abc", 10.0), jobs=2, beyond_s=7, clock=clock.monotonic)
    assert left.seconds() == 15 + 7
    left.begin("a")
    left.begin("b")
    clock.now = 8
    assert left.seconds() == 10 + 7  # two seconds of `a` and `b`, and all of `c`
    clock.now = 10
    left.finish("a")
    left.begin("c")
    clock.now = 16  # `b` is late
    assert left.seconds() == 4 + 7
