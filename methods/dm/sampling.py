"""From noise to a slice: the samplers of diffusers, given the network's idea of the clean image.

Whatever the network predicts is turned into the image x_0, clipped if asked for, and handed to a
scheduler that works with images. So clipping means the same for every sampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn

from harmbench.methods.dm.diffusion import Chain
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.training import autocast

__all__ = ["make_scheduler", "sample", "sampling_timesteps"]


def make_scheduler(config: DiffusionSettings) -> Any:
    """Return the diffusers scheduler that `config` names, with its timesteps set."""
    first, last = config.betas
    common = {
        "num_train_timesteps": config.timesteps,
        "beta_start": first,
        "beta_end": last,
        "beta_schedule": "linear",
        "prediction_type": "sample",
        "timestep_spacing": config.timestep_spacing,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
    }
    variance = "learned_range" if config.learned_variance else "fixed_small"
    with warnings.catch_warnings():  # diffusers 0.35 to 0.42 call NumPy in a deprecated way
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler: Any
        if config.sampler == "ddpm":
            scheduler = DDPMScheduler(**common, variance_type=variance, clip_sample=False)
        elif config.sampler == "unipc":
            scheduler = UniPCMultistepScheduler(**common)
        else:
            # DDIM is DPM-Solver++ of first order (Lu et al. 2022, Sec. 4.1). DDIMScheduler steps by a
            # fixed stride and misses its own timesteps where T isn't a multiple of the steps.
            order = 1 if config.sampler == "ddim" else 2
            scheduler = DPMSolverMultistepScheduler(**common, solver_order=order)
        scheduler.set_timesteps(config.sampling_steps)
    return scheduler


def sampling_timesteps(config: DiffusionSettings) -> list[int]:
    """Return the timesteps that the sampler visits, in its order."""
    return [int(t) for t in make_scheduler(config).timesteps]


@torch.no_grad()
def sample(
    network: nn.Module,
    source: Tensor,
    config: DiffusionSettings,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Denoise from pure noise, conditioned on source slices.

    Args:
        network: gives (prediction, position of the log-variance or None) for (noisy, source, t).
        source: shape (batch, 1, rows, columns), in [-1, 1].
        config: which sampler, how many steps, what the network predicts.
        generators: one per slice and on the device of `source`, so that a slice's noise doesn't
            depend on its neighbours in the batch.

    Returns:
        Slices in the target contrast, about in [-1, 1], float32, shape of `source`.
    """
    scheduler = make_scheduler(config)
    chain = Chain.from_settings(config, source.device)
    shape = source.shape[1:]
    x = torch.stack([torch.randn(shape, generator=g, device=source.device) for g in generators])
    for t in scheduler.timesteps.tolist():
        index = torch.full((len(x),), t, device=source.device)
        with autocast(source.device, config.precision):
            output, position = network(x, source, index)
        image = chain.image(output, x, index, config.prediction)
        if config.clip_x0:
            image = image.clamp(-1, 1)
        if config.sampler == "ddpm":
            if position is not None:
                image = torch.cat((image, position), dim=1)
            step = scheduler.step(image, t, x, generator=list(generators))
            # The last step adds no noise (Ho et al. 2020, Algorithm 2); diffusers leaves it out at
            # t = 0 only, where a shortened chain need not end.
            last = t == int(scheduler.timesteps[-1])
            x = step.pred_original_sample if last else step.prev_sample
        else:
            x = scheduler.step(image, t, x).prev_sample
    return x
