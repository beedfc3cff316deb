import mmap
import sys
from types import SimpleNamespace

import numpy as np

from harmbench.meter import Meter


def test_time_and_memory_of_a_block_are_measured():
    with Meter() as before:
        pass
    with Meter() as meter:
        # Fresh pages: an allocator may hand out memory that is resident already.
        held = mmap.mmap(-1, 40 * 2**20)
        np.frombuffer(held, dtype=np.uint8)[:] = 1
        # Memory is sampled 20 times a second: long enough for some samples.
        meter._end.wait(0.3)
    assert len(held) == 40 * 2**20
    assert meter.wall_s >= 0.29
    assert meter.peak_memory_mib > before.peak_memory_mib + 30


def test_gpu_memory_is_measured_where_torch_uses_a_gpu(monkeypatch):
    memory = {"peak": 7 * 2**30}
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        reset_peak_memory_stats=lambda: memory.update(peak=0),
        max_memory_allocated=lambda: memory["peak"],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with Meter() as meter:
        memory["peak"] += 3 * 2**20
    assert meter.peak_device_memory_mib == 3
    cuda.is_initialized = lambda: False
    with Meter() as meter:
        pass
    assert meter.peak_device_memory_mib is None
