"""How the denoising network learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harmbench.methods.dm.diffusion import Chain, diffusion_loss
from harmbench.methods.dm.network import Denoiser
from harmbench.methods.dm.sampling import sample, sampling_timesteps
from harmbench.methods.dm.settings import DiffusionSettings
from harmbench.slices import training_slices
from harmbench.storage import key_of
from harmbench.task import Pair, Task
from harmbench.training import (
    Batches,
    Team,
    TrainingRun,
    autocast,
    batch_order,
    evaluating,
    frozen,
    place,
    random_generator,
    seeded,
    update_average,
)

__all__ = ["train"]

_PREVIEW_STEPS = 20


# Long: the training loop is visible from top to bottom.
def train(
    config: DiffusionSettings, pairs: Sequence[Pair], task: Task, team: Team
) -> tuple[Denoiser, tuple[int, int]]:
    """Train on all slices of the training subjects.

    Returns:
        The network with the weights that sampling uses, and rows and columns of the slices.
    """
    device = team.device
    slices = training_slices(
        pairs,
        axis=config.axis,
        multiple=config.multiple,
        crop=config.crop == "auto",
        margin=config.margin,
        skip_empty=config.skip_empty_slices,
    )
    batches = Batches(slices, device, config.slices_on, signed=True)
    order = batch_order(len(slices), config.batch_size, task.seed)
    visited = sampling_timesteps(config) if config.train_timesteps == "sampling" else None
    chain = Chain.from_settings(config, device, visited)

    with seeded(task.seed, "weights"):
        network = place(Denoiser(config), device).train()
    average = copy.deepcopy(network).requires_grad_(requires_grad=False)
    result = average if config.use_ema else network
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    run = TrainingRun(
        task,
        team,
        config,
        stage="train dm",
        steps=config.iterations,
        key=key_of(config.training_key, slices.key, task.seed),
        networks={"raw": network, "average": average},
        optimizers={"adam": optimizer},
        slices=slices,
        preview=lambda source: _preview(result, source, config, device),
    )
    denoise = team.ready(network, compiled=config.compile)
    parts = team.parts(config.batch_size, config.accumulate)

    for step in run:
        # The numbers of the whole batch, so that they don't depend on how it is shared out.
        chosen = order(step - 1)
        generator = random_generator(device, task.seed, "noise", step)
        steps = torch.randint(len(chain), (len(chosen),), generator=generator, device=device)
        shape = (len(chosen), 1, *slices.plane)
        noises = torch.randn(shape, generator=generator, device=device)

        optimizer.param_groups[0]["lr"] = _learning_rate(config, step)
        optimizer.zero_grad(set_to_none=True)
        for part in parts:
            source, image = batches(chosen[part])
            index, noise = steps[part], noises[part]
            noisy = chain.add_noise(image, noise, index)
            with team.adding_up(denoise, last=part is parts[-1]):
                with autocast(device, config.precision):
                    answer = denoise(noisy, source, chain.timesteps[index])
                losses = diffusion_loss(chain, config, image, noise, index, answer)
                torch.autograd.backward(losses["loss"] / len(parts))
            run.add(**losses)
        optimizer.step()
        update_average(average, network, _decay(config, step))

    return frozen(result).cpu(), slices.plane


def _preview(
    network: nn.Module,
    source: NDArray[np.float32],
    config: DiffusionSettings,
    device: torch.device,
) -> NDArray[np.float32]:
    """Sample slices in few steps, whichever sampler the settings name."""
    quick = config
    if config.sampling_steps > _PREVIEW_STEPS:
        quick = config.model_copy(update={"sampler": "ddim", "sampling_steps": _PREVIEW_STEPS})
    generators = [random_generator(device, "preview", number) for number in range(len(source))]
    with evaluating(network):
        condition = torch.from_numpy(source)[:, None].to(device) * 2 - 1
        made = sample(network, condition, quick, generators)
    return np.asarray(((made[:, 0] + 1) / 2).clamp(0, 1).cpu().numpy())


def _learning_rate(config: DiffusionSettings, step: int) -> float:
    """Learning rate of `step`, from 1."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return 0.5 * config.learning_rate * (1 + math.cos(math.pi * (step - 1) / config.iterations))


def _decay(config: DiffusionSettings, step: int) -> float:
    """Decay of the weights' average at `step`, from 1."""
    return (
        min(config.ema_decay, (1 + step) / (10 + step)) if config.ema_warmup else config.ema_decay
    )
