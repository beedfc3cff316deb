"""How long a run takes: what stages took in its cells, and what trials say of the rest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from harmbench.code_keys import KEY_SCHEME
from harmbench.config import load_experiment, shipped
from harmbench.discovery import load_method, make_settings
from harmbench.errors import HarmbenchError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.planning.durations import in_words
from harmbench.planning.sizing import CellSize, Rest, cell_s, steps_of
from harmbench.planning.trial import Cost, Measure, Trial
from harmbench.runner.context import Bench, LazyPairs
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


def trains(uses: str, values: Mapping[str, Any], label: str) -> bool:
    """Whether a method tells how its training can be sized."""
    kind = load_method(uses)
    with method_call(f"methods.{label}"):
        return bool(kind(make_settings(kind, values, label)).sized(1))


def learns(uses: str) -> bool:
    """Whether a method learns at all."""
    return load_method(uses).fit is not Method.fit


def trial_of(bench: Bench, cells: Sequence[Cell], uses: str, settings: Mapping[str, Any]) -> Trial:
    """Return the trial for a method's cells, on training pairs of the first of them."""
    first = cells[0]
    train = bench.folds.train(first.fold)
    return Trial(
        uses=uses,
        label=first.method,
        settings=settings,
        pairs=LazyPairs(bench.folder, train, bench.groups, first.direction),
        direction=first.direction,
        device=bench.device,
        jobs=min(bench.experiment.jobs, len(cells)),
    )


def cell_size(bench: Bench, cells: Iterable[Cell]) -> CellSize:
    """Return the largest numbers of subjects of some cells."""
    folds = {cell.fold for cell in cells}
    return CellSize(
        train=max(len(bench.folds.train(fold)) for fold in folds),
        test=max(len(bench.folds.test(fold)) for fold in folds),
    )


def rest_of(folder: RunFolder) -> Rest:
    """Return what segmenting and scoring a volume took in the cells of a run so far."""

    def mean_s(record: Mapping[str, Any], stage: str) -> float:
        found = record.get("stages", {}).get(stage, {})
        return float(found.get("wall_s", 0.0)) / max(1, int(found.get("count", 1)))

    records = [record for _, record in folder.cells()]
    # The controls' labels are partly those of real scans, at no cost: the largest mean counts.
    return Rest(
        segment_s=max((mean_s(record, "segment") for record in records), default=0.0),
        score_s=max((mean_s(record, "score") for record in records), default=0.0),
    )


def is_current(bench: Bench, cell: Cell, settings: Mapping[str, Any]) -> bool:
    """Whether a cell has ended well with these settings, as far as its record tells."""
    record = next((own for known, own in bench.folder.cells() if known == cell), {})
    same = record.get("settings") == settings and record.get("segmenter") == bench.segmenter
    return record.get("status") == "ok" and record.get("key_scheme") == KEY_SCHEME and same


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
    bench: Bench,
    by_label: Mapping[str, Sequence[Cell]],
    uses: Mapping[str, str],
    measure: Measure | None = None,
) -> str:
    """Say how to run with the paper's settings, and for about how long where `measure` tells.

    The time is that of the trainings and of harmonizing, from a few steps (see `rough`).
    """
    begin = f"The paper's settings: `{_command(bench, by_label)}`"
    if measure is None:
        return f"{begin}."
    paper = load_experiment(shipped("paper"))
    data = bench.experiment.data
    simulated = data.path is None
    zoom = data.phantom.spacing_mm / paper.data.phantom.spacing_mm if simulated else 1.0
    subjects = paper.data.phantom.subjects if simulated else len(bench.groups)
    k = (paper.folds.k or bench.folds.k) if simulated else bench.folds.k
    cell = CellSize(subjects - subjects // k, ceil(subjects / k))
    # One thread is measured: several wait for each other where other work takes the cores.
    cores = (os.cpu_count() or 1) if bench.device == "cpu" else 1
    total_s, unknown = 0.0, []
    for label, cells in by_label.items():
        settings = paper.methods.get(label, {})
        trial = replace(trial_of(bench, cells, uses[label], settings), zoom=zoom, jobs=cores)
        times = k * len({(own.direction, own.seed) for own in cells})
        try:
            total_s += times * seconds_of(trial, cell, Rest(), measure(trial))
        except HarmbenchError as error:
            unknown.append(f"{label} cannot be estimated ({error})")
    about = [f"about {in_words(total_s / cores)} on this machine"] if total_s else []
    return f"{begin}, {'; '.join([*about, *unknown])}."


def _command(bench: Bench, labels: Iterable[str]) -> str:
    words = ["harmbench", "run", "--config", "paper"]
    for label in labels:
        words += ["--method", label]
    if bench.experiment.data.path is not None:
        words += ["--data", str(bench.experiment.data.path)]
    return shlex.join([*words, "--fold", "all", "--out", "runs/paper"])


def seconds_of(trial: Trial, cell: CellSize, rest: Rest, cost: Cost) -> float:
    """Return the seconds of a cell with a trial's settings."""
    kind = load_method(trial.uses)
    method = kind(make_settings(kind, trial.settings, trial.label))
    return cell_s(cost, steps_of(method, cost, cell), cell, rest)
