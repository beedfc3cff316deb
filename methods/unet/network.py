"""The library's U-Net, without its sense of time."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from harmbench.methods.unet.settings import UNetSettings
from harmbench.training import Float32Conv2d

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
        levels = len(config.channels)
        self.unet = UNet2DModel(
            in_channels=1,
            out_channels=1,
            block_out_channels=config.channels,
            layers_per_block=config.blocks_per_level,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=False,
            norm_num_groups=config.norm_groups,
        )
        self.unet.conv_out = Float32Conv2d(self.unet.conv_out)
        self.residual = config.output == "residual"
        if self.residual:
            nn.init.zeros_(self.unet.conv_out.weight)
            nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, source: Tensor) -> Tensor:
        """Map slices in [0, 1], shape (batch, 1, rows, columns), to the target contrast."""
        timestep = torch.zeros(len(source), dtype=torch.long, device=source.device)
        output = cast(Tensor, self.unet(source, timestep, return_dict=False)[0])
        return source + output if self.residual else output
