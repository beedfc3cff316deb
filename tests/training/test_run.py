"""A training as a whole, its devices and its random numbers."""

import json

import pytest
import torch
from small_network import CPU, network, stack
from torch import nn

from harmbench.errors import MethodError
from harmbench.task import Direction, Task
from harmbench.training import (
    Team,
    TrainingRun,
    TrainingSettings,
    evaluating,
    parameter_count,
    place,
    random_generator,
    resolve_device,
    seeded,
    update_average,
)


def test_devices_are_resolved_and_unknown_ones_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto") == CPU
    with pytest.raises(MethodError, match=r"'cuda' was asked for, but torch sees 0 GPUs"):
        resolve_device("cuda")
    for name in ("gpu", "meta"):
        with pytest.raises(MethodError, match="allowed: auto, cpu, cuda"):
            resolve_device(name)


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


def test_a_gpu_number_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(MethodError, match="torch sees 1 GPU"):
        resolve_device("cuda:1")


def test_random_numbers_depend_on_every_seed_and_on_nothing_else():
    def draw(*seeds):
        return torch.randn(4, generator=random_generator(CPU, *seeds))

    torch.manual_seed(5)
    one = draw(1, "noise", 7)
    torch.manual_seed(6)
    assert torch.equal(one, draw(1, "noise", 7))
    for seeds in [(2, "noise", 7), (1, "order", 7), (1, "noise", 8)]:
        assert not torch.equal(one, draw(*seeds))


def test_seeding_leaves_the_global_generator_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(1):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.equal(inside, expected)


def test_placing_a_network_keeps_its_function():
    net = network().eval()
    x = torch.randn(2, 1, 9, 9, generator=random_generator(CPU, 0))
    before = net(x)
    assert place(net, CPU) is net
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x), before)


def test_the_average_moves_by_one_minus_decay():
    net, average = network(0), network(1)
    expected = [
        0.9 * a + 0.1 * b for a, b in zip(average.parameters(), net.parameters(), strict=True)
    ]
    update_average(average, net, decay=0.9)
    torch.testing.assert_close(list(average.parameters()), expected)


def test_only_trainable_parameters_are_counted():
    net = nn.Linear(3, 2)
    assert parameter_count(net) == 8
    net.bias.requires_grad_(False)
    assert parameter_count(net) == 6


def test_a_network_learns_on_after_it_was_used():
    net = network().train()
    statistics = net[1].running_mean.clone()
    with evaluating(net):
        made = net(torch.ones(1, 1, 8, 8))
    assert not made.requires_grad
    assert net.training
    assert net[1].training
    assert torch.equal(net[1].running_mean, statistics)


def test_a_run_does_after_each_step_what_is_due(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told, net = [], network()
    task = Task(
        Direction("A", "B"), folder=tmp_path, progress=lambda *a, **values: told.append((a, values))
    )
    config = TrainingSettings(log_every=2, checkpoint_minutes=1, preview_minutes=1)

    def start():
        return TrainingRun(
            task,
            Team(),
            config,
            stage="train",
            steps=5,
            key="key",
            networks={"net": net},
            optimizers={},
            slices=stack(),
            preview=lambda source: source,
            shown=("loss",),
        )

    run = start()
    for step in run:
        for loss in (step, step + 1):  # two parts of a batch
            run.add(loss=torch.tensor(float(loss)), other=torch.tensor(0.0))
        if step == 3:
            now[0] = 60.0  # the clock is looked at with each row of the curve: after step 4
            assert not (tmp_path / "checkpoint.safetensors").exists()
        if step == 5:
            assert (tmp_path / "checkpoint.safetensors").exists()
    assert [(call[0], call[1]) for call in told] == [
        (("train", 2, 5), {"loss": 2.0}),
        (("train", 4, 5), {"loss": 4.0}),
        (("train", 5, 5), {"loss": 5.5}),
    ]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "checkpoint.safetensors",
        "loss.csv",
        "preview-0000004.png",
        "training.json",
    }
    cost = json.loads((tmp_path / "training.json").read_text())
    assert cost["steps"] == 5
    assert cost["training_slices"] == 6
    assert cost["images_per_s"] == pytest.approx(4000 / cost["ms_per_step"])
    assert list(start()) == []  # resumed after the last step
