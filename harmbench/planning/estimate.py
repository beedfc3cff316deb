"""How long a run takes: what stages took in its cells, and what trials say of the rest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil

from harmbench.code_keys import KEY_SCHEME
from harmbench.config import load_experiment, shipped
from harmbench.discovery import load_method, make_settings
from harmbench.errors import HarmbenchError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.planning.durations import in_words
from harmbench.planning.plan import Cost
from harmbench.planning.sizing import CellSize, Rest, cell_s, steps_of
from harmbench.planning.trial import Measure, Trial
from harmbench.plugins import Reference
from harmbench.runner.cell_record import StageCost
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell, RunFolder

__all__ = [
    "advice",
    "cell_size",
    "is_current",
    "learns",
    "paper_line",
    "rest_of",
    "seconds_of",
    "trains",
    "trial_of",
]

_A_DAY_S = 86400.0


def trains(uses: Reference, values: Mapping[str, object], label: str) -> bool:
    """Whether a method tells how its training can be sized."""
    kind = load_method(uses)
    with method_call(f"methods.{label}"):
        return bool(kind(make_settings(kind, values, label)).sized(1))


def learns(uses: Reference) -> bool:
    """Whether a method learns at all."""
    return load_method(uses).fit is not Method.fit


def trial_of(
    context: RunContext, cells: Sequence[Cell], uses: Reference, settings: Mapping[str, object]
) -> Trial:
    """Return the trial for a method's cells, on training pairs of the first of them."""
    first = cells[0]
    return Trial(
        uses=uses,
        label=first.method,
        settings=settings,
        pairs=context.pairs(first),
        direction=first.direction,
        device=context.device,
        jobs=min(context.experiment.jobs, len(cells)),
        trainings=len(cells),
        train_pairs=cell_size(context, cells).train,
    )


def cell_size(context: RunContext, cells: Iterable[Cell]) -> CellSize:
    """Return the largest numbers of pairs of some cells."""
    splits = [context.split(cell) for cell in cells]
    return CellSize(
        train=max(len(split.train) for split in splits),
        test=max(len(split.test) for split in splits),
    )


def rest_of(folder: RunFolder) -> Rest:
    """Return what segmenting and scoring a volume took in the cells of a run so far."""
    costs = [record.stages for _, record in folder.all_cells()]
    # The controls' labels are partly those of real scans, at no cost: the largest mean counts.
    return Rest(
        segment_s=max((_mean_s(own.get("segment")) for own in costs), default=0.0),
        score_s=max((_mean_s(own.get("score")) for own in costs), default=0.0),
    )


def _mean_s(cost: StageCost | None) -> float:
    return 0.0 if cost is None else cost.wall_s / max(1, cost.count)


def is_current(context: RunContext, cell: Cell, settings: Mapping[str, object]) -> bool:
    """Whether a cell has ended well with these settings, as far as its record tells."""
    record = context.folder.cell(cell).read_record()
    if record is None or record.status != "ok" or record.key_scheme != KEY_SCHEME:
        return False
    return record.settings == settings and record.segmenter == context.segmenter


def advice(seconds: float, device: str) -> str:
    """Say how to make a run of more than a day shorter; empty for a shorter one."""
    if seconds <= _A_DAY_S:
        return ""
    ways = ["--budget 8h sizes the trainings to a time", "--config fast takes few-step diffusion"]
    if device == "cpu":
        ways.append("--device cuda computes on a GPU")
    ways.append("--fold 0 or fewer --folds run fewer cells")
    return f"To make it shorter: {'; '.join(ways)}."


def paper_line(
    context: RunContext,
    by_label: Mapping[str, Sequence[Cell]],
    uses: Mapping[str, Reference],
    measure: Measure | None = None,
) -> str:
    """Say how to run with the paper's settings, and for about how long where `measure` tells.

    The time is that of the trainings and of harmonizing, from a few steps (see `rough`).
    """
    begin = f"The paper's settings: `{_command(context, by_label)}`"
    if measure is None:
        return f"{begin}."
    paper = load_experiment(shipped("paper"))
    data = context.experiment.data
    simulated = data.path is None
    zoom = data.phantom.spacing_mm / paper.data.phantom.spacing_mm if simulated else 1.0
    subjects = (
        paper.data.phantom.subjects if simulated else len({s for s, _ in context.inputs.scans})
    )
    k = (paper.folds.k or context.folds.k) if simulated else context.folds.k
    cell = CellSize(subjects - subjects // k, ceil(subjects / k))
    # One thread is measured: several wait for each other where other work takes the cores.
    cores = (os.cpu_count() or 1) if context.device == "cpu" else 1
    total_s, unknown = 0.0, []
    for label, cells in by_label.items():
        settings = paper.methods.get(label, {})
        trial = replace(trial_of(context, cells, uses[label], settings), zoom=zoom, jobs=cores)
        times = k * len({(own.direction, own.seed) for own in cells})
        try:
            total_s += times * seconds_of(trial, cell, Rest(), measure(trial))
        except HarmbenchError as error:
            unknown.append(f"{label} cannot be estimated ({error})")
    about = [f"about {in_words(total_s / cores)} on this machine"] if total_s else []
    return f"{begin}, {'; '.join([*about, *unknown])}."


def _command(context: RunContext, labels: Iterable[str]) -> str:
    words = ["harmbench", "run", "--config", "paper"]
    for label in labels:
        words += ["--method", label]
    if context.experiment.data.path is not None:
        words += ["--data", str(context.experiment.data.path)]
    return shlex.join([*words, "--fold", "all", "--out", "runs/paper"])


def seconds_of(trial: Trial, cell: CellSize, rest: Rest, cost: Cost) -> float:
    """Return the seconds of a cell with a trial's settings."""
    kind = load_method(trial.uses)
    method = kind(make_settings(kind, trial.settings, trial.label))
    return cell_s(cost, steps_of(method, cost, cell), cell, rest)
