"""Run work on this machine: in this process, or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from queue import Queue
from typing import Any

from harmbench.executors.base import Died, Item, Result
from harmbench.external.programs import end_programs
from harmbench.progress import Display
from harmbench.task import Progress

__all__ = ["LocalExecutor", "end_with_parent", "shared_threads"]

# A method's code has another `os._exit` while it runs (`harmbench.guard`).
_leave = os._exit

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


class LocalExecutor:
    """Run a function over items, `jobs` at a time.

    With one job everything runs in this process. With more, each runs in a process of its own pool;
    the machine's threads are shared out among them. A process that is killed costs its own item
    only: what ran beside it is run again, alone. It is an `Executor`.

    Args:
        jobs: number of items in flight.
    """

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def run(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        display: Display,
        line: Callable[[Item, Result | Died], str] | None = None,
    ) -> Iterator[tuple[Item, Result | Died]]:
        """Yield each item with its result, as `Executor.run` does; with one job nothing is pickled."""
        source = self._alone(work, items, display) if self.jobs == 1 else None
        for item, result in source or self._pooled(work, items, display):
            display.finish(str(item), line(item, result) if line else "")
            yield item, result

    def _alone(
        self, work: Callable[[Item, Progress], Result], items: Sequence[Item], display: Display
    ) -> Iterator[tuple[Item, Result | Died]]:
        for item in items:
            yield item, work(item, _Shown(display, str(item)))

    def _pooled(
        self, work: Callable[[Item, Progress], Result], items: Sequence[Item], display: Display
    ) -> Iterator[tuple[Item, Result | Died]]:
        manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
        manager.start(end_with_parent)
        with manager, shared_threads(self.jobs):
            queue: Queue[Any] = manager.Queue()
            listener = threading.Thread(target=_listen, args=(queue, display), daemon=True)
            listener.start()
            try:
                suspects: list[Item] = []
                yield from self._pool(work, items, queue, suspects)
                # Which of the items in flight brought its process down is not known: each is
                # tried once more, alone.
                for item in suspects:
                    again: list[Item] = []
                    yield from self._pool(work, [item], queue, again)
                    if again:
                        yield item, Died("its process was killed (out of memory?)")
            finally:
                queue.put(None)
                listener.join()

    def _pool(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        queue: Queue[Any],
        suspects: list[Item],
    ) -> Iterator[tuple[Item, Result | Died]]:
        waiting = list(items)
        others = set(multiprocessing.active_children())
        while waiting:
            running: dict[Future[Result], Item] = {}
            broken = False
            pool = ProcessPoolExecutor(
                min(self.jobs, len(waiting)),
                mp_context=multiprocessing.get_context("spawn"),
                initializer=end_with_parent,
            )
            try:
                while (waiting and not broken) or running:
                    # No more in flight than processes, so that a broken pool accuses few.
                    while waiting and not broken and len(running) < self.jobs:
                        item = waiting.pop(0)
                        running[pool.submit(work, item, _Sent(queue, str(item)))] = item
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        item = running.pop(future)
                        try:
                            yield item, future.result()
                        except BrokenProcessPool:
                            broken = True
                            suspects.append(item)
            except BrokenProcessPool:
                # The pool broke between two submissions: the item went back untouched.
                waiting.insert(0, item)
                suspects.extend(running.values())
            except (KeyboardInterrupt, GeneratorExit):
                # Nobody waits for what is in flight any more; each process ends its programs.
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """Let a worker end with the run that started it, even if that was killed."""
    parent = multiprocessing.parent_process()

    def end(*_: Any) -> None:
        end_programs()
        _leave(1)

    def watch() -> None:
        if parent is not None:
            parent.join()
            end()

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def shared_threads(jobs: int) -> Iterator[None]:
    """Divide the machine's cores among `jobs` processes started inside the block."""
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


def _listen(queue: Queue[Any], display: Display) -> None:
    while (message := queue.get()) is not None:
        piece, stage, done, total, values = message
        display.update(piece, stage, done, total, **values)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A progress reporter that draws in this process."""

    display: Display
    piece: str

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.display.update(self.piece, stage, done, total, **values)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A progress reporter that sends to the process that draws."""

    queue: Queue[Any]
    piece: str

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.queue.put((self.piece, stage, done, total, values))
