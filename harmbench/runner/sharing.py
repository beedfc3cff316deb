"""How several runs share the cells of one folder: each cell is worked on by one process at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harmbench.errors import LockError, describe
from harmbench.holders import SILENT_S, Holder, Watch
from harmbench.locks import Lock, LockLostError, free
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.leftovers import sweep_held
from harmbench.task import Progress

__all__ = ["SILENCE_S", "Held", "Work", "alone", "wait_for_any"]

SILENCE_S: Final = 1.1 * SILENT_S
"""Seconds in which it shows whether the process that holds a cell lives, on whatever machine."""

Work = Callable[[RunContext, Cell, Progress], CellRecord]
"""What is done with a cell."""

_LOOK_S = 5.0
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """What stands for the result of a cell that another run works on.

    Attributes:
        by: which process.
    """

    by: str


def alone(
    work: Work,
    context: RunContext,
    cell: Cell,
    progress: Progress,
    *,
    dead: str | None = None,
    wait_s: float = 0.0,
) -> CellRecord | Held:
    """Work on a cell while no other process does.

    What a killed process left half-written in the cell's folder is removed first.

    Args:
        work: what is done.
        context: what the cells share.
        cell: which one.
        progress: called with progress.
        dead: id of an invocation whose process on this cell is known to have ended.
        wait_s: seconds to wait for a process that may have ended, until it gives a sign of life.

    Returns:
        What `work` returns, or which process has the cell.
    """
    folder = context.folder.cell(cell)
    folder.root.mkdir(parents=True, exist_ok=True)
    watch = Watch()
    lock = Lock(folder.lock, context.invocation, watch)
    try:
        holder = _take(lock, watch, dead, wait_s)
    except LockError as error:
        return Held(str(error))
    if holder is not None:
        return Held(str(holder))
    with lock:
        sweep_held(folder.root)
        try:
            held = replace(context, check_held=lock.check)
            return work(held, cell, _Guarded(progress, lock))
        except LockLostError:
            return Held("a process that took it over, since this one was silent")


def _take(lock: Lock, watch: Watch, dead: str | None, wait_s: float) -> Holder | None:
    """Take a lock, waiting while nobody knows whether its owner lives; returns what `Lock.take` does."""
    end = time.monotonic() + wait_s
    while (holder := lock.take(dead=dead)) is not None:
        if watch.is_lively(lock.path, holder) or time.monotonic() >= end:
            break
        time.sleep(_POLL_S)
    return holder


class _Guarded:
    """A progress reporter that ends the work where another process has taken the cell over.

    Args:
        inner: the reporter to pass reports on to.
        lock: of the cell.
    """

    def __init__(self, inner: Progress, lock: Lock) -> None:
        self._inner, self._lock, self._looked_s = inner, lock, 0.0

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Report progress; see `harmbench.task.Progress`.

        Raises:
            LockLostError: the cell is another process's now.
        """
        now = time.monotonic()
        if stage == "subjects" or now - self._looked_s > _LOOK_S:
            self._lock.check()
            self._looked_s = now
        self._inner(stage, done, total, **values)


def wait_for_any(
    context: RunContext, cells: Sequence[Cell], watch: Watch, stuck: dict[Cell, str]
) -> list[Cell]:
    """Wait until some of these cells are no longer held, and return them.

    Args:
        context: what the cells share.
        cells: which are held by other processes.
        watch: what was seen of the holders so far.
        stuck: gets those whose locks cannot be read or removed, and why; nobody waits for them any more.
    """
    while not stuck.keys() >= set(cells):
        found = []
        for cell in cells:
            try:
                if cell not in stuck and free(context.folder.cell(cell).lock, watch):
                    found.append(cell)
            except (LockError, OSError) as error:
                stuck[cell] = describe(error)
        if found:
            return found
        time.sleep(_POLL_S)
    return []
