"""Slice regression as a method: fit, harmonize, save, load."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from typing_extensions import Self, TypeVar

from harmbench.arrays import foreground, outside_unit_range
from harmbench.method import Method
from harmbench.methods._regression.schedule import half_cosine
from harmbench.methods._regression.settings import RegressionSettings
from harmbench.methods._regression.train import ORIENTATIONS, outputs, train
from harmbench.slices import TrainingSlices, map_slices
from harmbench.storage import write_json
from harmbench.task import Pair, Task
from harmbench.training import (
    check_same_network,
    fitted,
    frozen,
    load_weights,
    parameter_count,
    place,
    resolve_device,
    save_weights,
    saved_values,
    together,
)
from harmbench.volume import Step, Volume

__all__ = ["SliceRegression"]

RegressionT_co = TypeVar(
    "RegressionT_co", bound=RegressionSettings, covariant=True, default=RegressionSettings
)

_log = logging.getLogger(__name__)


class _SavedValues(BaseModel):
    """What is saved beside the weights: settings, planes by orientation, learned numbers."""

    model_config = ConfigDict(frozen=True)

    settings: Mapping[str, object]
    planes: Mapping[str, tuple[int, int]]
    learned: Mapping[str, float]


class SliceRegression(Method[RegressionT_co]):
    """A method that trains one network per orientation to map source slices to target slices.

    A subclass gives `name`, `make_network`, `make_optimizer`, `losses` and `training_steps`; the other public
    methods have defaults that it may replace.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[RegressionSettings]] = RegressionSettings
    name: ClassVar[str]
    """What the method is called in progress, history and errors."""

    def __init__(self, config: RegressionT_co | None = None) -> None:
        super().__init__(config)
        self.learned: dict[str, float] = {}
        """Numbers that are learned beside the weights; saved and loaded with them."""
        self._networks: dict[int, nn.Module] = {}  # by axis
        self._planes: dict[int, tuple[int, int]] = {}  # rows and columns of the training slices

    @abstractmethod
    def make_network(self) -> nn.Module:
        """Return a new network: (batch, 1, rows, columns) to the same shape."""

    @abstractmethod
    def make_optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of a network."""

    @abstractmethod
    def losses(self, prediction: Tensor, goal: Tensor) -> dict[str, Tensor]:
        """Return the scalar `loss` to minimise and, for the log, its parts.

        Both arguments are float32, shape (batch, 1, rows, columns).
        """

    def exercise(
        self, source: Tensor, target: Tensor, uniform: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return what the network is given in a training step, and what it should answer.

        Here these are the source and the target slices.

        Args:
            source: float32, shape (batch, 1, rows, columns).
            target: same shape.
            uniform: random numbers in [0, 1), one for each slice, shape (batch,).
        """
        return (source,), target

    @abstractmethod
    def training_steps(self, slices: int) -> int:
        """Return the steps in which each network is trained on so many slices."""

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step`, from 1 to `steps`: constant, or half a cosine."""
        highest = self.config.learning_rate
        if self.config.learning_rate_schedule == "constant":
            return highest
        return half_cosine(highest, step, steps)

    def decay(self, step: int) -> float | None:
        """Return the decay of the weights' running average at `step`, from 1; `None`: no average."""
        return None

    def complete(self, network: nn.Module, slices: TrainingSlices) -> None:
        """Do in place what is left to do on a trained network."""

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Train a network for each orientation; `pairs` is gone through once for each.

        Raises:
            TrainingError: there is nothing to learn from, or the loss is not finite.
            MethodError: the device is not there.
            VolumeError: source and target of a pair lie on different grids.
        """
        networks, planes = {}, {}
        for axis in self.config.orientations:
            work = partial(train, self, axis, pairs)
            networks[axis], planes[axis] = together(work, task, self.config)
        self._networks, self._planes, self.learned = networks, planes, {}

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Predict every slice of `source` in the target contrast and stack them.

        Values are clipped to [0, 1]; the share of brain voxels for which that was needed stands in
        the history as `clipped`. Voxels outside the source's brain are 0.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        brain = foreground(source.data)
        return self.finish(source, brain, self.predict(source.data, brain, task))

    def predict(
        self, data: NDArray[np.float32], brain: NDArray[np.bool_], task: Task
    ) -> NDArray[np.float32]:
        """Return the median over orientations of the networks' output, neither clipped nor masked.

        Args:
            data: source intensities as the network is to see them, shape (x, y, z).
            brain: where the brain is, same shape.
            task: its device and progress are used.

        Raises:
            MethodError: the method was not fitted, or the device is not there.
        """
        config, device = self.config, resolve_device(task.device)

        def along(axis: int, network: nn.Module) -> NDArray[np.float32]:
            network = place(network, device)
            forward = cast(nn.Module, torch.compile(network)) if config.compile else network
            stage = f"harmonize {self.name} {ORIENTATIONS[axis]}"
            return map_slices(
                lambda slices, _: outputs(forward, slices, device, config.precision),
                data,
                brain,
                axis=axis,
                multiple=config.multiple,
                crop=config.crop == "auto",
                skip_empty=config.skip_empty_slices,
                # At least as large as in training: the share of background shifts statistics.
                at_least=self._planes[axis],
                batch_size=config.prediction_batch,
                progress=lambda done, total: task.progress(stage, done, total),
            )

        networks = fitted(self._networks or None, self.name)
        results = [along(axis, network) for axis, network in networks.items()]
        return results[0] if len(results) == 1 else np.asarray(np.median(results, axis=0))

    def finish(
        self,
        source: Volume,
        brain: NDArray[np.bool_],
        data: NDArray[np.float32],
        **parameters: object,
    ) -> Volume:
        """Return `data` on the grid of `source`, clipped to [0, 1] in the brain and 0 outside of it.

        `parameters` go into the history, beside the orientations and the clipped share of the brain.
        """
        outside = outside_unit_range(data)
        clipped = np.count_nonzero(outside & brain) / max(1, np.count_nonzero(brain))
        if clipped:
            _log.info("%s: %.3g %% of brain voxels were outside [0, 1]", self.name, 100 * clipped)
        step = {"orientations": self.config.orientations, "clipped": clipped, **parameters}
        inside = np.where(brain, np.clip(data, 0, 1), 0).astype(np.float32)
        return source.with_data(inside, Step(self.name, step))

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors) and the settings (JSON).

        Raises:
            MethodError: the method was not fitted.
        """
        save_weights(
            _named(fitted(self._networks or None, self.name)), folder / "model.safetensors"
        )
        planes = {ORIENTATIONS[axis]: plane for axis, plane in self._planes.items()}
        values = {"settings": self.config.model_dump(), "planes": planes, "learned": self.learned}
        write_json(folder / "model.json", values)

    @classmethod
    def load(cls, folder: Path, config: RegressionT_co | None = None) -> Self:
        """Read what `save` wrote. `config` may differ in what the weights do not depend on.

        Raises:
            MethodError: files are missing or damaged, or `config` describes another network.
        """
        with saved_values(folder / "model.json", cls.name, _SavedValues) as values:
            # A ClassVar cannot name the type variable.
            saved = cast(RegressionT_co, cls.Config.model_validate(values.settings))
            planes = {axis: values.planes[ORIENTATIONS[axis]] for axis in saved.orientations}
        fields = ", ".join(saved.network_fields)
        check_same_network(folder, saved, config, f"the network ({fields})")
        method = cls(config or saved)
        networks = {axis: method.make_network() for axis in planes}
        load_weights(_named(networks), folder / "model.safetensors")
        method._networks = {axis: frozen(network) for axis, network in networks.items()}
        method._planes, method.learned = planes, dict(values.learned)
        return method

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of each orientation's network."""
        with torch.device("meta"):
            count = parameter_count(self.make_network())
        if len(self.config.orientations) == 1:
            return {"network": count}
        return {f"{ORIENTATIONS[axis]} network": count for axis in self.config.orientations}


def _named(networks: Mapping[int, nn.Module]) -> nn.ModuleDict:
    return nn.ModuleDict({ORIENTATIONS[axis]: network for axis, network in networks.items()})
