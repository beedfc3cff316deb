"""The library's U-Net, without its sense of time."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from harmbench.methods._regression.unet import plain_unet
from harmbench.methods.unet.settings import UNetSettings

__all__ = ["Regressor"]


class Regressor(nn.Module):
    """A residual U-Net from source slices to target slices.

    It is the network of diffusion models, at a fixed timestep and without attention: what the time
    embedding adds is then one learned bias per residual block.

    Args:
        config: width, levels and blocks, and what the output stands for. A residual output begins
            at 0, so that the untrained network leaves the source as it is.
    """

    def __init__(self, config: UNetSettings) -> None:
        super().__init__()
        self.residual = config.output == "residual"
        self.unet = plain_unet(config, starts_at_zero=self.residual)

    def forward(self, source: Tensor) -> Tensor:
        """Map slices in [0, 1], shape (batch, 1, rows, columns), to the target contrast."""
        timestep = torch.zeros(len(source), dtype=torch.long, device=source.device)
        output = cast(Tensor, self.unet(source, timestep, return_dict=False)[0])
        return source + output if self.residual else output
