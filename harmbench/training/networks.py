"""Networks and the devices they compute on: placing, precision, weights on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from harmbench.errors import MethodError
from harmbench.storage import atomic, read_json
from harmbench.training.settings import Precision

__all__ = [
    "Float32Conv2d",
    "autocast",
    "evaluating",
    "fitted",
    "frozen",
    "load_weights",
    "numerics",
    "parameter_count",
    "place",
    "resolve_device",
    "resolve_precision",
    "save_weights",
    "saved_values",
    "update_average",
]

Network = TypeVar("Network", bound=nn.Module)
Learned = TypeVar("Learned")
ModelT = TypeVar("ModelT", bound=BaseModel)


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`: `cpu`, `cuda`, `cuda:N`, or `auto` (a GPU if there is one).

    Raises:
        MethodError: the device is unknown, or there is no such GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise MethodError(f"unknown device '{name}'; allowed: auto, cpu, cuda, cuda:N")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise MethodError(f"device '{name}' was asked for, but torch sees {found} GPUs; use 'auto'")
    return device


def resolve_precision(device: torch.device, precision: Precision) -> Precision:
    """Return what `precision` means on `device`: `auto` is bf16 on a GPU that has it, else float32."""
    if precision != "auto":
        return precision
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if able else "float32"


def place(network: Network, device: torch.device) -> Network:
    """Move a network to `device`, in place, its kernels channels-last: convolutions are faster so."""
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack memory_format
    return network


def frozen(network: Network) -> Network:
    """Make a network ready for use: convolutions round differently for weights that learn."""
    return network.eval().requires_grad_(requires_grad=False)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Use a network that learns inside the block, without gradients, and let it learn on."""
    was = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was)


def fitted(learned: Learned | None, name: str) -> Learned:
    """Return what the method called `name` has learned.

    Raises:
        MethodError: that is `None`: the method was neither fitted nor loaded.
    """
    if learned is None:
        raise MethodError(f"{name} was not fitted: call fit, or load a saved model")
    return learned


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Let networks compute in `precision` inside the block; weights stay float32.

    A backward pass happens outside of it: what `precision` means there is up to `numerics`.
    """
    enabled = resolve_precision(device, precision) == "bf16"
    with (
        _tf32_as_in(precision),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled),
    ):
        yield


@contextmanager
def _tf32_as_in(precision: Precision) -> Iterator[None]:
    """Keep TF32 out of the block where `precision` is float32; else leave torch's choice.

    On NVIDIA GPUs from 2020 on, torch rounds what goes into float32 convolutions to the 10 bits of
    TF32 unless it is told not to.
    """
    if precision != "float32":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32, cudnn.allow_tf32 = False, False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def numerics(*, deterministic: bool, precision: Precision = "auto") -> Iterator[None]:
    """Let torch choose algorithms inside the block: the fastest ones, or deterministic ones alone.

    With `precision` float32 none of them uses TF32, in backward passes neither. The search for the
    fastest convolution pays where shapes repeat, as they do in training. With `deterministic`, an
    operation that has no deterministic algorithm raises. Only a GPU needs it: on a CPU the same seed
    and number of threads give the same bits anyway.
    """
    cudnn = torch.backends.cudnn
    benchmark, chosen = cudnn.benchmark, cudnn.deterministic
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    # cuBLAS reads this when it is first used; without it torch refuses to be deterministic.
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    try:
        with _tf32_as_in(precision):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark, chosen
        torch.use_deterministic_algorithms(before, warn_only=only_warns)


class Float32Conv2d(nn.Conv2d):
    """A convolution that computes in float32 even where the rest of the network has bf16.

    A last layer in bf16 would round images to 8 bits and leave a comb in their histogram.

    Args:
        like: the convolution to replace; its parameters are taken over.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__(
            like.in_channels,
            like.out_channels,
            cast(tuple[int, int], like.kernel_size),
            stride=cast(tuple[int, int], like.stride),
            padding=cast(tuple[int, int], like.padding),
            padding_mode=like.padding_mode,
            device="meta",  # draws no weights of its own
        )
        self.weight, self.bias = like.weight, like.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x`, (batch, channels, rows, columns), in float32."""
        if not torch.amp.is_autocast_available(x.device.type):  # such as meta
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running average of the weights: average <- decay * average + (1 - decay) * weights."""
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch has no types here
    update(list(average.parameters()), list(network.parameters()), 0)


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights and buffers as safetensors, atomically."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary)


def load_weights(network: nn.Module, path: Path) -> None:
    """Read weights into `network`, in place.

    Raises:
        MethodError: the file is missing or damaged, or holds the weights of another network.
    """
    if not path.is_file():
        raise MethodError(f"{path}: no such file; was the method fitted and saved?")
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise MethodError(f"{path}: damaged weights ({error})") from error
    except RuntimeError as error:
        raise MethodError(f"{path}: weights of another network; {error}") from error


@contextmanager
def saved_values(path: Path, name: str, kind: type[ModelT]) -> Iterator[ModelT]:
    """Give the block what the method called `name` saved as JSON beside its weights.

    `kind` is the schema of the file.

    Raises:
        MethodError: the file is missing or damaged, or the block finds something wrong in it.
    """
    try:
        values = read_json(path)
        if values is None:
            raise MethodError(f"{path}: no such file; was the method fitted and saved?")
        yield kind.model_validate(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MethodError(f"{path}: not the settings of a saved {name} ({error})") from error
