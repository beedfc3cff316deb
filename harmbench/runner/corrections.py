"""The cells of volume corrections in a run: which there are, and running them.

They cost nothing beside a cell of images, so that every run has them. Those that a user did not name are
controls: where one cannot be fitted, its rows say so, and the run goes on to end as it would without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from harmbench.config import Experiment
from harmbench.discovery import load_correction, make_settings
from harmbench.errors import ConfigError
from harmbench.executors import Executor, LocalExecutor
from harmbench.results import CEILING
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.grid import run_cells
from harmbench.runner.real_scans import segment_real_scans
from harmbench.runner.run_record import MethodRecord
from harmbench.runner.tissue_volumes import RealVolumes
from harmbench.runner.volume_cell import run_volume_cell
from harmbench.task import Direction

__all__ = [
    "Corrected",
    "correct_volumes",
    "describe_corrections",
    "is_named",
    "make_volume_cells",
    "run_volume_cells",
]

Ends = tuple[Mapping[str, str], Mapping[str, str]]
"""Cell to why it failed, and cell to why it is incomplete."""


def make_volume_cells(
    experiment: Experiment, places: Iterable[tuple[Direction, int]]
) -> list[Cell]:
    """List the cells of an experiment's volume corrections in some directions and folds.

    A correction has no random part: there are cells for the first seed alone.
    """
    places = list(places)
    return [
        Cell(label, direction, fold, experiment.seeds[0])
        for label in experiment.all_corrections()
        for direction, fold in places
    ]


@dataclass(frozen=True, slots=True)
class Corrected:
    """How the cells of volume corrections ended.

    Attributes:
        named: how many of them are of corrections that the user named.
        ends: of these: why cells failed, and why others are incomplete.
    """

    named: int
    ends: Ends

    def joined(self, images: Ends) -> Ends:
        """Return these ends and those of the cells of images together."""
        return {**self.ends[0], **images[0]}, {**self.ends[1], **images[1]}


def correct_volumes(
    context: RunContext,
    executor: Executor,
    say: Callable[[str], None],
    cells: Sequence[Cell] | None = None,
) -> Corrected:
    """Segment the real scans that a run needs, and run its cells of volume corrections.

    Args:
        context: what the cells share.
        executor: runs segmentations and cells.
        say: called with why scans have no labels, and why cells failed or are incomplete.
        cells: of volume corrections; by default all that the experiment has.
    """
    wanted = make_volume_cells(context.experiment, context.splits) if cells is None else cells
    volumes = segment_real_scans(context, executor, say, training=bool(wanted))
    named = sum(is_named(context.experiment, cell.method) for cell in wanted)
    # Milliseconds each: not worth a job of a cluster.
    near = LocalExecutor(1, isolated=True) if executor.remote else executor
    return Corrected(named, run_volume_cells(context, wanted, volumes, near, say))


def run_volume_cells(
    context: RunContext,
    cells: Sequence[Cell],
    volumes: RealVolumes,
    executor: Executor,
    say: Callable[[str], None],
) -> Ends:
    """Run cells of volume corrections on known tissue volumes.

    Returns:
        Why those cells failed that did, and why those are incomplete that are: of the corrections that
        the user named, not of the controls.
    """
    if not cells:
        return {}, {}
    ends = run_cells(context, cells, say, executor, partial(run_volume_cell, volumes))
    named = {str(cell) for cell in cells if is_named(context.experiment, cell.method)}
    failed, incomplete = ({k: why for k, why in end.items() if k in named} for end in ends)
    return failed, incomplete


def is_named(experiment: Experiment, label: str) -> bool:
    """Whether a user asked for a volume correction."""
    return label in experiment.methods


def describe_corrections(experiment: Experiment) -> dict[str, MethodRecord]:
    """Return what `run.json` says of an experiment's volume corrections, by label.

    Raises:
        MethodError: one cannot be loaded.
        ConfigError: settings are not valid, or a label is that of the ceiling.
    """
    described = {}
    for label, (uses, values) in experiment.all_corrections().items():
        if label == CEILING:
            raise ConfigError(f"methods.{label}: the name is taken by the ceiling control")
        kind = load_correction(uses)
        described[label] = MethodRecord(
            uses=str(uses),
            title=kind.title if label == uses.name and kind.title else label,
            reference=kind.reference,
            settings=make_settings(kind, values, label).model_dump(mode="json"),
            maps="volumes",
        )
    return described
