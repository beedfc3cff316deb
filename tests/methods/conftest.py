"""What the tests of the learned methods share: a small simulated pair, tasks, trained methods.

`fitted` trains the `METHOD` of the module that asks for it, with the module's `TINY` settings.
`make_pair` makes volumes of the module's `SHAPE`, if it has one.
"""

import math

import numpy as np
import pytest
import torch

from harmbench.task import Direction, Pair, Task
from harmbench.volume import Volume


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions are fastest on one thread, and busy machines don't slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def task():
    def make(folder=None, seed=0, progress=None):
        extra = {} if progress is None else {"progress": progress}
        return Task(Direction("3T", "1.5T"), folder=folder, seed=seed, **extra)

    return make


@pytest.fixture
def make_pair(request):
    usual = getattr(request.module, "SHAPE", (12, 20, 22))

    def make(shape=usual, shift=(0, 0, 0), subject="a"):
        """An ellipsoid with smooth waves in it, and the same with its contrast inverted."""
        x, y, z = np.meshgrid(*(np.linspace(-1.25, 1.25, n) for n in shape), indexing="ij")
        waves = (np.sin(5 * x) + np.cos(6 * y) + np.sin(4 * z + 2 * x)) / 3
        brain = x**2 + y**2 + z**2 < 1
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = shift
        source = np.where(brain, 0.5 + 0.4 * waves, 0).astype(np.float32)
        target = np.where(brain, 0.5 - 0.4 * waves, 0).astype(np.float32)
        return Pair(subject, "HC", Volume(source, affine), Volume(target, affine))

    return make


@pytest.fixture
def fitted(request, make_pair, task):
    kind, tiny = request.module.METHOD, request.module.TINY

    def fit(folder=None, seed=0, progress=None, pairs=None, **settings):
        method = kind(kind.Config(**(tiny | settings)))
        method.fit(pairs or [make_pair()], task(folder, seed, progress))
        return method

    return fit


@pytest.fixture
def mse():
    def between(one, other):
        return float(np.mean((one.data - other.data) ** 2))

    return between


@pytest.fixture
def weights():
    def saved(method, folder):
        method.save(folder)
        return (folder / "model.safetensors").read_bytes()

    return saved


@pytest.fixture
def kill():
    """A progress reporter that ends the run after some step of a stage."""

    def at(stage, step):
        def report(now, done, total, **values):
            assert all(math.isfinite(value) for value in values.values())
            if now == stage and done >= step:
                raise KeyboardInterrupt

        return report

    return at
