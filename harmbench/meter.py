"""Wall time and peak memory of a stage, in main memory and on the GPU."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from typing_extensions import Self

__all__ = ["Meter"]

_INTERVAL_S = 0.05
_LISTED = Path(f"/proc/self/task/{os.getpid()}/children").exists()
"""Whether the system lists the children of a process."""


class Meter:
    """Measure a `with` block: wall time, and the peak resident memory of this process tree.

    Memory is sampled 20 times a second, so a shorter peak can be missed.

    Attributes:
        wall_s: seconds that the block took.
        peak_memory_mib: highest resident set size of the process and its children, in MiB.
        peak_device_memory_mib: peak GPU memory of this process's tensors, in MiB;
            `None` where torch has not used a GPU in this process.
    """

    def __init__(self) -> None:
        self.wall_s = 0.0
        self.peak_memory_mib = 0.0
        self.peak_device_memory_mib: float | None = None
        self._process = psutil.Process()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if (cuda := _used_cuda()) is not None:
            cuda.reset_peak_memory_stats()
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
        if (cuda := _used_cuda()) is not None:
            self.peak_device_memory_mib = cuda.max_memory_allocated() / 2**20

    def _watch(self) -> None:
        while True:
            self.peak_memory_mib = max(self.peak_memory_mib, self._resident_mib())
            if self._end.wait(_INTERVAL_S):
                return

    def _resident_mib(self) -> float:
        total = 0
        for process in (self._process, *_below(self._process)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return float(total) / 2**20


def _below(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes below one.

    Linux lists them. Elsewhere every process of the machine is asked for its parent, which takes
    milliseconds.
    """
    if not _LISTED:
        found: list[psutil.Process] = process.children(recursive=True)
        return found
    waiting, found = [process.pid], []
    while waiting:
        for pid in _children(waiting.pop()):
            waiting.append(pid)
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def _children(pid: int) -> list[int]:
    """Return the ids of a process's own children; none where it has ended."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):  # of each thread
        with suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


def _used_cuda() -> Any:
    """`torch.cuda` where this process has begun to use a GPU; importing torch here would be slow."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None
