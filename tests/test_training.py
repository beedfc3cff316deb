import copy
import json
import logging
import os
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from harmbench.errors import ConfigError, MethodError, TrainingError
from harmbench.settings import validated
from harmbench.slices import TrainingSlices
from harmbench.task import Direction, Task
from harmbench.training import (
    Batches,
    Checkpoints,
    Float32Conv2d,
    LossLog,
    Previews,
    Team,
    TrainingRun,
    TrainingSettings,
    autocast,
    batch_order,
    evaluating,
    load_weights,
    numerics,
    parameter_count,
    place,
    random_generator,
    resolve_device,
    resolve_precision,
    save_weights,
    seeded,
    together,
    update_average,
)
from harmbench.training import batches as batches_module
from harmbench.training.settings import Precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Small convolutions are fastest on one thread, and busy machines don't slow them down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 3))


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def train(net, optimizer, first, last):
    for step in range(first, last + 1):
        x = torch.randn(2, 1, 8, 8, generator=random_generator(CPU, 0, step))
        optimizer.zero_grad()
        torch.autograd.backward((net(x) ** 2).mean())
        optimizer.step()


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


def test_placing_a_network_keeps_its_function():
    net = network().eval()
    x = torch.randn(2, 1, 9, 9, generator=random_generator(CPU, 0))
    before = net(x)
    assert place(net, CPU) is net
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x), before)


@pytest.fixture
def tf32():
    """TF32 allowed everywhere, and a way to ask where it is."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = True, True
    yield lambda: (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize("precision", ["float32", "auto", "bf16"])
def test_float32_is_not_tf32(precision, tf32):
    inside = (False, False) if precision == "float32" else (True, True)
    with autocast(CPU, precision):
        assert tf32() == inside
    assert tf32() == (True, True)
    with pytest.raises(KeyError), numerics(deterministic=False, precision=precision):
        assert tf32() == inside
        with autocast(CPU, precision):
            pass
        assert tf32() == inside  # in the backward pass too
        raise KeyError
    assert tf32() == (True, True)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_whole_training_keeps_to_its_precision(precision, tf32):
    seen = []
    task = Task(Direction("3T", "1.5T"))
    together(lambda *_: seen.append(tf32()), task, TrainingSettings(precision=precision))
    assert seen == [(False, False) if precision == "float32" else (True, True)]


def test_autocast_computes_in_the_precision_asked_for():
    linear = nn.Linear(4, 4)
    kinds: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "float32": torch.float32}
    for precision, dtype in kinds.items():
        with autocast(CPU, precision):
            assert linear(torch.ones(1, 4)).dtype == dtype


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


def test_the_loss_curve_holds_means_since_the_row_before(tmp_path):
    path = tmp_path / "loss.csv"
    log = LossLog(path.parent, start=0, advice="")
    for step, loss in enumerate([1.0, 2.0, 6.0, 5.0], start=1):
        log.add(step, loss=torch.tensor(loss), simple=torch.tensor(2 * loss))
        if step in (3, 4):
            means = log.flush()
    assert means == {"loss": 5.0, "simple": 10.0}
    assert path.read_text() == "step,loss,simple\n3,3,6\n4,5,10\n"
    assert log.flush() == {}


def test_a_resumed_loss_curve_has_no_row_twice_and_no_half_row(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n10,1\n20,2\n30,3\n40,")
    log = LossLog(path.parent, start=20, advice="")
    log.add(30, loss=torch.tensor(4.0))
    log.flush()
    assert path.read_text() == "step,loss\n10,1\n20,2\n30,4\n"


def test_a_fresh_run_starts_a_fresh_loss_curve(tmp_path):
    path = tmp_path / "loss.csv"
    path.write_text("step,loss\n10,1\n")
    LossLog(path.parent, start=0, advice="")
    assert path.read_text() == ""


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_its_step(bad):
    log = LossLog(None, start=0, advice="try a lower learning_rate")
    for step, loss in [(7, 1.0), (8, bad), (9, bad)]:
        log.add(step, loss=torch.tensor(1.0), vlb=torch.tensor(loss))
    with pytest.raises(TrainingError, match=r"at step 8; try a lower learning_rate"):
        log.flush()


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


def stack(count=6, rows=5, columns=4):
    values = np.arange(count * rows * columns, dtype=np.float32).reshape(count, rows, columns)
    values /= values.max()
    return TrainingSlices(values, 1 - values, "key")


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


def test_automatic_precision_is_bf16_where_a_gpu_has_it(monkeypatch):
    gpu = torch.device("cuda")
    assert resolve_precision(CPU, "auto") == "float32"
    for able, expected in [(True, "bf16"), (False, "float32")]:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able, **_: able)
        assert resolve_precision(gpu, "auto") == expected
        assert resolve_precision(gpu, "float32") == "float32"


def test_the_last_layer_stays_float32_where_the_others_are_bf16():
    plain = nn.Conv2d(3, 1, 3, padding=1, padding_mode="reflect")
    exact = Float32Conv2d(plain)
    assert exact.weight is plain.weight
    x = torch.rand(2, 3, 32, 32, generator=random_generator(CPU, 0))
    torch.testing.assert_close(exact(x), plain(x), rtol=0, atol=0)
    with autocast(CPU, "bf16"):
        assert plain(x).dtype == torch.bfloat16
        torch.testing.assert_close(exact(x), plain.float()(x).float(), rtol=0.05, atol=0.02)
        found = exact(x.bfloat16())
    assert found.dtype == torch.float32
    assert len(found.unique()) > 1000  # bf16 has 128 numbers between 0.5 and 1


def test_deterministic_algorithms_are_used_inside_the_block_alone(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cudnn.benchmark
    with numerics(deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    with pytest.raises(KeyError), numerics(deterministic=False):
        assert torch.backends.cudnn.benchmark
        raise KeyError
    assert torch.backends.cudnn.benchmark == before


def test_a_network_learns_on_after_it_was_used():
    net = network().train()
    statistics = net[1].running_mean.clone()
    with evaluating(net):
        made = net(torch.ones(1, 1, 8, 8))
    assert not made.requires_grad
    assert net.training
    assert net[1].training
    assert torch.equal(net[1].running_mean, statistics)


def test_a_picture_shows_source_output_and_target(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    slices = stack(count=8)
    previews = Previews(tmp_path, slices, minutes=2, team=Team())
    assert not previews.due()
    now[0] = 120.0
    assert previews.due()
    path = previews.draw(7, np.zeros_like)
    assert not previews.due()
    assert path == tmp_path / "preview-0000007.png"
    assert path is not None
    picture = imread(path)[..., 0]
    assert picture.shape == (3 * 5, 4 * 4)
    shown = np.concatenate(list(slices.source[[1, 3, 5, 7]]), axis=1)
    white = slices.target[[1, 3, 5, 7]].max()
    np.testing.assert_allclose(picture[:5], np.clip(shown / white, 0, 1), atol=0.01)
    assert not picture[5:10].any()


def test_no_picture_without_a_folder_or_where_none_is_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    slices = stack()
    for folder, minutes in [(None, 1), (tmp_path, 0)]:
        previews = Previews(folder, slices, minutes, Team())
        assert not previews.due()
        assert previews.draw(1, lambda source: source) is None
    assert list(tmp_path.iterdir()) == []


def test_the_loss_curve_is_written_for_tensorboard(tmp_path):
    log = LossLog(tmp_path, start=0, advice="", tensorboard=True)
    for step, loss in [(1, 2.0), (2, 4.0)]:
        log.add(step, loss=torch.tensor(loss))
    log.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(2, 3.0)]


def test_missing_tensorboard_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MethodError, match=r"pip install 'harmbench\[tensorboard\]'"):
        LossLog(tmp_path, start=0, advice="", tensorboard=True)


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


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size \(4\) must be a multiple of .* \(3\)"):
        validated(TrainingSettings, {"accumulate": 3})
    assert validated(TrainingSettings, {"accumulate": 2, "devices": 2}).batch_size == 4
