"""What a method costs on this machine: a few steps of its real training, on real scans.

Trials run in a process of their own: what they allocate does not show in the memory of the run, a
crash costs an estimate and no more, and one that takes too long is stopped.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from pydantic import BaseModel
from rich.console import Console

from harmbench.discovery import load_method, make_settings
from harmbench.errors import HarmbenchError, MethodError
from harmbench.executors import Died, LocalExecutor
from harmbench.method import Method
from harmbench.planning.plan import Cost
from harmbench.plugins import Reference
from harmbench.progress import Display
from harmbench.storage import read_json
from harmbench.task import Direction, Pair, Progress, Task
from harmbench.volume import Volume

__all__ = ["Measure", "Trial", "measure", "measure_apart", "rough", "rough_apart"]

_PAIRS = 2
_FIRST_STEPS = 3
_MOST_STEPS = 60
_AIM_S = 4.0
"""Seconds of steps that a trial measures, where steps are not longer than that."""
_AIM_SHARE = 0.02
"""Share of the trainings' own time that a trial measures, where that is shorter."""
_LONGEST_S = 150.0
_HARMONIZE_MEASURED_BELOW_S = 20.0
_FORWARD_SHARE = 1 / 3
"""Cost of a forward pass in that of a training step: the backward pass costs about twice as much."""
_ROUGH_EXTENT = 48
_ROUGH_STEPS = 3
_ROUGH_STEP_S = 4.0
_ROUGH_LONGEST_S = 90.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A training to measure.

    Attributes:
        uses: which method.
        label: its name in the configuration.
        settings: its settings.
        pairs: training pairs; the first two are used.
        direction: that of the pairs.
        device: torch device name.
        jobs: cells that run at the same time.
        zoom: how much finer the scans are that the estimate is for.
        trainings: number of trainings that the estimate is for; 0 where that is not known.
        train_pairs: training pairs of each.
    """

    uses: Reference
    label: str
    settings: Mapping[str, object]
    pairs: Sequence[Pair]
    direction: Direction
    device: str
    jobs: int = 1
    zoom: float = 1.0
    trainings: int = 0
    train_pairs: int = 0


Measure = Callable[[Trial], Cost]


def measure_apart(trial: Trial, executor: LocalExecutor | None = None) -> Cost:
    """Return what `measure` finds, called in a process of its own.

    Args:
        trial: what is measured.
        executor: that of the run, whose server starts the process; a new one's where `None`.

    Raises:
        MethodError: the process died, took too long, or the method failed.
        HarmbenchError: the method cannot be trained with these settings.
    """
    return _apart(measure, trial, _LONGEST_S, executor)


def rough_apart(trial: Trial, executor: LocalExecutor | None = None) -> Cost:
    """Return what `rough` finds, called in a process of its own; raises as `measure_apart` does."""
    return _apart(rough, trial, _ROUGH_LONGEST_S, executor)


def _apart(
    work: Measure, trial: Trial, longest_s: float, executor: LocalExecutor | None = None
) -> Cost:
    # As many at once as cells will run, so that they share what cells will share.
    count = min(trial.jobs, os.cpu_count() or 1) if trial.device == "cpu" else 1
    own = (executor or LocalExecutor()).beside(count, longest_s)
    costs: list[Cost] = []
    try:
        with Display("trials", count, Console(quiet=True)) as display:
            for _, result in own.run(partial(_tried, work), [trial] * count, display):
                if isinstance(result, Died):
                    late = f"a trial took longer than {longest_s:.0f} s"
                    raise MethodError(late if result.late else f"a trial failed: {result.reason}")
                costs.append(result)
    except HarmbenchError:
        raise
    except (Exception, SystemExit) as error:
        # The method's cells will fail with the full traceback.
        raise MethodError(f"a trial failed with {type(error).__name__}: {error}") from error
    return _mean(costs)


def _tried(work: Measure, trial: Trial, _progress: Progress) -> Cost:
    return work(trial)


def _mean(costs: Sequence[Cost]) -> Cost:
    names = ("step_s", "pair_s", "harmonize_s")
    means = {name: sum(getattr(cost, name) for cost in costs) / len(costs) for name in names}
    return costs[0].model_copy(update=means)


def measure(trial: Trial) -> Cost:
    """Train a few steps, harmonize a volume where that is quick, and return what both cost."""
    kind = load_method(trial.uses)
    pairs = trial.pairs[:_PAIRS]
    fitted, found = _train(kind, trial, pairs, _FIRST_STEPS)
    steps = min(_MOST_STEPS, int(_aim_s(kind, trial, found) / max(found.step_s, 1e-4)))
    if steps > 2 * _FIRST_STEPS:
        fitted, found = _train(kind, trial, pairs, steps)
    slices = found.slices / len(pairs)
    work = slices * found.networks * fitted.forward_passes() * _FORWARD_SHARE
    harmonize_s = work * found.step_s / _batch(fitted)
    if harmonize_s < _HARMONIZE_MEASURED_BELOW_S:
        start = time.perf_counter()
        fitted.harmonize(pairs[0].source, Task(trial.direction, device=trial.device))
        harmonize_s = time.perf_counter() - start
    return Cost(
        step_s=found.step_s,
        networks=found.networks,
        slices=slices,
        pair_s=found.rest_s / len(pairs) / found.networks,
        harmonize_s=harmonize_s,
    )


def _aim_s(kind: type[Method], trial: Trial, found: _Found) -> float:
    """Return the seconds of steps that are worth measuring: few where the trainings are short."""
    if not trial.trainings:
        return _AIM_S
    method = kind(make_settings(kind, trial.settings, trial.label))
    slices = found.slices / min(_PAIRS, len(trial.pairs)) * trial.train_pairs
    steps = trial.trainings * found.networks * method.training_steps(ceil(slices))
    return min(_AIM_S, _AIM_SHARE * steps * found.step_s / trial.jobs)


def rough(trial: Trial) -> Cost:
    """Return what large settings cost, from a few steps on a coarse copy of one pair.

    A step costs a part that is constant (the optimizer's), and one for each pixel of its slices.
    Steps on one slice and on two tell the two apart.
    """
    kind = load_method(trial.uses)
    first = trial.pairs[0]
    stride = -(-max(first.source.shape) // _ROUGH_EXTENT)
    pair = replace(
        first, source=_coarse(first.source, stride), target=_coarse(first.target, stride)
    )
    zoom = trial.zoom * stride
    method = kind(make_settings(kind, trial.settings, trial.label))

    def found(size: int, steps: int) -> _Found:
        few = replace(trial, settings={**trial.settings, **_batches_of(method, size)})
        return _train(kind, few, [pair], steps)[1]

    one = found(1, 1)
    per_slice = one.step_s
    if one.step_s < _ROUGH_STEP_S:  # else the constant part is small, and time is short
        one, two = found(1, _ROUGH_STEPS), found(2, _ROUGH_STEPS)
        # No less than half of a step is taken to grow, whatever the clock's noise says.
        per_slice = min(one.step_s, max(two.step_s - one.step_s, one.step_s / 2))
    extent = max(pair.source.shape)
    # A network that pads slices to a size of its own pads finer ones less.
    pixels = np.prod([max(side, zoom * min(side, extent)) / side for side in one.plane])
    per_slice_here = per_slice * float(pixels)
    slices = one.slices * zoom
    passes = slices * one.networks * method.forward_passes() * _FORWARD_SHARE
    return Cost(
        step_s=one.step_s - per_slice + per_slice_here * _batch(method),
        networks=one.networks,
        slices=slices,
        pair_s=0.0,  # little beside the rest
        harmonize_s=passes * per_slice_here,
    )


def _batches_of(method: Method, size: int) -> dict[str, int]:
    values = {"batch_size": size, "accumulate": 1, "devices": 1}
    fields = type(method.config).model_fields
    return {name: value for name, value in values.items() if name in fields}


class _Network(BaseModel):
    """What is needed of a network's `training.json`."""

    ms_per_step: float | None = None
    training_slices: int = 0
    plane: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one training took: seconds per step, and of all that is no step."""

    step_s: float
    networks: int
    slices: float
    plane: tuple[int, int]
    rest_s: float


def _train(
    kind: type[Method], trial: Trial, pairs: Sequence[Pair], steps: int
) -> tuple[Method, _Found]:
    method = kind(make_settings(kind, trial.settings, trial.label))
    values = {**trial.settings, **method.sized(steps), **method.trial_settings()}
    method = kind(make_settings(kind, values, trial.label))
    with tempfile.TemporaryDirectory(prefix="harmbench-trial-") as folder:
        task = Task(trial.direction, device=trial.device, folder=Path(folder))
        start = time.perf_counter()
        method.fit(pairs, task)
        wall_s = time.perf_counter() - start
        paths = sorted(Path(folder).rglob("training.json"))
        networks = [_Network.model_validate(read_json(path)) for path in paths]
    times_ms = [one.ms_per_step for one in networks if one.ms_per_step]
    if not networks or len(times_ms) < len(networks):
        raise MethodError(f"{trial.label}: its training does not record what its steps take")
    step_s = sum(times_ms) / len(times_ms) / 1000
    return method, _Found(
        step_s=step_s,
        networks=len(networks),
        slices=sum(one.training_slices for one in networks) / len(networks),
        plane=networks[0].plane,
        rest_s=max(0.0, wall_s - len(networks) * steps * step_s),
    )


def _coarse(volume: Volume, stride: int) -> Volume:
    data = np.ascontiguousarray(volume.data[::stride, ::stride, ::stride])
    return Volume(data, volume.affine @ np.diag([stride, stride, stride, 1.0]))


def _batch(method: Method) -> int:
    return int(getattr(method.config, "batch_size", 1))
