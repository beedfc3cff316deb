"""Settings of the U-Net; the defaults suit 30 subjects of 160 x 224 x 224 voxels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from harmbench.methods._regression.unet import SliceUNetSettings

__all__ = ["UNetSettings"]


class UNetSettings(SliceUNetSettings):
    """Settings of the U-Net."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    network_fields: ClassVar[tuple[str, ...]] = (*SliceUNetSettings.network_fields, "output")

    output: Literal["residual", "image"] = "residual"
    """The network gives what is to be added to the source, or the target itself."""
    pixel_loss: Literal["l1", "mse"] = "l1"
    """Mean absolute or mean squared error over all pixels of the slices."""
    ssim_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of 1 - SSIM, added to the pixel loss."""
