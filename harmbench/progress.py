"""Progress: live bars on a terminal, and now and then a line elsewhere."""

from __future__ import annotations

import time
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

__all__ = ["Display"]


_INTERVAL_S = 60.0


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
    """

    def __init__(
        self,
        title: str,
        total: int,
        console: Console | None = None,
        interval_s: float = _INTERVAL_S,
    ) -> None:
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

    def finish(self, piece: str, line: str = "") -> None:
        """Count a piece as done and print `line`."""
        self._stages.pop(piece, None)
        known = self._pieces.pop(piece, None)
        if known is not None:
            self._bars.remove_task(known[0])
        self._bars.advance(self._whole)
        if line:
            self._print(line)

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
        parts = (f"{stage} {done}/{total}", f"{timedelta(seconds=left)} left", text)
        line = "  ".join(part for part in parts if part)
        self._print(f"{piece}: {line}" if piece else line)

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Show progress of work that has no pieces."""
        if not self.console.is_terminal:
            self._print_now_and_then("", stage, done, total, "")
            return
        self._bars.update(self._whole, description=stage, completed=done, total=total, values="")
