"""Run work on this machine: in this process, or in a pool of processes."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from queue import Queue

from harmbench.executors.base import Died, Item, Result
from harmbench.processes import QueuedProgress, Report, end_with_parent, shared_threads, worker_pool
from harmbench.progress import Display
from harmbench.task import Progress

__all__ = ["LocalExecutor"]

_Messages = Queue[tuple[str, Report] | None]


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
            yield item, work(item, _DisplayedProgress(display, str(item)))

    def _pooled(
        self, work: Callable[[Item, Progress], Result], items: Sequence[Item], display: Display
    ) -> Iterator[tuple[Item, Result | Died]]:
        manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
        manager.start(end_with_parent)
        with manager, shared_threads(self.jobs):
            queue: _Messages = manager.Queue()
            listener = threading.Thread(target=_listen, args=(queue, display), daemon=True)
            listener.start()
            try:
                suspects: list[Item] = []
                yield from self._pool(work, items, queue, suspects)
                # It is not known which of the items in flight broke the pool: each is run once more,
                # alone.
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
        queue: _Messages,
        suspects: list[Item],
    ) -> Iterator[tuple[Item, Result | Died]]:
        waiting = list(items)
        while waiting:
            running: dict[Future[Result], Item] = {}
            broken = False
            # An interrupt ends what is in flight, since nobody waits for it.
            with worker_pool(min(self.jobs, len(waiting))) as pool:
                try:
                    while (waiting and not broken) or running:
                        # No more in flight than processes, so that a broken pool has few suspects.
                        while waiting and not broken and len(running) < self.jobs:
                            item = waiting.pop(0)
                            reporter = QueuedProgress(queue, str(item))
                            running[pool.submit(work, item, reporter)] = item
                        done, _ = wait(running, return_when=FIRST_COMPLETED)
                        for future in done:
                            item = running.pop(future)
                            try:
                                yield item, future.result()
                            except BrokenProcessPool:
                                broken = True
                                suspects.append(item)
                except BrokenProcessPool:
                    # The pool broke between two submissions: the item has not been started.
                    waiting.insert(0, item)
                    suspects.extend(running.values())


def _listen(queue: _Messages, display: Display) -> None:
    while (message := queue.get()) is not None:
        label, report = message
        display.update(label, report.stage, report.done, report.total, **report.values)


@dataclass(frozen=True, slots=True)
class _DisplayedProgress:
    """A progress reporter that draws in this process."""

    display: Display
    label: str

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.display.update(self.label, stage, done, total, **values)
