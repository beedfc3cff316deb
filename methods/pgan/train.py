"""How generator and discriminator learn from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmbench.methods.pgan.losses import discriminator_loss, generator_loss
from harmbench.methods.pgan.networks import Discriminator, Generator
from harmbench.methods.pgan.perceptual import Features, load_features
from harmbench.methods.pgan.settings import PGANSettings
from harmbench.slices import round_up, training_slices
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
)

__all__ = ["learning_rate", "total_steps", "train"]

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
    steps = total_steps(config, len(slices))

    with seeded(task.seed, "weights"):
        generator = place(Generator(config), device)
        discriminator = place(Discriminator(config), device)
    to_make, to_judge = _adam(generator, config), _adam(discriminator, config)
    run = TrainingRun(
        task,
        team,
        config,
        stage="train pgan",
        steps=steps,
        key=key_of(config.training_key, features_key, slices.key, task.seed),
        networks={"generator": generator, "discriminator": discriminator},
        optimizers={"generator": to_make, "discriminator": to_judge},
        slices=slices,
        preview=lambda source: _preview(generator, source, config, device),
        shown=_SHOWN,
    )
    game = _Game(config, task.seed, team, batches, generator, discriminator, features)
    for step in run:
        chosen = order(step - 1)
        seen = (step - 1) * config.batch_size // len(slices)
        epoch = seen if config.iterations is None else (step - 1) * epochs // steps
        rate = learning_rate(config, epoch)
        _begin(to_judge, rate)
        judged = game.judge(chosen, step, to_judge)
        to_judge.step()
        _begin(to_make, rate)
        for part in game.make(chosen, step, to_make, judged):
            run.add(**part)
        to_make.step()

    return frozen(generator).cpu(), slices.plane, features_key


class _Game:
    """One training step of both networks.

    As in the released code, slices are made once: the discriminator learns from them, and then
    judges the same slices for the generator. Where a batch has several parts, each is made a second
    time, with the same dropout, so that one part is in memory at a time.
    """

    def __init__(
        self,
        config: PGANSettings,
        seed: int,
        team: Team,
        batches: Batches,
        generator: Generator,
        discriminator: Discriminator,
        features: Features | None,
    ) -> None:
        self.config, self.seed, self.team, self.batches = config, seed, team, batches
        self.discriminator, self.features = discriminator, features
        self.making = team.ready(generator, compiled=config.compile)
        self.judging = team.ready(discriminator, compiled=config.compile)
        self.parts = team.parts(config.batch_size, config.accumulate)

    def made(self, source: Tensor, step: int, part: slice) -> Tensor:
        dropout = random_generator(self.team.device, self.seed, "dropout", step, part.start)
        return cast(Tensor, self.making(source, [dropout]))

    def judge(
        self, chosen: NDArray[np.int64], step: int, optimizer: torch.optim.Optimizer
    ) -> list[_Judged]:
        """Add up the discriminator's gradients over the parts of a batch."""
        judged = []
        for part in self.parts:
            source, target = self.batches(chosen[part])
            with self.team.adding_up(self.judging, last=part is self.parts[-1]):
                with autocast(self.team.device, self.config.precision):
                    with torch.set_grad_enabled(len(self.parts) == 1):
                        made = self.made(source, step, part)
                    images = torch.cat((target, made.detach()))
                    answers = self.judging(torch.cat((source, source)), images)
                    on_real, on_made = answers.chunk(2)
                losses = discriminator_loss(self.config, on_real, on_made)
                _add_gradients(optimizer, losses["discriminator"] / len(self.parts))
            kept = (source, target, made) if len(self.parts) == 1 else None
            judged.append(_Judged(part, losses, kept))
        return judged

    def make(
        self,
        chosen: NDArray[np.int64],
        step: int,
        optimizer: torch.optim.Optimizer,
        judged: Sequence[_Judged],
    ) -> Iterator[dict[str, Tensor]]:
        """Add up the generator's gradients; gives all losses of each part."""
        for one in judged:
            with self.team.adding_up(self.making, last=one is judged[-1]):
                with autocast(self.team.device, self.config.precision):
                    if one.kept is None:
                        source, target = self.batches(chosen[one.part])
                        made = self.made(source, step, one.part)
                    else:
                        source, target, made = one.kept
                    # Not `judging`: its processes would wait for gradients that are not wanted.
                    on_made = self.discriminator(source, made)
                    losses = generator_loss(self.config, on_made, made, target, self.features)
                _add_gradients(optimizer, losses["generator"] / len(judged))
            yield {**losses, **one.losses}


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A part of a batch after the discriminator's turn.

    `kept` are source, target and made slices, where the generator's turn needs no others.
    """

    part: slice
    losses: dict[str, Tensor]
    kept: tuple[Tensor, Tensor, Tensor] | None


def _preview(
    network: nn.Module, source: NDArray[np.float32], config: PGANSettings, device: torch.device
) -> NDArray[np.float32]:
    with evaluating(network), autocast(device, config.precision):
        made = network(torch.from_numpy(source)[:, None].to(device) * 2 - 1)
    return np.asarray(((made[:, 0] + 1) / 2).cpu().numpy())


def total_steps(config: PGANSettings, slices: int) -> int:
    """Return `iterations`, or the steps in which each of so many slices is seen once per epoch."""
    seen = (config.epochs + config.decay_epochs) * slices
    return config.iterations or round_up(seen, config.batch_size) // config.batch_size


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
