"""Progress: live bars on a terminal, and now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from typing_extensions import Self

__all__ = ["Display", "Remaining"]


_INTERVAL_S = 60.0
_MOST_OFF = 3.0


class Remaining:
    """How long a whole run still takes, from what its pieces were expected to take.

    Expectations are corrected by how long finished pieces really took, by a factor of at most 3.

    Args:
        expected: seconds by piece; pieces that are not in it are not counted.
        jobs: pieces that are worked on at the same time.
        beyond_s: seconds of what comes after these pieces.
        clock: seconds from any time on.
    """

    def __init__(
        self,
        expected: Mapping[str, float],
        jobs: int = 1,
        beyond_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected_s = dict(expected)  # of pieces that are not done
        self._begun_s: dict[str, float] = {}
        self._jobs, self._beyond_s, self._clock = jobs, beyond_s, clock
        self._took_s = self._should_s = 0.0  # finished pieces
        self._last = clock()

    def begin(self, piece: str) -> None:
        """Note that a piece is worked on; one that is known to be is left alone."""
        self._begun_s.setdefault(piece, self._clock())

    def finish(self, piece: str) -> None:
        """Note that a piece is done."""
        now = self._clock()
        begun = self._begun_s.pop(piece, self._last)
        self._last = now
        if piece in self._expected_s:
            self._should_s += self._expected_s.pop(piece)
            self._took_s += now - begun

    def seconds(self) -> float:
        """Return the seconds that are left."""
        rate = self._took_s / self._should_s if self._should_s else 1.0
        rate = min(_MOST_OFF, max(1 / _MOST_OFF, rate))
        now = self._clock()
        left = [
            max(0.0, rate * expected - (now - self._begun_s.get(piece, now)))
            for piece, expected in self._expected_s.items()
        ]
        together = max(1, min(self._jobs, len(left)))
        return max(sum(left) / together, *left, 0.0) + self._beyond_s


@dataclass(slots=True)
class _Stage:
    """What a piece of work that is not drawn is doing, and when that was last printed."""

    name: str
    first: int
    started_s: float
    printed_s: float


class Display:
    """A live view of long work on a terminal.

    Elsewhere (a log file, a batch system) each finished piece is a line, and so is, once a minute,
    where a piece in flight stands.

    Args:
        title: name of the whole, such as `cells`.
        total: number of pieces.
        console: where to draw; standard error by default, so that output can be piped.
        interval_s: seconds between two lines about one piece where nothing is drawn.
        left: knows the time left for the whole, which is shown.
    """

    def __init__(
        self,
        title: str,
        total: int,
        console: Console | None = None,
        interval_s: float = _INTERVAL_S,
        left: Remaining | None = None,
    ) -> None:
        self._left = left
        self.console = console or Console(stderr=True)
        self._interval_s = interval_s
        self._stages: dict[str, _Stage] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
            console=self.console,
            transient=True,
        )
        self._whole = self._bars.add_task(title, total=total, values="")
        self._pieces: dict[str, tuple[TaskID, str]] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Bars that were never drawn would end with an empty line.
        if self.console.is_terminal:
            self._bars.stop()

    def begin(self, piece: str) -> None:
        """Note that a piece is worked on, from which its time counts; again is nothing new."""
        if self._left is not None:
            self._left.begin(piece)

    def update(self, piece: str, stage: str, done: int, total: int, **values: float) -> None:
        """Show how far a piece of work is."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if not self.console.is_terminal:
            self._print_now_and_then(piece, stage, done, total, text)
            return
        known = self._pieces.get(piece)
        if known is None or known[1] != stage:
            if known is not None:
                self._bars.remove_task(known[0])
            bar = self._bars.add_task(f"  {piece}: {stage}", total=total, values=text)
            self._pieces[piece] = (bar, stage)
        self._bars.update(self._pieces[piece][0], completed=done, total=total, values=text)
        self._bars.update(self._whole, values=self._run_left())

    def finish(self, piece: str, line: str = "") -> None:
        """Count a piece as done and print `line`."""
        self._stages.pop(piece, None)
        known = self._pieces.pop(piece, None)
        if known is not None:
            self._bars.remove_task(known[0])
        if self._left is not None:
            self._left.finish(piece)
        self._bars.update(self._whole, advance=1, values=self._run_left())
        if line:
            self._print("  ".join(part for part in (line, self._run_left()) if part))

    def _run_left(self) -> str:
        if self._left is None:
            return ""
        return f"run: about {timedelta(seconds=round(self._left.seconds()))} left"

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _print_now_and_then(self, piece: str, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        known = self._stages.get(piece)
        if known is None or known.name != stage:
            self._stages[piece] = _Stage(stage, done, now, now)
            return
        if now - known.printed_s < self._interval_s or not known.first < done < total:
            return
        known.printed_s = now
        left = round((now - known.started_s) * (total - done) / (done - known.first))
        parts = (
            f"{stage} {done}/{total}",
            f"{timedelta(seconds=left)} left",
            text,
            self._run_left(),
        )
        line = "  ".join(part for part in parts if part)
        self._print(f"{piece}: {line}" if piece else line)

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Show progress of work that has no pieces."""
        if not self.console.is_terminal:
            self._print_now_and_then("", stage, done, total, "")
            return
        self._bars.update(self._whole, description=stage, completed=done, total=total, values="")
