"""How the 3D network learns."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from harmbench.arrays import Single
from harmbench.methods.unet3d.network import Regressor3D
from harmbench.methods.unet3d.patches import TrainingPatches
from harmbench.methods.unet3d.settings import UNet3DSettings
from harmbench.storage import key_of
from harmbench.task import Pair, Task
from harmbench.training import (
    Precision,
    Team,
    TrainingRun,
    autocast,
    evaluating,
    frozen,
    random_generator,
    seeded,
    update_average,
)

__all__ = ["outputs", "train"]


def train(config: UNet3DSettings, pairs: Sequence[Pair], task: Task, team: Team) -> Regressor3D:
    """Train on random patches of the training subjects; returns the network, frozen, on the CPU."""
    device = team.device
    patches = TrainingPatches(pairs, config.patch)
    with seeded(task.seed, "weights"):
        network = Regressor3D(config).to(device).train()
    networks = {"raw": network}
    if config.ema_decay is not None:
        networks["average"] = copy.deepcopy(network).requires_grad_(requires_grad=False)
    result = networks.get("average", network)
    optimizer = config.make_optimizer(network)
    run = TrainingRun(
        task,
        team,
        config,
        stage="train unet3d",
        steps=config.iterations,
        key=key_of("unet3d", config.training_key, patches.key, task.seed),
        networks=networks,
        optimizers={"adam": optimizer},
        slices=patches,
        preview=lambda source: outputs(result, source, device, config.precision),
    )
    predict = team.ready(network, compiled=config.compile)
    error = functional.l1_loss if config.loss == "l1" else functional.mse_loss
    parts = team.parts(config.batch_size, config.accumulate)

    for step in run:
        # The whole batch, so that it does not depend on how it is shared out.
        random = random_generator(torch.device("cpu"), task.seed, "patches", step)
        batch = patches.draw(config.batch_size, random)
        optimizer.param_groups[0]["lr"] = config.learning_rate_at(step, config.iterations)
        optimizer.zero_grad(set_to_none=True)
        for part in parts:
            source, target = (patch[part].to(device) for patch in batch)
            with team.adding_up(predict, last=part is parts[-1]):
                with autocast(device, config.precision):
                    prediction = predict(source)
                loss = error(prediction, target)
                torch.autograd.backward(loss / len(parts))
            run.add(loss=loss)
        optimizer.step()
        decay = config.decay_at(step)
        if decay is not None:
            update_average(result, network, decay)

    return frozen(result).cpu()


def outputs(
    network: nn.Module, patches: Single, device: torch.device, precision: Precision
) -> Single:
    """Return the network's output for patches, both of shape (batch, x, y, z)."""
    with evaluating(network), autocast(device, precision):
        output = network(torch.from_numpy(patches)[:, None].to(device))
    return np.asarray(output[:, 0].float().cpu().numpy())
