"""The generator, which maps a source slice to the target contrast, and its discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from harmbench.methods.pgan.settings import PGANSettings
from harmbench.training import Float32Conv2d

__all__ = ["Discriminator", "Generator", "ResidualBlock", "dropout"]

_SPREAD = 0.02  # standard deviation of the first weights
_WIDEST = 8  # the discriminator's channels grow up to this factor


class Generator(nn.Module):
    """A residual network with two halvings (Johnson et al. 2016), as in Dar et al. 2019.

    With the default settings it has 11,365,633 parameters. Sides of a slice are multiples of 4.

    Args:
        config: number of channels and residual blocks, and share of dropout.
    """

    def __init__(self, config: PGANSettings) -> None:
        super().__init__()
        c = config.channels
        self.down = nn.Sequential(
            *_normalized(nn.Conv2d(1, c, 7, padding=3, padding_mode="reflect")),
            *_normalized(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1)),
            *_normalized(nn.Conv2d(2 * c, 4 * c, 3, stride=2, padding=1)),
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(4 * c, config.dropout) for _ in range(config.blocks)
        )
        self.up = nn.Sequential(
            *_normalized(_double(4 * c, 2 * c)),
            *_normalized(_double(2 * c, c)),
            Float32Conv2d(nn.Conv2d(c, 1, 7, padding=3, padding_mode="reflect")),
            nn.Tanh(),
        )
        self.apply(_initialize)

    def forward(self, source: Tensor, random: Sequence[torch.Generator] = ()) -> Tensor:
        """Map slices in [-1, 1].

        Args:
            source: shape (batch, 1, rows, columns).
            random: what dropout draws from, as for `dropout`.

        Returns:
            Slices of the target contrast in [-1, 1], float32, shape of `source`.
        """
        x = source.contiguous(memory_format=torch.channels_last)
        x = self.down(x)
        for block in self.blocks:
            x = block(x, random)
        return cast(Tensor, self.up(x)).float()


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with instance normalization, dropout between them, and a shortcut.

    Args:
        channels: of input and output.
        share: share of features dropped.
    """

    def __init__(self, channels: int, share: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")
        self.norm = nn.InstanceNorm2d(channels)
        self.share = share

    def forward(self, x: Tensor, random: Sequence[torch.Generator] = ()) -> Tensor:
        """Return features of the shape of `x`, (batch, channels, rows, columns)."""
        inner = dropout(self.norm(self.first(x)).relu(), self.share, random)
        return x + cast(Tensor, self.norm(self.second(inner)))


class Discriminator(nn.Module):
    """Judges patches of a slice, given the source slice (PatchGAN, Isola et al. 2017).

    With the default settings it has 2,763,713 parameters and makes 30 x 30 decisions on a slice of
    256 x 256.

    Args:
        config: number of channels and layers.
    """

    def __init__(self, config: PGANSettings) -> None:
        super().__init__()
        depth = config.discriminator_layers
        widths = [config.discriminator_channels * min(2**n, _WIDEST) for n in range(depth + 1)]
        layers: list[nn.Module] = [nn.Conv2d(2, widths[0], 4, stride=2, padding=1)]
        layers.append(nn.LeakyReLU(0.2))
        for number in range(1, depth + 1):
            stride = 2 if number < depth else 1
            convolution = nn.Conv2d(widths[number - 1], widths[number], 4, stride, padding=1)
            layers += [convolution, nn.InstanceNorm2d(widths[number]), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, source: Tensor, image: Tensor) -> Tensor:
        """Judge slices in [-1, 1].

        Args:
            source: shape (batch, 1, rows, columns).
            image: what may be the target slice, same shape.

        Returns:
            Decisions, near 1 for a real target and near 0 for a made one; float32, shape (batch, 1,
            rows / 8 - 2, columns / 8 - 2) with three layers.
        """
        x = torch.cat((source, image), dim=1).contiguous(memory_format=torch.channels_last)
        return cast(Tensor, self.layers(x)).float()


def dropout(x: Tensor, share: float, random: Sequence[torch.Generator]) -> Tensor:
    """Set a share of features to 0 and scale the others by 1 / (1 - share).

    Unlike torch's own, this draws from given generators, so that a training step, or a slice at test
    time, always drops the same features.

    Args:
        x: shape (batch, channels, rows, columns).
        share: probability of a 0.
        random: one generator for the whole batch, or one for each of its slices; without any,
            nothing is dropped.
    """
    if not random or share == 0:
        return x
    shape = x.shape if len(random) == 1 else x.shape[1:]
    drawn = [
        torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(
            1 - share, generator=generator
        )
        for generator in random
    ]
    kept = drawn[0] if len(drawn) == 1 else torch.stack(drawn)
    return x * kept / (1 - share)


def _normalized(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.InstanceNorm2d(convolution.out_channels), nn.ReLU()


def _double(channels: int, wanted: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, wanted, 3, stride=2, padding=1, output_padding=1)


def _initialize(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02 squared); biases keep torch's default, as in the released code."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, _SPREAD)
