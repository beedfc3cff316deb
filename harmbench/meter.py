"""Wall time and peak memory of a stage."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psutil
from typing_extensions import Self

__all__ = ["Meter"]

_INTERVAL_S = 0.05


class Meter:
    """Measure a `with` block: wall time, and the peak resident memory of this process tree.

    Memory is sampled 20 times a second, so a shorter peak can be missed.

    Attributes:
        wall_s: seconds that the block took.
        peak_memory_mb: highest resident set size of the process and its children, in MiB.
    """

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.peak_memory_mb = 0.0
        self._process = psutil.Process()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall_s = time.perf_counter() - self._start
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_memory_mb = max(self.peak_memory_mb, self._resident_mb())
            if self._end.wait(_INTERVAL_S):
                return

    def _resident_mb(self) -> float:
        total = self._process.memory_info().rss
        for child in self._process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return float(total) / 2**20
