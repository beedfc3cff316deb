"""Threads that share a volume's planes.

numba's own threads are not used. They spin while they wait, which on a busy machine costs more than the
work; they cannot be forked; and without OpenMP two concurrent callers end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Condition
from types import TracebackType
from typing import Any

import numba
from typing_extensions import Self

__all__ = ["Workers"]

_CHUNKS_PER_WORKER = 4


class Workers:
    """Threads for functions that release the global interpreter lock; a context manager.

    Args:
        threads: number of threads; `None` takes NUMBA_NUM_THREADS, or the number of processors.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads: int = threads or numba.config.NUMBA_NUM_THREADS
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._pool is not None:
            self._stack.enter_context(self._pool)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(
        self,
        function: Callable[..., None],
        ranges: Sequence[tuple[int, int]],
        arguments: Sequence[Any],
    ) -> None:
        """Call `function(start, stop, *arguments)` for each range and wait for all."""
        if self._pool is None or len(ranges) < 2:
            for start, stop in ranges:
                function(start, stop, *arguments)
            return
        waiting = [self._pool.submit(function, *bounds, *arguments) for bounds in ranges]
        for future in waiting:
            future.result()

    def over_planes(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call `function(start, stop, *arguments)` for ranges that make up all planes.

        The number of planes is the third axis from the end of the first argument.
        """
        planes = arguments[0].shape[-3]
        length = -(-planes // (self.threads * _CHUNKS_PER_WORKER))
        ranges = [(start, min(start + length, planes)) for start in range(0, planes, length)]
        self.run(function, ranges, arguments)

    def pipeline(
        self, work: Callable[[int, int], None], stages: int, blocks: int, ahead: int
    ) -> None:
        """Call `work(stage, block)` for all stages and blocks and wait for all.

        Each stage takes the blocks in order, a block after the stage before it has done it. The first
        stage is at most `ahead` blocks further than the last.
        """
        steps = _Steps(work, stages, blocks, ahead)
        if self._pool is None:
            steps.run()
            return
        for future in [self._pool.submit(steps.run) for _ in range(self.threads)]:
            future.result()


class _Steps:
    """The state of a pipeline, shared by its threads."""

    def __init__(
        self, work: Callable[[int, int], None], stages: int, blocks: int, ahead: int
    ) -> None:
        self.work, self.blocks, self.ahead = work, blocks, ahead
        self.done = [0] * stages
        self.busy = [False] * stages
        self.failed = False
        self.changed = Condition()

    def run(self) -> None:
        """Work on whatever is ready until nothing is left, or a step of another thread fails."""
        while (stage := self._take()) is not None:
            try:
                self.work(stage, self.done[stage])
            except BaseException:
                self.failed = True
                raise
            finally:
                with self.changed:
                    self.busy[stage] = False
                    self.done[stage] += 1
                    self.changed.notify_all()

    def _take(self) -> int | None:
        """Wait for a stage that is ready and return it; None where there is nothing left to take."""
        with self.changed:
            while not self.failed:
                open_stages = [s for s, n in enumerate(self.done) if n + self.busy[s] < self.blocks]
                if not open_stages:
                    return None
                for stage in reversed(open_stages):
                    if not self.busy[stage] and self._is_ready(stage):
                        self.busy[stage] = True
                        return stage
                self.changed.wait()
            return None

    def _is_ready(self, stage: int) -> bool:
        if stage > 0:
            return self.done[stage - 1] > self.done[stage]
        return self.done[0] - self.done[-1] <= self.ahead
