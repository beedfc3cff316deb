"""Training slices as tensors, on the device where they fit."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmbench.slices import TrainingSlices

__all__ = ["Batches"]

_SHARE_OF_FREE_MEMORY = 0.5


class Batches:
    """Gives batches of training slices, without reading or copying more than these.

    Args:
        slices: the training slices, in [0, 1].
        device: where the batches are wanted.
        place: where all slices are kept, as in `TrainingSettings.slices_on`.
        signed: whether intensities are mapped to [-1, 1].
    """

    def __init__(
        self,
        slices: TrainingSlices,
        device: torch.device,
        place: Literal["auto", "device", "memory"] = "auto",
        *,
        signed: bool = False,
    ) -> None:
        self._device, self._signed = device, signed
        if place == "auto":
            place = "device" if _fits(slices, device) else "memory"
        self._both = [torch.from_numpy(s) for s in (slices.source, slices.target)]
        if place == "device":
            self._both = [tensor.to(device) for tensor in self._both]

    def __call__(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return source and target slices, each (batch, 1, rows, columns), on the device."""
        index = torch.from_numpy(np.ascontiguousarray(chosen))
        source, target = (self._take(tensor, index) for tensor in self._both)
        return source, target

    def _take(self, tensor: Tensor, index: Tensor) -> Tensor:
        if tensor.device.type == "cpu" and self._device.type == "cuda":
            batch = tensor[index].pin_memory().to(self._device, non_blocking=True)
        else:
            batch = tensor[index.to(tensor.device)]
        return batch[:, None] * 2 - 1 if self._signed else batch[:, None]


def _fits(slices: TrainingSlices, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return slices.source.nbytes + slices.target.nbytes <= _SHARE_OF_FREE_MEMORY * free
