"""The loss curve, and what training took."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmbench.errors import MethodError, TrainingError
from harmbench.storage import write_json, write_text
from harmbench.training.networks import resolve_precision
from harmbench.training.settings import TrainingSettings
from harmbench.training.team import Team

__all__ = ["LossLog", "TrainingMeter"]


class LossLog:
    """The loss curve: a CSV of means over the steps since the row before.

    Losses are collected on the device, so that a GPU isn't kept waiting, and checked in `flush`. A
    step may add several rows, one for each part of its batch.

    Args:
        folder: where `loss.csv` goes; `None` keeps nothing on disk.
        start: the step that training resumes from; rows beyond it are removed from the file.
        advice: what to try when the loss isn't finite, for the error.
        team: the processes that train together; the first one writes.
        tensorboard: whether to write event files into `folder`/tensorboard as well.

    Raises:
        MethodError: `tensorboard` is wanted but not installed.
    """

    def __init__(
        self,
        folder: Path | None,
        start: int,
        advice: str,
        team: Team | None = None,
        *,
        tensorboard: bool = False,
    ) -> None:
        self._team = team or Team()
        keeps = folder is not None and self._team.first
        self._path = folder / "loss.csv" if folder is not None and keeps else None
        self._advice = advice
        self._steps: list[int] = []
        self._losses: list[dict[str, Tensor]] = []
        self._board = (
            _board(folder / "tensorboard", start) if folder and keeps and tensorboard else None
        )
        if self._path is not None:
            write_text(self._path, "".join(_rows_until(self._path, start)) if start else "")

    def add(self, step: int, **losses: Tensor) -> None:
        """Collect the scalar losses of one step."""
        self._steps.append(step)
        self._losses.append({name: loss.detach() for name, loss in losses.items()})

    def flush(self) -> dict[str, float]:
        """Write a row for the steps since the last call and return their mean losses.

        Raises:
            TrainingError: a loss is NaN or infinite; names the first such step.
        """
        if not self._steps:
            return {}
        names = list(self._losses[0])
        values = torch.stack([torch.stack([row[n] for n in names]) for row in self._losses])
        # Their mean over processes, so that all of them stop at a loss that is not finite.
        values = self._team.mean(values.double()).cpu()
        good = torch.isfinite(values).all(dim=1)
        if not good.all():
            step = self._steps[int(good.int().argmin())]
            raise TrainingError(f"the loss is not finite at step {step}; {self._advice}")
        means = dict(zip(names, values.mean(dim=0).tolist(), strict=True))
        if self._path is not None:
            header = self._path.stat().st_size == 0
            with self._path.open("a", encoding="utf-8", newline="") as file:
                rows = csv.writer(file, lineterminator="\n")
                if header:
                    rows.writerow(["step", *names])
                rows.writerow([self._steps[-1], *(f"{mean:.9g}" for mean in means.values())])
        if self._board is not None:
            for name, mean in means.items():
                self._board.add_scalar(name, mean, self._steps[-1])
            self._board.flush()
        self._steps, self._losses = [], []
        return means


def _rows_until(path: Path, step: int) -> Iterator[str]:
    """Header and complete rows of a loss curve up to `step`."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for number, line in enumerate(io.StringIO(text)):
        first = line.split(",")[0]
        if line.endswith("\n") and (number == 0 or (first.isdigit() and int(first) <= step)):
            yield line


def _board(folder: Path, start: int) -> Any:
    """A writer of event files; a run that resumes after `start` hides what was written beyond."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MethodError(
            "tensorboard: the package is not installed; pip install 'harmbench[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)


class TrainingMeter:
    """What a training takes: time per step, images per second and peak memory of the device.

    The first tenth of the steps, at most 20, is left out of the times: it warms up.

    Args:
        config: batch size, precision and what else has an influence.
        team: the processes that train together.
        done, steps: the step that training resumes from, and its last one.
    """

    def __init__(self, config: TrainingSettings, team: Team, done: int, steps: int) -> None:
        self._config, self._team, self._steps = config, team, steps
        self._first = done + min(20, (steps - done) // 10)
        self._done = done
        self._start = time.perf_counter()
        if team.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(team.device)

    def begin(self, step: int) -> None:
        """Tell that `step`, from 1, begins."""
        if step == self._first + 1:
            self._synchronize()
            self._start = time.perf_counter()

    def write(self, folder: Path | None, images: int, plane: tuple[int, int]) -> None:
        """Write `training.json` into `folder`.

        Args:
            folder: where it goes; `None` writes nothing.
            images: number of training slices.
            plane: rows and columns of a slice.
        """
        self._synchronize()
        seconds = time.perf_counter() - self._start
        if folder is None or not self._team.first:
            return
        values = self._values(seconds, self._steps - self._first)
        write_json(folder / "training.json", {**values, "training_slices": images, "plane": plane})

    def _values(self, seconds: float, steps: int) -> Mapping[str, object]:
        device, config = self._team.device, self._config
        on_gpu = device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
        return {
            "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
            "devices": self._team.size,
            "threads": torch.get_num_threads(),
            "precision": resolve_precision(device, config.precision),
            "compile": config.compile,
            "batch_size": config.batch_size,
            "accumulate": config.accumulate,
            "steps": self._steps,
            "steps_before_resuming": self._done,
            "ms_per_step": 1000 * seconds / steps if steps > 0 else None,
            "images_per_s": steps * config.batch_size / seconds if steps > 0 else None,
            "peak_device_memory_mb": peak,
        }

    def _synchronize(self) -> None:
        if self._team.device.type == "cuda":
            torch.cuda.synchronize(self._team.device)
