"""The U-Net of DeepHarmony (Dewey et al. 2019, Fig. 2), with the defaults of Keras."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmbench.training import Float32Conv2d

__all__ = ["DeepHarmonyNetwork"]


class DeepHarmonyNetwork(nn.Module):
    """A U-Net whose last layer sees the input image beside its features.

    One 3x3 convolution per level; 4x4 convolutions of stride 2 go down and, transposed, up. Every
    convolution is followed by ReLU and batch normalization, in this order, except for the last, a
    1x1 convolution with ReLU. The result is therefore at least 0 and has no upper bound.

    Args:
        channels: of each level, the finest first; (16, 32, 64, 128, 256) as published has 1,831,650
            parameters.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        *levels, bottleneck = channels
        widths = [1, *levels]
        self.encoders = nn.ModuleList(
            _block(nn.Conv2d(before, width, 3, padding=1))
            for before, width in zip(widths, levels, strict=False)
        )
        self.downs = nn.ModuleList(
            _block(nn.Conv2d(width, width, 4, stride=2, padding=1)) for width in levels
        )
        self.bottleneck = _block(nn.Conv2d(levels[-1], bottleneck, 3, padding=1))
        below = [*levels[1:], bottleneck]
        self.ups = nn.ModuleList(
            _block(nn.ConvTranspose2d(deeper, width, 4, stride=2, padding=1))
            for deeper, width in zip(below, levels, strict=True)
        )
        self.decoders = nn.ModuleList(
            _block(nn.Conv2d(2 * width, width, 3, padding=1)) for width in levels
        )
        self.output = Float32Conv2d(nn.Conv2d(levels[0] + 1, 1, 1))
        self.apply(_initialize)

    def forward(self, source: Tensor) -> Tensor:
        """Map slices, shape (batch, 1, rows, columns), to the target contrast.

        Rows and columns are multiples of 2 ** (levels - 1).
        """
        x, skips = source, []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for skip, up, decoder in zip(
            reversed(skips), reversed(self.ups), reversed(self.decoders), strict=True
        ):
            x = decoder(torch.cat((skip, up(x)), dim=1))
        return torch.relu(self.output(torch.cat((x, source), dim=1)))


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    # Keras keeps 0.99 of the running statistics where torch's momentum says how much is new.
    norm = nn.BatchNorm2d(convolution.out_channels, eps=1e-3, momentum=0.01)
    return nn.Sequential(convolution, nn.ReLU(), norm)


def _initialize(module: nn.Module) -> None:
    """Glorot-uniform weights and no bias, as Keras begins (Glorot & Bengio 2010)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
