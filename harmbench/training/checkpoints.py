"""The last state of a training run on disk."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harmbench.storage import atomic
from harmbench.training.team import Team

__all__ = ["Checkpoints"]

_Networks = Mapping[str, nn.Module]
_Optimizers = Mapping[str, torch.optim.Optimizer]

_log = logging.getLogger(__name__)


class Checkpoints:
    """The last state of a training run, in one file that is either old or new.

    The file is safetensors: weights, running averages and optimizer states as tensors, step and key
    in its header. Nothing in it is executable.

    Args:
        path: the file; `None` keeps nothing.
        key: what the run was made from; a file with another key isn't resumed.
        minutes: save when this much time has passed since the last one.
        every: save every so many steps as well; 0 for time alone.
        look_every: steps between looks at the clock.
        team: the processes that train together; the first one saves, and its clock counts.
    """

    def __init__(
        self,
        path: Path | None,
        key: str,
        minutes: float,
        every: int = 0,
        look_every: int = 1,
        team: Team | None = None,
    ) -> None:
        self._path = path
        self._key = key
        self._minutes = minutes
        self._every = every
        self._look_every = look_every
        self._team = team or Team()
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the state after `step` steps should be saved."""
        if self._path is None:
            return False
        if self._every > 0 and step % self._every == 0:
            return True
        if step % self._look_every:
            return False
        return self._team.agree(time.monotonic() - self._last >= 60 * self._minutes)

    def save(self, step: int, networks: _Networks, optimizers: _Optimizers) -> None:
        """Write the state after `step` steps."""
        if self._path is None or not self._team.first:
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
