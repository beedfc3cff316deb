"""Run work on this machine: in this process, or in processes of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Generic

from harmbench.executors.base import Died, Item, Result
from harmbench.executors.server import WorkerServer
from harmbench.executors.serving import StartMethod
from harmbench.executors.workers import Begun, Done, Raised, Worker
from harmbench.processes import Report, shared_threads
from harmbench.progress import Display

if TYPE_CHECKING:  # it would bring in scipy and nibabel
    from harmbench.task import Progress

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Run a function over items, `jobs` at a time.

    With one job everything runs in this process, unless it is to be isolated or has a limit of time.
    With more, each item runs in a process of its own or after others of its kin; the machine's threads
    are shared out among them. A process that dies costs its own item only: where others ran beside it,
    it is run once more, alone, since together they may have been too much. It is an `Executor`.

    Args:
        jobs: number of items in flight.
        isolated: whether a single job runs in a process of its own too, so that code that crashes costs
            its item alone.
        limit_s: seconds after which an item is ended, and counts as `Died`.
        warm_up: imports and compiles what items need, once for all processes; it starts no threads
            that outlive it, and uses no GPU.
        places: variables of the environment, for each item in flight those of one place, such as a
            GPU; there are as many jobs as places.
        start: how processes are started; as is safe and fast where `None`.
        server: starts the processes, and may have begun to warm up; a new one where `None`.
    """

    remote = False

    def __init__(
        self,
        jobs: int = 1,
        *,
        isolated: bool = False,
        limit_s: float | None = None,
        warm_up: Callable[[], None] | None = None,
        places: Sequence[Mapping[str, str]] = (),
        start: StartMethod | None = None,
        server: WorkerServer | None = None,
    ) -> None:
        self.jobs = len(places) or jobs
        self._isolated = isolated or bool(places) or jobs > 1 or limit_s is not None
        own = tuple(places) or ({},) * self.jobs
        self._means = _Means(server or WorkerServer(start), own, limit_s, warm_up)

    def beside(self, jobs: int, limit_s: float | None = None) -> LocalExecutor:
        """Return an executor of other processes, which the same server starts: it has imported already.

        Args:
            jobs: number of its items in flight.
            limit_s: seconds after which one is ended.
        """
        means = self._means
        return LocalExecutor(
            jobs, isolated=True, limit_s=limit_s, warm_up=means.warm_up, server=means.server
        )

    def run(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        display: Display,
        line: Callable[[Item, Result | Died], str] | None = None,
        kin: Callable[[Item], object] | None = None,
    ) -> Iterator[tuple[Item, Result | Died]]:
        """Yield each item with its result, as `Executor.run` does; nothing is pickled in this process."""
        source = (
            self._apart(work, items, display, kin or (lambda _: None))
            if self._isolated
            else self._here(work, items, display)
        )
        for item, result in source:
            display.finish(str(item), line(item, result) if line else "")
            yield item, result

    def _here(
        self, work: Callable[[Item, Progress], Result], items: Sequence[Item], display: Display
    ) -> Iterator[tuple[Item, Result | Died]]:
        for item in items:
            display.begin(str(item))
            yield item, work(item, _DisplayedProgress(display, str(item)))

    def _apart(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        display: Display,
        kin: Callable[[Item], object],
    ) -> Iterator[tuple[Item, Result | Died]]:
        with ExitStack() as stack:
            if self.jobs > 1:
                stack.enter_context(shared_threads(self.jobs))
            if items:
                self._means.server.preload(work, self._means.warm_up)
            crew = stack.enter_context(_Crew(self._means, work, display, kin))
            again: list[Item] = []
            for item, result, alone in crew.run(items, self.jobs):
                if isinstance(result, Died) and not alone and not result.late:
                    again.append(item)
                else:
                    yield item, result
            for item, result, _ in crew.run(again, 1):
                yield item, result


@dataclass(frozen=True, slots=True)
class _Means:
    """What an executor's processes are started with.

    Attributes:
        server: starts them.
        places: for each item in flight, variables of its process.
        limit_s: seconds that an item may take.
        warm_up: what the server does once.
    """

    server: WorkerServer
    places: Sequence[Mapping[str, str]]
    limit_s: float | None
    warm_up: Callable[[], None] | None


class _Crew(Generic[Item, Result]):
    """The processes that work on items; leaving the block ends them.

    Args:
        means: what they are started with.
        work: what they do.
        display: shows their progress.
        kin: of an item.
    """

    def __init__(
        self,
        means: _Means,
        work: Callable[[Item, Progress], Result],
        display: Display,
        kin: Callable[[Item], object],
    ) -> None:
        self._means, self._work, self._display, self._kin = means, work, display, kin
        self._busy: dict[Worker, tuple[Item, bool]] = {}
        self._idle: list[Worker] = []

    def __enter__(self) -> _Crew[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [*self._busy, *self._idle]:
            worker.end()

    def run(self, items: Sequence[Item], jobs: int) -> Iterator[tuple[Item, Result | Died, bool]]:
        """Yield each item, its result, and whether nothing ran beside it."""
        waiting = deque(items)
        while waiting or self._busy:
            while waiting and len(self._busy) < jobs:
                self._begin(waiting.popleft())
            for worker in self._due():
                item, alone = self._busy[worker]
                end = self._limit(worker) or worker.receive()
                if isinstance(end, Begun):
                    self._display.begin(str(item))
                    continue
                if isinstance(end, Report):
                    self._display.update(str(item), end.stage, end.done, end.total, **end.values)
                    continue
                del self._busy[worker]
                self._release(worker, usable=isinstance(end, Done) and not end.last)
                if isinstance(end, Raised):
                    raise end.error from _RemoteError(end.trace)
                yield item, end.result if isinstance(end, Done) else end, alone

    def _begin(self, item: Item) -> None:
        kin = self._kin(item)
        fit = [worker for worker in self._idle if worker.kin == kin]
        if fit:
            worker = fit[0]
            self._idle.remove(worker)
        else:
            while self._idle:
                self._idle.pop().end()
            places = self._means.places
            place = min(set(range(len(places))) - {worker.place for worker in self._busy})
            worker = Worker(self._means.server, kin, place, places[place])
        alone = not self._busy
        if not alone:
            self._busy = {other: (own, False) for other, (own, _) in self._busy.items()}
        self._busy[worker] = item, alone
        worker.give(self._work, item)

    def _release(self, worker: Worker, *, usable: bool) -> None:
        if usable:
            self._idle.append(worker)
        else:
            worker.end()

    def _due(self) -> list[Worker]:
        """Wait for processes that have something to say, or that are out of time."""
        timeout = None
        begun = [worker.began_s for worker in self._busy if worker.began_s is not None]
        if self._means.limit_s is not None and begun:
            timeout = max(0.0, min(begun) + self._means.limit_s - time.monotonic())
        signs = {sign: worker for worker in self._busy for sign in worker.signs()}
        ready = {signs[sign] for sign in wait(list(signs), timeout) if isinstance(sign, int)}
        return [one for one in self._busy if one in ready or self._limit(one)]

    def _limit(self, worker: Worker) -> Died | None:
        limit_s, began_s = self._means.limit_s, worker.began_s
        if limit_s is None or began_s is None or time.monotonic() - began_s < limit_s:
            return None
        return Died(f"it took longer than the limit of {limit_s:g} s for a cell", late=True)


class _RemoteError(Exception):
    """The traceback of another process, as text."""


@dataclass(frozen=True, slots=True)
class _DisplayedProgress:
    """A progress reporter that draws in this process."""

    display: Display
    label: str

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        self.display.update(self.label, stage, done, total, **values)
