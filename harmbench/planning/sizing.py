"""How large a training may be in the time that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from harmbench.discovery import make_settings
from harmbench.errors import ConfigError
from harmbench.method import Method
from harmbench.planning.plan import Cost

__all__ = ["FEWEST_STEPS", "CellSize", "Rest", "Sized", "cell_s", "cells_s", "size", "steps_of"]

FEWEST_STEPS = 20
"""A budget never makes a training shorter than this."""
_WORTH = 0.5
"""Share of a size's own steps that it must be able to take to be preferred to a smaller one."""


@dataclass(frozen=True, slots=True)
class CellSize:
    """Numbers of training and test pairs of a cell."""

    train: int
    test: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Seconds that a test subject costs beside its method: segmentation and scores."""

    segment_s: float = 0.0
    score_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sized:
    """Settings that fit a time: their steps for each network, what they cost, and seconds per cell."""

    settings: Mapping[str, object]
    steps: int
    cost: Cost
    seconds: float


def steps_of(method: Method, cost: Cost, cell: CellSize) -> int:
    """Return the steps in which each network of a cell is trained."""
    return method.training_steps(ceil(cost.slices * cell.train))


def cell_s(cost: Cost, steps: int, cell: CellSize, rest: Rest) -> float:
    """Return the seconds of a cell whose networks are trained in so many steps each."""
    per_subject = cost.harmonize_s + rest.segment_s + rest.score_s
    training = cost.networks * (cost.pair_s * cell.train + steps * cost.step_s)
    return training + per_subject * cell.test


def cells_s(seconds: Sequence[float], jobs: int) -> float:
    """Return the seconds that cells of these lengths take, `jobs` at a time, in order."""
    ends = [0.0] * max(1, jobs)
    for own in seconds:
        first = ends.index(min(ends))
        ends[first] += own
    return max(ends)


def size(
    kind: type[Method],
    label: str,
    given: Mapping[str, object],
    options: Sequence[Mapping[str, object]],
    cell: CellSize,
    rest: Rest,
    seconds: Callable[[], float],
    measured: Callable[[Mapping[str, object]], Cost],
) -> Sized:
    """Choose the largest network that can be trained well in the time, and its steps.

    Settings that were given are kept, the number of steps among them.

    Args:
        kind: the method.
        label: its name in the configuration, for errors.
        given: the settings that the user gave.
        options: settings to choose from, the largest network first.
        cell: size of the cells.
        rest: what a test subject costs beside the method.
        seconds: returns what a cell may take; called after each measurement.
        measured: returns what settings cost.

    Raises:
        HarmbenchError: no size can be trained.
    """
    best: Sized | None = None
    for number, option in reversed(list(enumerate(options))):
        settings = {**option, **given}
        try:
            method = kind(make_settings(kind, settings, label))
        except ConfigError:
            continue  # what was given contradicts this size
        if best is not None and best.steps < _WORTH * steps_of(method, best.cost, cell):
            break  # a larger network can take no more steps
        cost = measured(settings)
        own = steps_of(method, cost, cell)
        overhead_s = cell_s(cost, 0, cell, rest)
        free = floor((seconds() - overhead_s) / (cost.networks * cost.step_s))
        changes = method.sized(max(FEWEST_STEPS, free))
        fixed = bool(set(changes) & set(given))
        if best is not None and free < (own if fixed else _WORTH * own):
            break
        # The first option is the method's own training: more steps than it asks for do not help.
        wanted = own if fixed else min(free, own) if number == 0 else free
        steps = wanted if fixed else max(FEWEST_STEPS, wanted)
        resized = {} if fixed else method.sized(steps)
        best = Sized({**settings, **resized, **given}, steps, cost, cell_s(cost, steps, cell, rest))
    if best is None:
        make_settings(kind, {**options[-1], **given}, label)  # raises, and says why
        raise ConfigError(f"methods.{label}: no size of it fits the settings that were given")
    return best
