"""Progress bars: one for the whole, one line for each piece of work in flight."""

from __future__ import annotations

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


class Display:
    """A live view of long work on a terminal; elsewhere, one line for each finished piece.

    Args:
        title: name of the whole, such as `cells`.
        total: number of pieces.
        console: where to draw; standard error by default, so that output can be piped.
    """

    def __init__(self, title: str, total: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
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
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def update(self, piece: str, stage: str, done: int, total: int, **values: float) -> None:
        """Show how far a piece of work is."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        known = self._pieces.get(piece)
        if known is None or known[1] != stage:
            if known is not None:
                self._bars.remove_task(known[0])
            bar = self._bars.add_task(f"  {piece}: {stage}", total=total, values=text)
            self._pieces[piece] = (bar, stage)
        self._bars.update(self._pieces[piece][0], completed=done, total=total, values=text)

    def finish(self, piece: str, line: str = "") -> None:
        """Count a piece as done and print `line`."""
        known = self._pieces.pop(piece, None)
        if known is not None:
            self._bars.remove_task(known[0])
        self._bars.advance(self._whole)
        if line:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Show progress of work that has no pieces."""
        self._bars.update(self._whole, description=stage, completed=done, total=total, values="")
