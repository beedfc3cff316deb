"""The flow as a method: its network, its objective and its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from harmbench.methods._regression.unet import SliceUNet
from harmbench.methods.flow.network import VelocityField
from harmbench.methods.flow.settings import FlowSettings

__all__ = ["Flow"]


class Flow(SliceUNet[FlowSettings]):
    """A flow that carries each source slice to a target slice, learned by flow matching.

    On the straight way from a source x_0 to its target x_1, at x_t = (1 - t) x_0 + t x_1, the network
    learns the velocity x_1 - x_0. To harmonize, a source goes the way in a few Euler steps.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[FlowSettings]] = FlowSettings
    name = "flow"
    title = "Flow"
    reference = (
        "Liu X, Gong C, Liu Q. Flow straight and fast: learning to generate and transfer data with "
        "rectified flow. ICLR 2023. Albergo MS, Goldstein M, Boffi NM, Ranganath R, Vanden-Eijnden E. "
        "Stochastic interpolants with data-dependent couplings. ICML 2024."
    )
    several_sources = True
    default_parameters: ClassVar[Mapping[str, int]] = {"network": 4_062_689}
    quick_settings: ClassVar[Mapping[str, object]] = {
        "channels": (8, 8),
        "norm_groups": 4,
        "batch_size": 4,
        "iterations": 8,
        "warmup": 1,
        "steps": 2,
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
        },
        {
            "channels": (8, 16, 32),
            "iterations": 300,
            "warmup": 15,
            "learning_rate": 3e-3,
            "ema_decay": 0.99,
        },
    )

    def make_network(self) -> nn.Module:
        """Return a new velocity field."""
        return VelocityField(self.config)

    def exercise(
        self, source: Tensor, target: Tensor, uniform: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return states on the straight way from source to target with their times, and the velocity.

        Args:
            source: x_0, shape (batch, 1, rows, columns).
            target: x_1, same shape.
            uniform: random numbers in [0, 1), shape (batch,): the times, but for the share `at_start`.
        """
        start = self.config.at_start
        time = ((uniform - start) / max(1 - start, 1e-6)).clamp(min=0)
        state = torch.lerp(source, target, time[:, None, None, None])
        return (state, time), target - source

    def losses(self, prediction: Tensor, goal: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the velocity."""
        return {"loss": functional.mse_loss(prediction, goal)}

    def forward_passes(self) -> int:
        """Return the Euler steps."""
        return self.config.steps
