"""Random numbers and the order of slices, as functions of seed and step.

Every random number of a training step is drawn from a generator that is seeded with the run's seed
and the step (`random_generator`), and so is the order of the slices (`batch_order`). A step is
therefore the same whether or not the run was interrupted before it, and a checkpoint holds no
random state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from harmbench.storage import key_of

__all__ = ["batch_order", "random_generator", "seeded"]


def random_generator(device: torch.device, *seeds: int | str) -> torch.Generator:
    """Return a generator on `device` that depends on all of `seeds` and on nothing else."""
    return torch.Generator(device).manual_seed(int(key_of(*seeds)[:15], 16))


@contextmanager
def seeded(*seeds: int | str) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block (weights are drawn from it) and restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(key_of(*seeds)[:15], 16))
        yield


def batch_order(count: int, batch_size: int, seed: int) -> Callable[[int], NDArray[np.int64]]:
    """Return the function from step (from 0) to the (batch_size,) indices of its samples.

    Steps walk through one shuffled list of all `count` samples after another, so every sample is
    seen equally often.
    """

    @lru_cache(maxsize=2)
    def shuffled(epoch: int) -> NDArray[np.int64]:
        generator = random_generator(torch.device("cpu"), seed, "order", epoch)
        return np.asarray(torch.randperm(count, generator=generator).numpy())

    def indices(step: int) -> NDArray[np.int64]:
        positions = range(step * batch_size, (step + 1) * batch_size)
        return np.array([shuffled(p // count)[p % count] for p in positions])

    return indices
