"""Batches: which slices come when, and where they are kept."""

from collections import Counter

import numpy as np
import pytest
import torch
from small_network import CPU, stack

from harmbench.errors import ConfigError
from harmbench.settings import validated
from harmbench.training import (
    Batches,
    TrainingSettings,
    batch_order,
)
from harmbench.training import batches as batches_module


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (3, 8), (5, 5)])
def test_every_sample_comes_once_per_epoch(count, batch_size):
    order = batch_order(count, batch_size, seed=0)
    steps = [order(step).tolist() for step in range(count)]
    assert all(len(batch) == batch_size for batch in steps)
    seen = [index for batch in steps for index in batch]
    for first in range(0, len(seen), count):
        assert sorted(seen[first : first + count]) == list(range(count))
    assert set(Counter(seen).values()) == {batch_size}


def test_batches_depend_on_seed_and_step_alone():
    order = batch_order(50, 4, seed=0)
    ahead = order(40)
    np.testing.assert_array_equal(order(0), batch_order(50, 4, seed=0)(0))
    np.testing.assert_array_equal(ahead, batch_order(50, 4, seed=0)(40))
    assert (order(0) != batch_order(50, 4, seed=1)(0)).any()


@pytest.mark.parametrize("place", ["auto", "device", "memory"])
def test_a_batch_holds_the_slices_asked_for(place):
    slices = stack()
    source, target = Batches(slices, CPU, place)(np.array([4, 0]))
    assert source.shape == target.shape == (2, 1, 5, 4)
    np.testing.assert_array_equal(source[:, 0].numpy(), slices.source[[4, 0]])
    np.testing.assert_array_equal(target[:, 0].numpy(), slices.target[[4, 0]])
    signed, _ = Batches(slices, CPU, place, signed=True)(np.array([5]))
    assert float(signed.max()) == 1
    np.testing.assert_allclose(signed[0, 0].numpy(), 2 * slices.source[5] - 1)


def test_slices_go_to_a_gpu_if_half_of_its_free_memory_is_enough(monkeypatch):
    slices, gpu = stack(), torch.device("cuda")
    needed = slices.source.nbytes + slices.target.nbytes
    for free, expected in [(2 * needed, True), (2 * needed - 1, False)]:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10 * needed))
        assert batches_module._fits(slices, gpu) is expected


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size \(4\) must be a multiple of .* \(3\)"):
        validated(TrainingSettings, {"accumulate": 3})
    assert validated(TrainingSettings, {"accumulate": 2, "devices": 2}).batch_size == 4
