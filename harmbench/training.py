"""What learned methods share; the training loop itself stands in each method.

Every random number of a training step is drawn from a generator that is seeded with the run's seed
and the step (`random_generator`), and so is the order of the slices (`batch_order`). A step is
therefore the same whether or not the run was interrupted before it, and a checkpoint holds no
random state.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from harmbench.errors import MethodError, TrainingError
from harmbench.storage import atomic, key_of, read_json, write_text

__all__ = [
    "Checkpoints",
    "LossLog",
    "Precision",
    "autocast",
    "batch_order",
    "fitted",
    "frozen",
    "load_weights",
    "parameter_count",
    "place",
    "random_generator",
    "resolve_device",
    "save_weights",
    "saved_values",
    "seeded",
    "update_average",
]

Precision = Literal["float32", "bf16"]
Network = TypeVar("Network", bound=nn.Module)
Learned = TypeVar("Learned")
_Networks = Mapping[str, nn.Module]
_Optimizers = Mapping[str, torch.optim.Optimizer]

_log = logging.getLogger(__name__)


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


def place(network: Network, device: torch.device) -> Network:
    """Move a network to `device`, in place, its kernels channels-last: convolutions are faster so."""
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def frozen(network: Network) -> Network:
    """Make a network ready for use: convolutions round differently for weights that learn."""
    return network.eval().requires_grad_(requires_grad=False)


def fitted(learned: Learned | None, name: str) -> Learned:
    """Return what the method called `name` has learned.

    Raises:
        MethodError: that is `None`: the method was neither fitted nor loaded.
    """
    if learned is None:
        raise MethodError(f"{name} was not fitted: call fit, or load a saved model")
    return learned


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network computes in `precision`; weights stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running average of the weights: average <- decay * average + (1 - decay) * weights."""
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
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
def saved_values(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Give the block what the method called `name` saved as JSON beside its weights.

    Raises:
        MethodError: the file is missing or damaged, or the block finds something wrong in it.
    """
    try:
        values = read_json(path)
        if values is None:
            raise MethodError(f"{path}: no such file; was the method fitted and saved?")
        yield values
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MethodError(f"{path}: not the settings of a saved {name} ({error})") from error


class LossLog:
    """The loss curve: a CSV of means over the steps since the row before.

    Losses are collected on the device, so that a GPU isn't kept waiting, and checked in `flush`.

    Args:
        path: the CSV file; `None` keeps nothing on disk.
        start: the step that training resumes from; rows beyond it are removed from the file.
        advice: what to try when the loss isn't finite, for the error.
    """

    def __init__(self, path: Path | None, start: int, advice: str) -> None:
        self._path = path
        self._advice = advice
        self._steps: list[int] = []
        self._losses: list[dict[str, Tensor]] = []
        if path is not None:
            write_text(path, "".join(_rows_until(path, start)) if start else "")

    def add(self, step: int, **losses: Tensor) -> None:
        """Collect the scalar losses of one step."""
        self._steps.append(step)
        self._losses.append({name: loss.detach() for name, loss in losses.items()})

    def flush(self) -> dict[str, float]:
        """Write a row for the steps since the last call and return their mean losses.

        Raises:
            TrainingError: a loss is NaN or infinite; names the first such step.
        """
        if not self._steps:
            return {}
        names = list(self._losses[0])
        values = torch.stack([torch.stack([row[n] for n in names]) for row in self._losses])
        values = values.double().cpu()
        good = torch.isfinite(values).all(dim=1)
        if not good.all():
            step = self._steps[int(good.int().argmin())]
            raise TrainingError(f"the loss is not finite at step {step}; {self._advice}")
        means = dict(zip(names, values.mean(dim=0).tolist(), strict=True))
        if self._path is not None:
            header = self._path.stat().st_size == 0
            with self._path.open("a", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                if header:
                    rows.writerow(["step", *names])
                rows.writerow([self._steps[-1], *(f"{mean:.9g}" for mean in means.values())])
        self._steps, self._losses = [], []
        return means


def _rows_until(path: Path, step: int) -> Iterator[str]:
    """Header and complete rows of a loss curve up to `step`."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for number, line in enumerate(io.StringIO(text)):
        first = line.split(",")[0]
        if line.endswith("\n") and (number == 0 or (first.isdigit() and int(first) <= step)):
            yield line


class Checkpoints:
    """The last state of a training run, in one file that is either old or new.

    The file is safetensors: weights, running averages and optimizer states as tensors, step and key
    in its header. Nothing in it is executable.

    Args:
        path: the file; `None` keeps nothing.
        key: what the run was made from; a file with another key isn't resumed.
        minutes: save when this much time has passed since the last one.
        every: save every so many steps as well; 0 for time alone.
    """

    def __init__(self, path: Path | None, key: str, minutes: float, every: int = 0) -> None:
        self._path = path
        self._key = key
        self._minutes = minutes
        self._every = every
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the state after `step` steps should be saved."""
        if self._path is None:
            return False
        on_step = self._every > 0 and step % self._every == 0
        return on_step or time.monotonic() - self._last >= 60 * self._minutes

    def save(self, step: int, networks: _Networks, optimizers: _Optimizers) -> None:
        """Write the state after `step` steps."""
        if self._path is None:
            return
        tensors: dict[str, Tensor] = {}
        for name, network in networks.items():
            tensors |= {f"network/{name}/{k}": v for k, v in network.state_dict().items()}
        for name, optimizer in optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{k}": v for k, v in state.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        header = {"harmbench": json.dumps({"step": step, "key": self._key})}
        with atomic(self._path) as temporary:
            save_file(tensors, temporary, metadata=header)
        self._last = time.monotonic()

    def restore(self, networks: _Networks, optimizers: _Optimizers) -> int:
        """Load the saved state in place and return its step; 0 where there is none that fits.

        Learning rates and other settings of the optimizers aren't restored: they are the caller's.
        """
        if self._path is None or not self._path.is_file():
            return 0
        try:
            with safe_open(self._path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("harmbench", "{}"))
            if header.get("key") != self._key:
                _log.warning("%s: made from other settings or data; starting anew", self._path)
                return 0
            tensors = load_file(self._path)
        except (SafetensorError, OSError, ValueError) as error:
            _log.warning("%s: damaged checkpoint (%s); starting anew", self._path, error)
            return 0
        for name, network in networks.items():
            network.load_state_dict(_under(tensors, f"network/{name}/"))
        for name, optimizer in optimizers.items():
            _load_optimizer(optimizer, _under(tensors, f"optimizer/{name}/"))
        _log.info("%s: resuming after step %d", self._path, header["step"])
        return int(header["step"])


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        index, _, field = path.partition("/")
        like = parameters[int(index)]
        # Fused optimizers walk through memory, so a state must lie there as its parameter does
        # (channels-last, say); files hold contiguous tensors.
        same = tensor.shape == like.shape
        value = torch.empty_like(like, device="cpu").copy_(tensor) if same else tensor
        state.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
