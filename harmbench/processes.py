"""Worker processes: pools, their share of the machine's threads, their progress, and their end."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final, NamedTuple, Protocol

from harmbench.external.programs import end_programs

__all__ = [
    "QueuedProgress",
    "Report",
    "adopt_orphans",
    "die_with",
    "end_with_parent",
    "shared_threads",
    "worker_pool",
]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)

# Of Linux's prctl.
_DEATH_SIGNAL: Final = 1
_ADOPT_ORPHANS: Final = 36

# A method's code has another `os._exit` while it runs (`harmbench.guard`).
_leave = os._exit


class Report(NamedTuple):
    """One call of a progress reporter (see `harmbench.task.Progress`)."""

    stage: str
    done: int
    total: int
    values: Mapping[str, float]


class _Sink(Protocol):
    """The sending end of a queue between processes."""

    def put(self, item: tuple[str, Report], /) -> object: ...


@dataclass(frozen=True, slots=True)
class QueuedProgress:
    """A progress reporter that sends each report to another process.

    Attributes:
        queue: gets (label, report).
        label: names the work that is reported on.
    """

    queue: _Sink
    label: str

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Put the report into the queue."""
        self.queue.put((self.label, Report(stage, done, total, values)))


@contextmanager
def worker_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of new processes, each of which ends when this process ends.

    Processes are spawned: forking a process that has threads can hang. When the block raises, work
    that is running is terminated; otherwise the block's end waits for it.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=end_with_parent,
    )
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """Make this worker end, with the programs it runs, on SIGTERM or when its parent has ended."""
    parent = multiprocessing.parent_process()

    def end(_signal: int = 0, _frame: FrameType | None = None) -> None:
        end_programs()
        _leave(1)

    def watch() -> None:
        if parent is not None:
            parent.join()
            end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=watch, daemon=True).start()


def die_with(parent: int) -> None:
    """Let the system kill this process when its parent has ended, whatever it is doing; Linux only.

    Args:
        parent: its process id; where it has ended already, this process ends at once.
    """
    if _prctl(_DEATH_SIGNAL, signal.SIGKILL) and os.getppid() != parent:
        _leave(1)


def adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parent ends; Linux only."""
    _prctl(_ADOPT_ORPHANS, 1)


def _prctl(option: int, value: int) -> bool:
    return sys.platform == "linux" and bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


@contextmanager
def shared_threads(jobs: int) -> Iterator[None]:
    """Divide the machine's cores among `jobs` processes that are started inside the block."""
    share = str(max(1, (os.cpu_count() or 1) // jobs))
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, share))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
