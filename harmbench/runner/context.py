"""What the cells of one run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from harmbench.config import Experiment
from harmbench.folds import Folds
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.segmentation import Contrast, Segmenter, make_segmenter
from harmbench.task import Direction, Pair, Progress, Task

__all__ = ["LazyPairs", "RunContext"]


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all cells of a run share. Small, so that it travels to worker processes.

    Attributes:
        root: the run folder.
        experiment: the settings.
        folds: which fold holds each subject out.
        groups: subject to group.
        inputs: the real scans.
        input_keys: (subject, session) to the SHA-256 of the scan's file, of its rescaling, and of
            the code that reads it.
        segmenter: name of the segmenter in use (never `auto`).
        contrast: of the scans.
        device: torch device name.
        invocation: id of the entry in `run.json` that says what this run is made with.
    """

    root: Path
    experiment: Experiment
    folds: Folds
    groups: Mapping[str, str]
    inputs: InputScans
    input_keys: Mapping[tuple[str, str], str]
    segmenter: str
    device: str
    contrast: Contrast = "T1w"
    invocation: str = ""

    @property
    def folder(self) -> RunFolder:
        """Paths of the run."""
        return RunFolder(self.root)

    def make_segmenter(self) -> Segmenter:
        """Make the segmenter of the run, on its device."""
        return make_segmenter(self.segmenter, self.device, self.contrast)

    def task(self, cell: Cell, progress: Progress, folder: Path | None = None) -> Task:
        """Return what a cell asks of its method; `folder` is where checkpoints may be kept."""
        return Task(cell.direction, cell.fold, cell.seed, self.device, folder, progress)

    def pairs(self, fold: int, direction: Direction) -> LazyPairs:
        """Return the training pairs of a fold."""
        return LazyPairs(self.inputs, self.folds.train(fold), self.groups, direction)


class LazyPairs(Sequence[Pair]):
    """Training pairs that are read from disk each time they are indexed."""

    def __init__(
        self,
        inputs: InputScans,
        subjects: Sequence[str],
        groups: Mapping[str, str],
        direction: Direction,
    ) -> None:
        self._inputs, self._subjects = inputs, subjects
        self._groups, self._direction = groups, direction

    def __len__(self) -> int:
        return len(self._subjects)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | LazyPairs:
        if isinstance(index, slice):
            return LazyPairs(self._inputs, self._subjects[index], self._groups, self._direction)
        subject = self._subjects[index]
        return Pair(
            subject=subject,
            group=self._groups[subject],
            source=self._inputs.volume(subject, self._direction.source),
            target=self._inputs.volume(subject, self._direction.target),
        )
