"""The U-Net as a method: its network, its loss and its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from harmbench.methods._regression.unet import SliceUNet
from harmbench.methods.unet.network import Regressor
from harmbench.methods.unet.settings import UNetSettings
from harmbench.methods.unet.ssim import RADIUS, ssim

__all__ = ["UNet"]


class UNet(SliceUNet[UNetSettings]):
    """A U-Net that is trained to give the target slice from the source slice.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[UNetSettings]] = UNetSettings
    name = "unet"
    title = "U-Net"
    several_sources = True
    reference = (
        "Ronneberger O, Fischer P, Brox T. U-Net: convolutional networks for biomedical image "
        "segmentation. MICCAI 2015. Here a residual U-Net from diffusers, trained for regression."
    )
    default_parameters: ClassVar[Mapping[str, int]] = {"network": 4_062_689}
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": (8, 8),
        "norm_groups": 4,
        "batch_size": 4,
        "iterations": 8,
        "warmup": 1,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    sizes: ClassVar[Sequence[Mapping[str, object]]] = (
        {},
        {
            "channels": (16, 32, 64),
            "iterations": 5000,
            "warmup": 100,
            "learning_rate": 2e-3,
            "ema_decay": 0.995,
            "pixel_loss": "mse",
        },
        {
            "channels": (8, 16, 32),
            "iterations": 300,
            "warmup": 15,
            "learning_rate": 3e-3,
            "ema_decay": 0.99,
            "pixel_loss": "mse",
        },
    )

    def make_network(self) -> nn.Module:
        """Return a new U-Net."""
        return Regressor(self.config)

    def losses(self, prediction: Tensor, goal: Tensor) -> dict[str, Tensor]:
        """Return the pixel loss, and the SSIM loss where it has a weight, and their sum."""
        config = self.config
        pixel = functional.l1_loss if config.pixel_loss == "l1" else functional.mse_loss
        losses: dict[str, Tensor] = {config.pixel_loss: pixel(prediction, goal)}
        total = losses[config.pixel_loss]
        if config.ssim_weight:
            # Zeros all around: every pixel counts, and beyond a slice is background.
            border = (RADIUS,) * 4
            padded = (functional.pad(image, border) for image in (prediction, goal))
            losses["ssim_loss"] = 1 - ssim(*padded)
            total = total + config.ssim_weight * losses["ssim_loss"]
        return {"loss": total, **losses}
