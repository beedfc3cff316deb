import mmap
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from harmbench import meter
from harmbench.meter import Meter


def test_time_and_memory_of_a_block_are_measured():
    with Meter() as before:
        pass
    with Meter() as measured:
        # Fresh pages: an allocator may hand out memory that is resident already.
        held = mmap.mmap(-1, 40 * 2**20)
        np.frombuffer(held, dtype=np.uint8)[:] = 1
        # Memory is sampled 20 times a second: long enough for some samples.
        measured._end.wait(0.3)
    assert len(held) == 40 * 2**20
    assert measured.wall_s >= 0.29
    assert measured.peak_memory_mib > before.peak_memory_mib + 30


@pytest.mark.parametrize("listed", [True, False])
def test_the_memory_of_processes_below_counts(monkeypatch, listed):
    if listed and not meter._LISTED:
        pytest.skip("this system does not list the children of a process")
    monkeypatch.setattr(meter, "_LISTED", listed)
    hold = "held = bytearray(60 * 2**20); print('ready', flush=True); input()"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as below:
        assert below.stdout.readline() == b"ready\n"
        with Meter() as found:
            pass
        below.communicate(b"\n")
    with Meter() as after:
        pass
    assert found.peak_memory_mib > after.peak_memory_mib + 55


def test_gpu_memory_is_measured_where_torch_uses_a_gpu(monkeypatch):
    memory = {"peak": 7 * 2**30}
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        reset_peak_memory_stats=lambda: memory.update(peak=0),
        max_memory_allocated=lambda: memory["peak"],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with Meter() as measured:
        memory["peak"] += 3 * 2**20
    assert measured.peak_device_memory_mib == 3
    cuda.is_initialized = lambda: False
    with Meter() as measured:
        pass
    assert measured.peak_device_memory_mib is None
