"""A residual U-Net of 3D convolutions."""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from harmbench.methods.unet3d.settings import UNet3DSettings

__all__ = ["Regressor3D"]


class Regressor3D(nn.Module):
    """A residual U-Net from source patches to target patches.

    It has no normalization layers: the statistics of a patch depend on how much background it holds,
    and neighbouring patches would differ in brightness. Every block begins as the identity, and the
    network's output, which is added to the source, begins at 0.

    Args:
        config: channels of each level.
    """

    def __init__(self, config: UNet3DSettings) -> None:
        super().__init__()
        widths = config.channels
        steps = list(itertools.pairwise(widths))
        self.first = _convolution(1, widths[0])
        self.down = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in steps)
        self.middle = _Block(widths[-1])
        self.grow = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in steps[::-1])
        self.merge = nn.ModuleList(nn.Conv3d(2 * a, a, 1) for a, _ in steps[::-1])
        self.up = nn.ModuleList(_Block(a) for a, _ in steps[::-1])
        self.last = _zeroed(_convolution(widths[0], 1))

    def forward(self, source: Tensor) -> Tensor:
        """Map patches in [0, 1], shape (batch, 1, x, y, z), to the target contrast; float32."""
        x = self.first(source)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x)
            skips.append(x)
            x = shrink(x)
        x = self.middle(x)
        for grow, merge, block in zip(self.grow, self.merge, self.up, strict=True):
            x = block(merge(torch.cat((grow(x), skips.pop()), dim=1)))
        # In bf16 the last layer would round images to 8 bits.
        with torch.autocast(source.device.type, enabled=False):
            return source.float() + cast(Tensor, self.last(functional.silu(x.float())))


class _Block(nn.Module):
    """Two convolutions whose result is added to what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = _convolution(width, width)
        self.two = _zeroed(_convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.two(functional.silu(self.one(functional.silu(x)))))


def _convolution(before: int, after: int) -> nn.Conv3d:
    return nn.Conv3d(before, after, 3, padding=1)


def _zeroed(layer: nn.Conv3d) -> nn.Conv3d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
