"""What a method is asked to do: a direction, pairs to learn from, and a task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harmbench.volume import Volume

__all__ = ["Direction", "Keep", "KeepNothing", "NoProgress", "Pair", "Progress", "Task"]


@dataclass(frozen=True, slots=True, order=True)
class Direction:
    """An ordered pair of scanners: map `source` to the contrast of `target`."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-to-{self.target}"

    @property
    def reverse(self) -> Direction:
        """The other way round."""
        return Direction(self.target, self.source)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two scans of one training subject, on one grid.

    Attributes:
        subject: the person; several pairs may be of one subject.
        group: such as `HC`.
        source, target: the scans, in [0, 1].
        source_scanner, target_scanner: which scanners made them; empty where that is not known.
            Sources are from several scanners where one is left out of the training.
    """

    subject: str
    group: str
    source: Volume
    target: Volume
    source_scanner: str = ""
    target_scanner: str = ""


class Progress(Protocol):
    """Receives the progress of long work."""

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Report that `done` of `total` steps of `stage` are finished; `values` such as loss."""


class NoProgress:
    """A progress reporter that reports nothing."""

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Do nothing."""


class Keep(Protocol):
    """Receives volumes that a method gives beside its result."""

    def __call__(self, name: str, volume: Volume) -> None:
        """Keep `volume`, on the grid of the source; `name` such as `standard-deviation`."""


class KeepNothing:
    """Lets go of what a method gives beside its result."""

    def __call__(self, name: str, volume: Volume) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a method is asked to do in one cell.

    Attributes:
        direction: from which scanner to which. `harmonize` gets a scan of the source scanner;
            training pairs say their scanners themselves.
        fold: number of the held-out fold, from 0.
        seed: seed of every random number that the method draws.
        device: torch device name, `cpu` or `cuda`.
        folder: where checkpoints may be kept, so that an interrupted `fit` can go on; `None`
            where nothing may be kept. Files called `checkpoint*` are removed once the fitted model
            is saved; others, such as a loss curve, stay.
        progress: told about long work.
        keep: gets volumes that `harmonize` makes beside its result, such as a standard deviation.
    """

    direction: Direction
    fold: int = 0
    seed: int = 0
    device: str = "cpu"
    folder: Path | None = None
    progress: Progress = field(default_factory=NoProgress)
    keep: Keep = field(default_factory=KeepNothing)
