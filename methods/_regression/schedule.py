"""AdamW with a warm-up, a falling learning rate and averaged weights: settings, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import ConfigDict, Field, model_validator
from torch import nn
from typing_extensions import Self

from harmbench.training import TrainingSettings

__all__ = ["ScheduleSettings", "half_cosine"]


def half_cosine(highest: float, step: int, steps: int) -> float:
    """Return the learning rate of `step`, from 1 to `steps`, on half a cosine from `highest` to 0."""
    return 0.5 * highest * (1 + math.cos(math.pi * (step - 1) / steps))


class ScheduleSettings(TrainingSettings):
    """Settings of AdamW with a warm-up, a falling learning rate and averaged weights."""

    model_config = ConfigDict(use_attribute_docstrings=True)

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
    def _warmup_ends(self) -> Self:
        if self.warmup >= self.iterations:
            raise ValueError(f"warmup ({self.warmup}) must be below iterations ({self.iterations})")
        return self

    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW for a network."""
        return torch.optim.AdamW(
            network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return the settings of a training of `steps` steps, with at most a twentieth for the warm-up."""
        return {"iterations": steps, "warmup": min(self.warmup, steps // 20)}

    def learning_rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`, from 1 to `steps`."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        if self.learning_rate_schedule == "constant":
            return self.learning_rate
        return half_cosine(self.learning_rate, step - self.warmup, steps - self.warmup)

    def decay_at(self, step: int) -> float | None:
        """Return the decay of the weights' average at `step`, from 1: short trainings forget their start."""
        return None if self.ema_decay is None else min(self.ema_decay, (1 + step) / (10 + step))
