"""A training run: its steps, and what it leaves in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmbench.task import Task
from harmbench.training.checkpoints import Checkpoints
from harmbench.training.curve import LossLog, TrainingMeter
from harmbench.training.preview import Previews, Samples
from harmbench.training.settings import TrainingSettings
from harmbench.training.team import Team

__all__ = ["TrainingRun"]

_ADVICE = "try a lower learning_rate, or precision float32"


class TrainingRun:
    """Gives the steps that are left to do, and does after each what is due.

    ```
    for step in run:
        ...  # one step of every optimizer
        run.add(loss=loss)
    ```

    After a step it writes rows of the loss curve, checkpoints and pictures, and reports progress; at
    the end, what training took. A loss that is not finite raises a `TrainingError`.

    Args:
        task: its folder keeps the files (nothing is kept without one), its progress is told.
        team: the processes that train together.
        config: how often what is due.
        stage: what progress is called.
        steps: number of the last step.
        key: what the run is made from; only a checkpoint with the same key is resumed.
        networks, optimizers: what a checkpoint holds; restored in place.
        slices: the training slices, or other samples.
        preview: maps sources, shaped and scaled as in `slices`, to the output.
        shown: losses that progress tells; all of them by default.
        folder: where to keep files instead of the task's folder.
    """

    def __init__(
        self,
        task: Task,
        team: Team,
        config: TrainingSettings,
        *,
        stage: str,
        steps: int,
        key: str,
        networks: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        slices: Samples,
        preview: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        shown: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        self._folder = folder = folder or task.folder
        self._task, self._stage, self._config = task, stage, config
        self._team, self._steps, self._slices = team, steps, slices
        self._state = (networks, optimizers)
        self._preview, self._shown = preview, shown
        self._checkpoints = Checkpoints(
            None if folder is None else folder / "checkpoint.safetensors",
            key,
            config.checkpoint_minutes,
            config.checkpoint_every,
            config.log_every,
            team,
        )
        self._done = self._checkpoints.restore(*self._state)
        self._log = LossLog(folder, self._done, _ADVICE, team, tensorboard=config.tensorboard)
        self._previews = Previews(folder, slices, config.preview_minutes, team)
        self._step = self._done

    def __iter__(self) -> Iterator[int]:
        meter = TrainingMeter(self._config, self._team, self._done, self._steps)
        for step in range(self._done + 1, self._steps + 1):
            self._step = step
            meter.begin(step)
            yield step
            self._keep(step)
        meter.write(self._folder, len(self._slices), self._slices.plane)

    def add(self, **losses: Tensor) -> None:
        """Collect the scalar losses of this step, or of one part of its batch."""
        self._log.add(self._step, **losses)

    def _keep(self, step: int) -> None:
        row = step % self._config.log_every == 0
        keep = step == self._steps or self._checkpoints.due(step)
        if not keep and not row:
            return
        means = self._log.flush()  # stops here if a loss isn't finite, before it is kept
        if keep:
            self._checkpoints.save(step, *self._state)
        if self._previews.due():
            self._previews.draw(step, self._preview)
        told = {name: means[name] for name in self._shown or means}
        self._task.progress(self._stage, step, self._steps, **told)
