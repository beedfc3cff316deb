"""The precision of a training, and algorithms that give the same numbers each time."""

import os

import pytest
import torch
from small_network import CPU
from torch import nn

from harmbench.task import Direction, Task
from harmbench.training import (
    Float32Conv2d,
    TrainingSettings,
    autocast,
    numerics,
    random_generator,
    resolve_precision,
    together,
)
from harmbench.training.settings import Precision


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
