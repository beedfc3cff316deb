"""The U-Net that predicts the noise from a noisy target slice and the source slice."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.training import Float32Conv2d

__all__ = ["Denoiser"]


class Denoiser(nn.Module):
    """A U-Net conditioned on the source slice by concatenation.

    With the default settings it has the paper's 11,402,370 parameters: equally wide levels, two
    residual blocks each, and one attention head in the middle block.

    Args:
        config: width, levels and blocks, whether there is a second output for the variance, and
            whether the last layers start at 0.
    """

    def __init__(self, config: DiffusionSettings) -> None:
        super().__init__()
        self.unet = UNet2DModel(
            in_channels=2,
            out_channels=2 if config.learned_variance else 1,
            block_out_channels=(config.channels,) * config.levels,
            layers_per_block=config.blocks_per_level,
            down_block_types=("DownBlock2D",) * config.levels,
            up_block_types=("UpBlock2D",) * config.levels,
            attention_head_dim=config.channels,
            norm_num_groups=config.norm_groups,
        )
        self.unet.conv_out = Float32Conv2d(self.unet.conv_out)
        if config.zero_initialized:
            _zero_last_layers(self.unet)

    def forward(
        self, noisy: Tensor, source: Tensor, timestep: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Predict from slices in [-1, 1].

        Args:
            noisy: target slices with noise, shape (batch, 1, rows, columns).
            source: source slices, same shape.
            timestep: shape (batch,), whole numbers from 0 to T - 1.

        Returns:
            The prediction (noise, velocity or image) and, where it is learned, the position of the
            log-variance between its bounds (-1 lower, 1 upper); float32, shape of `noisy`.
        """
        x = torch.cat((noisy, source), dim=1).contiguous(memory_format=torch.channels_last)
        output = cast(Tensor, self.unet(x, timestep, return_dict=False)[0]).float()
        if output.shape[1] == 1:
            return output, None
        prediction, variance = output.chunk(2, dim=1)
        return prediction, variance


def _zero_last_layers(unet: nn.Module) -> None:
    """Set to 0 what each residual block, the attention and the whole network end with.

    Every block then begins as the identity, and the network's first answer is 0.
    """
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D):
            _zero(module.conv2)
        elif isinstance(module, Attention):
            _zero(module.to_out[0])
        elif isinstance(module, Float32Conv2d):
            _zero(module)


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
