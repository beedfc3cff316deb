"""What the cells of one run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from harmbench.config import Experiment
from harmbench.folds import Folds
from harmbench.runner.folder import RunFolder
from harmbench.segmentation import Contrast
from harmbench.task import Direction, Pair

__all__ = ["Bench", "LazyPairs"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cells of a run share. Small, so that it travels to worker processes.

    Attributes:
        root: the run folder.
        experiment: the settings.
        folds: which fold holds each subject out.
        groups: subject to group.
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
    input_keys: Mapping[tuple[str, str], str]
    segmenter: str
    device: str
    contrast: Contrast = "T1w"
    invocation: str = ""

    @property
    def folder(self) -> RunFolder:
        """Paths of the run."""
        return RunFolder(self.root)


class LazyPairs(Sequence[Pair]):
    """Training pairs that are read from disk each time they are indexed."""

    def __init__(
        self, folder: RunFolder, subjects: Sequence[str], groups: Mapping[str, str], way: Direction
    ) -> None:
        self._folder, self._subjects, self._groups, self._way = folder, subjects, groups, way

    def __len__(self) -> int:
        return len(self._subjects)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | LazyPairs:
        if isinstance(index, slice):
            return LazyPairs(self._folder, self._subjects[index], self._groups, self._way)
        subject = self._subjects[index]
        return Pair(
            subject=subject,
            group=self._groups[subject],
            source=self._folder.input_volume(subject, self._way.source),
            target=self._folder.input_volume(subject, self._way.target),
        )
