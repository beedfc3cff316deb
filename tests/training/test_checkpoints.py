"""Checkpoints: what is kept, when, and that a resumed training ends where an uninterrupted one does."""

import copy
import logging

import pytest
import torch
from safetensors.torch import load_file
from small_network import CPU, network, same, train
from torch import nn

from harmbench.errors import MethodError
from harmbench.training import (
    Checkpoints,
    load_weights,
    place,
    save_weights,
)


def test_weights_survive_saving(tmp_path):
    net, other = place(network(0), CPU), network(1)
    save_weights(net, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    assert same(net, other)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(MethodError, match="no such file"):
        load_weights(network(), path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(MethodError, match="damaged"):
        load_weights(network(), path)
    save_weights(nn.Linear(2, 2), path)
    with pytest.raises(MethodError, match="another network"):
        load_weights(network(), path)


@pytest.mark.parametrize("fused", [False, True])
def test_resumed_training_equals_uninterrupted_training_bit_for_bit(tmp_path, fused):
    # Channels-last weights of several input channels: in memory unlike the contiguous checkpoint.
    whole = place(network(), CPU)
    train(whole, torch.optim.Adam(whole.parameters(), lr=0.01, fused=fused), 1, 6)

    first = place(network(), CPU)
    optimizer = torch.optim.Adam(first.parameters(), lr=0.01, fused=fused)
    train(first, optimizer, 1, 4)
    path = tmp_path / "checkpoint.safetensors"
    Checkpoints(path, "key", minutes=1).save(4, {"net": first}, {"adam": optimizer})

    second = place(network(seed=9), CPU)
    optimizer = torch.optim.Adam(second.parameters(), lr=0.01, fused=fused)
    step = Checkpoints(path, "key", minutes=1).restore({"net": second}, {"adam": optimizer})
    assert step == 4
    train(second, optimizer, 5, 6)

    assert same(whole, second)


def test_checkpoints_of_several_networks_are_kept_apart(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    nets = {"generator": network(0), "critic": network(1)}
    optimizers = {name: torch.optim.Adam(net.parameters()) for name, net in nets.items()}
    Checkpoints(path, "key", minutes=1).save(3, nets, optimizers)
    others = {"generator": network(2), "critic": network(3)}
    fresh = {name: torch.optim.Adam(net.parameters()) for name, net in others.items()}
    assert Checkpoints(path, "key", minutes=1).restore(others, fresh) == 3
    assert all(same(nets[name], others[name]) for name in nets)


def test_a_checkpoint_with_another_key_is_not_resumed(tmp_path, caplog):
    path = tmp_path / "checkpoint.safetensors"
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    Checkpoints(path, "one", minutes=1).save(3, {"net": net}, {"adam": optimizer})
    other = network(1)
    before = copy.deepcopy(other)
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(path, "two", minutes=1).restore({"net": other}, {}) == 0
    assert same(other, before)
    assert "other settings or data" in caplog.text


def test_a_damaged_checkpoint_is_not_resumed(tmp_path, caplog):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"\x00" * 100)
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(path, "key", minutes=1).restore({"net": network()}, {}) == 0
    assert "damaged checkpoint" in caplog.text


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    net = network()
    checkpoints = Checkpoints(path, "key", minutes=1)
    checkpoints.save(1, {"net": net}, {})
    before = path.read_bytes()

    def interrupted(tensors, file, metadata):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("harmbench.training.checkpoints.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, {"net": net}, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert load_file(path)


def test_checkpoints_are_due_by_steps_and_by_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    path = tmp_path / "checkpoint.safetensors"
    checkpoints = Checkpoints(path, "key", minutes=2, every=5)
    assert [step for step in range(1, 11) if checkpoints.due(step)] == [5, 10]
    now[0] = 120.0
    assert checkpoints.due(11)
    checkpoints.save(11, {"net": network()}, {})
    assert not checkpoints.due(12)


def test_nothing_is_kept_without_a_folder():
    checkpoints = Checkpoints(None, "key", minutes=1, every=1)
    assert not checkpoints.due(1)
    checkpoints.save(1, {"net": network()}, {})
    assert checkpoints.restore({"net": network()}, {}) == 0
