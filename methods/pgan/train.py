"""How generator and discriminator learn from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmbench.method import Pair, Task
from harmbench.methods.pgan.losses import discriminator_loss, generator_loss
from harmbench.methods.pgan.networks import Discriminator, Generator
from harmbench.methods.pgan.perceptual import load_features
from harmbench.methods.pgan.settings import PGANSettings
from harmbench.slices import round_up, training_slices
from harmbench.storage import key_of
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
)

__all__ = ["learning_rate", "train"]

_SHOWN = ("generator", "discriminator", "l1")  # losses told as progress; the curve has them all


def train(
    config: PGANSettings, pairs: Sequence[Pair], task: Task, team: Team
) -> tuple[Generator, tuple[int, int], str]:
    """Train generator and discriminator in turn on all slices of the training subjects.

    Returns:
        The generator, rows and columns of the slices, and the key of the perceptual loss's features.
    """
    device = team.device
    features = load_features(config)
    if features is not None:
        place(features, device)
    features_key = "" if features is None else features.key
    slices = training_slices(
        pairs,
        axis=config.axis,
        multiple=config.multiple,
        crop=config.crop == "auto",
        margin=config.margin,
        skip_empty=config.skip_empty_slices,
        at_least=config.at_least,
    )
    batches = Batches(slices, device, config.slices_on, signed=True)
    order = batch_order(len(slices), config.batch_size, task.seed)
    epochs = config.epochs + config.decay_epochs

    with seeded(task.seed, "weights"):
        generator = place(Generator(config), device)
        discriminator = place(Discriminator(config), device)
    to_make, to_judge = _adam(generator, config), _adam(discriminator, config)
    run = TrainingRun(
        task,
        team,
        config,
        stage="train pgan",
        steps=round_up(epochs * len(slices), config.batch_size) // config.batch_size,
        key=key_of(config.training_key, features_key, slices.key, task.seed),
        networks={"generator": generator, "discriminator": discriminator},
        optimizers={"generator": to_make, "discriminator": to_judge},
        slices=slices,
        preview=lambda source: _preview(generator, source, config, device),
        shown=_SHOWN,
    )
    make = team.ready(generator, compiled=config.compile)
    judge = team.ready(discriminator, compiled=config.compile)
    parts = team.parts(config.batch_size, config.accumulate)

    def made_of(source: Tensor, step: int, part: slice) -> Tensor:
        dropout = random_generator(device, task.seed, "dropout", step, part.start)
        return cast(Tensor, make(source, [dropout]))

    for step in run:
        chosen = order(step - 1)
        rate = learning_rate(config, (step - 1) * config.batch_size // len(slices))

        # As in the released code: slices are made once; the discriminator learns from them, and
        # then judges the same slices for the generator. Where a batch has several parts, each is
        # made a second time, with the same dropout, so that one part is in memory at a time.
        judged = []
        _begin(to_judge, rate)
        for part in parts:
            source, target = batches(chosen[part])
            with team.adding_up(judge, last=part is parts[-1]):
                with autocast(device, config.precision):
                    with torch.set_grad_enabled(len(parts) == 1):
                        made = made_of(source, step, part)
                    images = torch.cat((target, made.detach()))
                    on_real, on_made = judge(torch.cat((source, source)), images).chunk(2)
                judged.append(discriminator_loss(config, on_real, on_made))
                _add_gradients(to_judge, judged[-1]["discriminator"] / len(parts))
        to_judge.step()

        _begin(to_make, rate)
        for part, losses_of_judge in zip(parts, judged, strict=True):
            with team.adding_up(make, last=part is parts[-1]):
                with autocast(device, config.precision):
                    if len(parts) > 1:
                        source, target = batches(chosen[part])
                        made = made_of(source, step, part)
                    # Not `judge`: its processes would wait for gradients that are not wanted.
                    on_made = discriminator(source, made)
                    losses = generator_loss(config, on_made, made, target, features)
                _add_gradients(to_make, losses["generator"] / len(parts))
            run.add(**losses, **losses_of_judge)
        to_make.step()

    return frozen(generator).cpu(), slices.plane, features_key


def _preview(
    network: nn.Module, source: NDArray[np.float32], config: PGANSettings, device: torch.device
) -> NDArray[np.float32]:
    with evaluating(network), autocast(device, config.precision):
        made = network(torch.from_numpy(source)[:, None].to(device) * 2 - 1)
    return np.asarray(((made[:, 0] + 1) / 2).cpu().numpy())


def learning_rate(config: PGANSettings, epoch: int) -> float:
    """Return the learning rate of `epoch`, from 0.

    After `epochs` at the first rate it falls by equal amounts, so that it would be 0 in the epoch
    after the last. The released code begins to fall one epoch early, and its last epoch learns
    nothing: so with `faithful`.
    """
    begun = epoch + 1 - config.epochs + (1 if config.faithful else 0)
    return config.learning_rate * (1 - max(0, begun) / (config.decay_epochs + 1))


def _adam(network: nn.Module, config: PGANSettings) -> torch.optim.Adam:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def _begin(optimizer: torch.optim.Optimizer, rate: float) -> None:
    optimizer.param_groups[0]["lr"] = rate
    optimizer.zero_grad(set_to_none=True)


def _add_gradients(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Add the gradients of the optimizer's own network alone."""
    torch.autograd.backward(loss, inputs=optimizer.param_groups[0]["params"])
