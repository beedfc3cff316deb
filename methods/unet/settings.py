"""Settings of the U-Net; the defaults suit 30 subjects of 160 x 224 x 224 voxels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from harmbench.methods._regression import RegressionSettings

__all__ = ["UNetSettings"]

Width = Annotated[int, Field(ge=1)]


class UNetSettings(RegressionSettings):
    """Settings of the U-Net."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    network_fields: ClassVar[tuple[str, ...]] = (
        *RegressionSettings.network_fields,
        "channels",
        "blocks_per_level",
        "norm_groups",
        "output",
    )

    # Network
    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=7)] = (32, 64, 128, 128)
    """Channels of each level, the finest first; multiples of `norm_groups`."""
    blocks_per_level: Annotated[int, Field(ge=1)] = 1
    """Residual blocks per level on the way down (one more on the way up)."""
    norm_groups: Annotated[int, Field(ge=1)] = 8
    """Groups of the group normalization."""
    output: Literal["residual", "image"] = "residual"
    """The network gives what is to be added to the source, or the target itself."""

    # Loss
    pixel_loss: Literal["l1", "mse"] = "l1"
    """Mean absolute or mean squared error over all pixels of the slices."""
    ssim_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - SSIM, added to the pixel loss."""

    # Training
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-4
    """Highest learning rate of AdamW."""
    learning_rate_schedule: Literal["constant", "cosine"] = "cosine"
    """After the warm-up keep the learning rate, or let it fall to 0 along half a cosine."""
    warmup: Annotated[int, Field(ge=0)] = 500
    """Steps in which the learning rate rises linearly from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Decoupled weight decay (Loshchilov & Hutter 2019)."""
    iterations: Annotated[int, Field(ge=1)] = 50_000
    """Training steps."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = 0.999
    """Decay of the running average of the weights, at most (1 + n) / (10 + n) after n steps; `null`:
    predict with the last weights."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        wrong = [width for width in self.channels if width % self.norm_groups]
        if wrong:
            raise ValueError(
                f"channels {wrong} must be multiples of norm_groups ({self.norm_groups})"
            )
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return int(2 ** (len(self.channels) - 1))
