"""Processes that train together, on a CPU: two of them learn what one does."""

import os
from functools import partial

import numpy as np
import pytest
import torch

from harmbench.discovery import load_method
from harmbench.errors import MethodError, TrainingError
from harmbench.methods._regression.train import train as train_regression
from harmbench.methods.dm import DiffusionSettings
from harmbench.methods.dm.train import train
from harmbench.methods.unet import UNet, UNetSettings
from harmbench.task import Direction, Pair, Task
from harmbench.training import Team, TrainingSettings, together
from harmbench.volume import Volume

TWO = TrainingSettings(devices=2)

LEARNED = {
    "dm": {
        "channels": 4,
        "norm_groups": 2,
        "levels": 2,
        "blocks_per_level": 1,
        "timesteps": 40,
        "sampling_steps": 2,
        "iterations": 6,
        "learning_rate": 1e-3,
        "use_ema": False,
    },
    "unet": {"channels": (4, 8), "norm_groups": 2, "batch_size": 4, "iterations": 6, "warmup": 1},
    "flow": {"channels": (4, 8), "norm_groups": 2, "batch_size": 4, "iterations": 6, "warmup": 1},
    "unet3d": {"channels": (4, 8), "patch": 8, "batch_size": 4, "iterations": 6, "warmup": 1},
    "pgan": {
        "channels": 4,
        "blocks": 1,
        "dropout": 0.0,
        "discriminator_channels": 4,
        "discriminator_layers": 1,
        "perceptual": "random",
        "epochs": 1,
        "decay_epochs": 1,
        "crop": "auto",
    },
}


def task(folder=None, **extra):
    return Task(Direction("3T", "1.5T"), folder=folder, **extra)


def make_pair():
    x, y, z = np.meshgrid(*(np.linspace(-1.25, 1.25, n) for n in (9, 14, 15)), indexing="ij")
    waves = (np.sin(5 * x) + np.cos(6 * y) + np.sin(4 * z + 2 * x)) / 3
    brain = x**2 + y**2 + z**2 < 1
    source, target = (
        Volume(np.where(brain, 0.5 + s * waves, 0).astype(np.float32), np.eye(4))
        for s in (0.4, -0.4)
    )
    return Pair("a", "HC", source, target)


def fitted(name, folder=None, progress=None, **settings):
    kind = load_method(name)
    method = kind(kind.Config(log_every=2, **(LEARNED[name] | settings)))
    extra = {} if progress is None else {"progress": progress}
    method.fit([make_pair()], task(folder, **extra))
    return method


def test_two_processes_learn_what_one_does(tmp_path):
    told = []
    one = fitted("pgan", tmp_path / "one")
    two = fitted("pgan", tmp_path / "two", devices=2, progress=lambda *a, **_: told.append(a[1]))
    assert_alike(one, two, atol=2e-4)
    curves = [
        np.loadtxt(tmp_path / part / "loss.csv", delimiter=",", skiprows=1)
        for part in ("one", "two")
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=2e-3, atol=1e-4)
    assert told == [int(step) for step in curves[1][:, 0]]


def assert_alike(one, two, atol):
    source = make_pair().source
    first, second = (method.harmonize(source, task()).data for method in (one, two))
    np.testing.assert_allclose(first, second, atol=atol)


@pytest.mark.parametrize("name", LEARNED)
def test_parts_of_a_batch_add_up_to_the_whole(name):
    assert_alike(fitted(name), fitted(name, accumulate=2), atol=2e-4)


def _shares(task, team):
    batch = torch.arange(8.0)
    mine = [batch[part].tolist() for part in team.parts(8, accumulate=2)]
    mean = team.mean(torch.tensor(float(team.rank)))
    # Each process says something else; the first one's word counts.
    agreed = [team.agree(team.rank == 0), team.agree(team.rank == 1)]
    task.progress("shares", team.rank, team.size)
    return team.rank, team.size, mine, float(mean), agreed


def _learn(task, team):
    """What `_shares` gives, and the networks that two methods learn in this team."""
    config = {name: LEARNED[name] | {"devices": team.size} for name in LEARNED}
    regression = UNet(UNetSettings(**config["unet"]))
    networks = (
        train_regression(regression, 0, [make_pair()], task, team)[0],
        train(DiffusionSettings(**config["dm"]), [make_pair()], task, team)[0],
    )
    return _shares(task, team), [dict(network.state_dict()) for network in networks]


def test_a_batch_is_shared_out_and_the_first_process_answers():
    told = []
    (answer, two) = together(_learn, task(progress=lambda *a, **_: told.append(a)), TWO)
    assert answer == (0, 2, [[0.0, 1.0], [2.0, 3.0]], 0.5, [True, False])
    assert told[-1] == ("shares", 0, 2)
    (answer, one) = together(_learn, task(), TrainingSettings())
    # A team of one does all of it, in this process.
    mine = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]
    assert answer == (0, 1, mine, 0.0, [True, False])
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)


def test_the_shares_of_all_processes_are_the_batch():
    class Third:
        num_processes, process_index = 3, 2

    assert Team(None, Third()).parts(12, 2) == [slice(8, 10), slice(10, 12)]


def _fails(message, task, team):
    raise TrainingError(message)


def _dies(task, team):
    if team.rank == 1:
        os._exit(9)
    team.mean(torch.ones(1))  # would wait for ever


def test_an_error_of_a_process_is_raised_here():
    with pytest.raises(TrainingError, match=r"^the loss is not finite at step 3$"):
        together(partial(_fails, "the loss is not finite at step 3"), task(), TWO)


def test_a_process_that_dies_ends_the_others():
    with pytest.raises(TrainingError, match="a training process died"):
        together(_dies, task(), TWO)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_more_gpus_than_there_are_cannot_be_had(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MethodError, match="2 GPUs were asked for, torch sees 1"):
        together(_shares, task(device=device), TWO)
