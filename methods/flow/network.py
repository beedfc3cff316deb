"""The velocity field: a U-Net that is told the time."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from harmbench.methods._regression.unet import plain_unet
from harmbench.methods.flow.settings import FlowSettings

__all__ = ["VelocityField"]

_TIMESTEPS = 1000  # the time embedding of diffusion models is made for times from 0 to about 1000


class VelocityField(nn.Module):
    """The velocity of a slice on its way from source, at time 0, to target, at time 1.

    It is 0 before training, so that the untrained network leaves the source as it is.

    Args:
        config: width, levels and blocks, and the number of steps from source to target.
    """

    def __init__(self, config: FlowSettings) -> None:
        super().__init__()
        self.unet = plain_unet(config, starts_at_zero=True)
        self.steps = config.steps

    def forward(self, state: Tensor, time: Tensor | None = None) -> Tensor:
        """Return the velocity of slices, or without a time the target that sources arrive at.

        Args:
            state: slices on their way, or source slices, shape (batch, 1, rows, columns).
            time: from 0 to 1, shape (batch,).

        Returns:
            float32, shape of `state`.
        """
        if time is not None:
            return cast(Tensor, self.unet(state, _TIMESTEPS * time, return_dict=False)[0]).float()
        for step in range(self.steps):
            now = torch.full((len(state),), step / self.steps, device=state.device)
            state = state + self(state, now) / self.steps
        return state
