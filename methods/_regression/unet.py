"""The U-Net of slice regressions: the library's, its settings, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from diffusers import UNet2DModel
from pydantic import ConfigDict, Field, model_validator
from torch import nn
from typing_extensions import Self, TypeVar

from harmbench.methods._regression.model import SliceRegression
from harmbench.methods._regression.schedule import ScheduleSettings
from harmbench.methods._regression.settings import RegressionSettings
from harmbench.training import Float32Conv2d

__all__ = ["SliceUNet", "SliceUNetSettings", "plain_unet"]

Width = Annotated[int, Field(ge=1)]


class SliceUNetSettings(ScheduleSettings, RegressionSettings):
    """Settings of a slice regression whose network is the library's U-Net."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    network_fields: ClassVar[tuple[str, ...]] = (
        *RegressionSettings.network_fields,
        "channels",
        "blocks_per_level",
        "norm_groups",
    )

    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=7)] = (32, 64, 128, 128)
    """Channels of each level, the finest first; multiples of `norm_groups`."""
    blocks_per_level: Annotated[int, Field(ge=1)] = 1
    """Residual blocks per level on the way down (one more on the way up)."""
    norm_groups: Annotated[int, Field(ge=1)] = 8
    """Groups of the group normalization."""

    @model_validator(mode="after")
    def _channels_divide(self) -> Self:
        wrong = [width for width in self.channels if width % self.norm_groups]
        if wrong:
            raise ValueError(
                f"channels {wrong} must be multiples of norm_groups ({self.norm_groups})"
            )
        return self

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return int(2 ** (len(self.channels) - 1))


SliceUNetT_co = TypeVar(
    "SliceUNetT_co", bound=SliceUNetSettings, covariant=True, default=SliceUNetSettings
)


class SliceUNet(SliceRegression[SliceUNetT_co]):
    """A slice regression that is trained with AdamW, a warm-up and averaged weights.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[SliceUNetSettings]] = SliceUNetSettings

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW."""
        return self.config.make_optimizer(network)

    def training_steps(self, slices: int) -> int:
        """Return `iterations`."""
        return self.config.iterations

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return `iterations`, with a warm-up that takes at most a twentieth of them."""
        return self.config.sized(steps)

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`, from 1: a linear rise, then constant or half a cosine."""
        return self.config.learning_rate_at(step, steps)

    def decay(self, step: int) -> float | None:
        """Return the decay of the weights' average at `step`, from 1."""
        return self.config.decay_at(step)


def plain_unet(config: SliceUNetSettings, *, starts_at_zero: bool) -> UNet2DModel:
    """Return the U-Net of diffusion models without attention, from one channel to one.

    Args:
        config: width, levels and blocks.
        starts_at_zero: whether the untrained network gives 0.
    """
    levels = len(config.channels)
    unet = UNet2DModel(
        in_channels=1,
        out_channels=1,
        block_out_channels=config.channels,
        layers_per_block=config.blocks_per_level,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        add_attention=False,
        norm_num_groups=config.norm_groups,
    )
    unet.conv_out = Float32Conv2d(unet.conv_out)
    if starts_at_zero:
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
    return unet
