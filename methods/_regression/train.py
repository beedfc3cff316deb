"""How the network of a slice regression learns."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmbench.methods._regression.settings import RegressionSettings
from harmbench.slices import TrainingSlices, training_slices
from harmbench.storage import key_of
from harmbench.task import Pair, Task
from harmbench.training import (
    Batches,
    Precision,
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

__all__ = ["ORIENTATIONS", "Regression", "outputs", "train"]

ORIENTATIONS = ("sagittal", "coronal", "axial")
"""Names of the slices along axis 0, 1 and 2."""


class Regression(Protocol):
    """What the training loop asks of a method; `SliceRegression` documents each."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> RegressionSettings: ...
    def make_network(self) -> nn.Module: ...
    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer: ...
    def losses(self, prediction: Tensor, goal: Tensor) -> dict[str, Tensor]: ...
    def exercise(
        self, source: Tensor, target: Tensor, uniform: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]: ...
    def training_steps(self, slices: int) -> int: ...
    def learning_rate(self, step: int, steps: int) -> float: ...
    def decay(self, step: int) -> float | None: ...
    def complete(self, network: nn.Module, slices: TrainingSlices) -> None: ...


# Long: the training loop is visible from top to bottom.
def train(
    method: Regression, axis: int, pairs: Sequence[Pair], task: Task, team: Team
) -> tuple[nn.Module, tuple[int, int]]:
    """Train the network of one orientation.

    Args:
        method: gives the network, its optimizer, losses and schedule.
        axis: along which volumes are sliced.
        pairs: the training subjects.
        task: what the cell asks for.
        team: the processes that train together.

    Returns:
        The network, frozen and on the CPU, and rows and columns of the training slices.

    Raises:
        TrainingError: there is nothing to learn from, or the loss is not finite.
        VolumeError: source and target of a pair lie on different grids.
    """
    config, device = method.config, team.device
    slices = _slices(config, pairs, axis)
    batches = Batches(slices, device, config.slices_on)
    steps = method.training_steps(len(slices))
    order = batch_order(len(slices), config.batch_size, task.seed)
    with seeded(task.seed, "weights", axis):
        network = place(method.make_network(), device).train()
    networks = {"raw": network}
    if method.decay(1) is not None:
        networks["average"] = copy.deepcopy(network).requires_grad_(requires_grad=False)
    result = networks.get("average", network)
    optimizer = method.make_optimizer(network)
    several = task.folder is not None and len(config.orientations) > 1
    run = TrainingRun(
        task,
        team,
        config,
        stage=f"train {method.name} {ORIENTATIONS[axis]}",
        steps=steps,
        key=key_of(method.name, config.training_key, slices.key, task.seed),
        networks=networks,
        optimizers={"optimizer": optimizer},
        slices=slices,
        preview=lambda source: outputs(result, source, device, config.precision),
        folder=task.folder / ORIENTATIONS[axis] if task.folder and several else None,
    )
    predict = team.ready(network, compiled=config.compile)
    parts = team.parts(config.batch_size, config.accumulate)

    for step in run:
        chosen = order(step - 1)
        # For the whole batch, so that they do not depend on how it is shared out.
        random = random_generator(device, task.seed, "exercise", axis, step)
        uniform = torch.rand(len(chosen), generator=random, device=device)
        optimizer.param_groups[0]["lr"] = method.learning_rate(step, steps)
        optimizer.zero_grad(set_to_none=True)
        for part in parts:
            given, goal = method.exercise(*batches(chosen[part]), uniform[part])
            with team.adding_up(predict, last=part is parts[-1]):
                with autocast(device, config.precision):
                    prediction = predict(*given)
                losses = method.losses(prediction.float(), goal)
                torch.autograd.backward(losses["loss"] / len(parts))
            run.add(**losses)
        optimizer.step()
        decay = method.decay(step)
        if decay is not None:
            update_average(result, network, decay)

    method.complete(result, slices)
    return frozen(result).cpu(), slices.plane


def outputs(
    network: nn.Module, slices: NDArray[np.float32], device: torch.device, precision: Precision
) -> NDArray[np.float32]:
    """Return the network's output for slices, both of shape (batch, rows, columns)."""
    with evaluating(network), autocast(device, precision):
        output = network(torch.from_numpy(slices)[:, None].to(device))
    return np.asarray(output[:, 0].float().cpu().numpy())


def _slices(config: RegressionSettings, pairs: Sequence[Pair], axis: int) -> TrainingSlices:
    return training_slices(
        pairs,
        axis=axis,
        multiple=config.multiple,
        crop=config.crop == "auto",
        margin=config.margin,
        skip_empty=config.skip_empty_slices,
        at_least=(config.at_least, config.at_least),
    )
