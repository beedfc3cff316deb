"""What the cells of one run share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

from harmbench.config import Experiment
from harmbench.errors import RunError
from harmbench.folds import Folds
from harmbench.plugins import Reference
from harmbench.results import CEILING, RESCAN
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.pairs import CellSplit, Rescan, SessionPair
from harmbench.segmentation import Contrast, Segmenter, make_segmenter
from harmbench.task import Direction, Pair, Progress, Task

__all__ = ["LazyPairs", "RunContext"]


def _nobody_else() -> None:
    """Check nothing: no other process can have the cell."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all cells of a run share. Small, so that it travels to worker processes.

    Attributes:
        root: the run folder.
        experiment: the settings.
        folds: which fold holds each subject out.
        splits: what the cells of each direction and fold learn from and are tested on.
        groups: subject to group.
        inputs: the real scans.
        input_keys: (subject, session) to the SHA-256 of the scan's file, of its rescaling, and of
            the code that reads it.
        segmenter: name of the segmenter in use (never `auto`).
        segmenter_reference: where to find it; `None`: it is installed under its name.
        contrast: of the scans.
        device: torch device name; `auto` or `cuda` where jobs of a cluster are to find their own.
        invocation: id of the entry in `run.json` that says what this run is made with.
        own_folds: folds of directions that cannot have the common ones.
        check_held: raises `LockLostError` where another process has taken over the cell that is worked
            on; to be called before anything of the cell is written.
    """

    root: Path
    experiment: Experiment
    folds: Folds
    splits: Mapping[tuple[Direction, int], CellSplit]
    groups: Mapping[str, str]
    inputs: InputScans
    input_keys: Mapping[tuple[str, str], str]
    segmenter: str
    device: str
    contrast: Contrast = "T1w"
    invocation: str = ""
    segmenter_reference: Reference | None = None
    own_folds: Mapping[Direction, Folds] = field(default_factory=dict)
    check_held: Callable[[], None] = field(default=_nobody_else, compare=False)
    _rescans_known: dict[Direction, dict[tuple[str, str], str]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @property
    def folder(self) -> RunFolder:
        """Paths of the run."""
        return RunFolder(self.root)

    def write_record(self, cell: Cell, record: CellRecord) -> None:
        """Write the record of a cell, as long as this process has the cell.

        Raises:
            LockLostError: another process has taken it over.
        """
        self.check_held()
        self.folder.cell(cell).write_record(record)

    def on_this_machine(self) -> RunContext:
        """Return the context with the device that its name stands for here, such as in a job.

        Raises:
            MethodError: there is no such GPU here.
        """
        if self.device == "cpu":
            return self
        from harmbench.training import resolve_device  # torch takes seconds to import

        return replace(self, device=str(resolve_device(self.device)))

    def without_scans(self) -> RunContext:
        """Return the context without what grows with the scans, for work that is given its scans.

        Work goes to its process with every item: with all scans, the time of that would grow with the
        square of their number.
        """
        return replace(
            self,
            folds=replace(self.folds, assignment={}),
            own_folds={},
            splits={},
            groups={},
            inputs=InputScans(self.root, {}),
            input_keys={},
        )

    def make_segmenter(self) -> Segmenter:
        """Make the segmenter of the run, on its device."""
        reference = self.segmenter_reference or Reference(self.segmenter)
        return make_segmenter(reference, self.device, self.contrast)

    def task(self, cell: Cell, progress: Progress, folder: Path | None = None) -> Task:
        """Return what a cell asks of its method; `folder` is where checkpoints may be kept."""
        return Task(cell.direction, cell.fold, cell.seed, self.device, folder, progress)

    def split(self, cell: Cell) -> CellSplit:
        """Return what a cell learns from and is tested on.

        Raises:
            RunError: the run has no such cell.
        """
        found = self.splits.get((cell.direction, cell.fold))
        if found is None:
            raise RunError(f"{self.root}: the run has no {cell.direction} fold {cell.fold}")
        if cell.method == RESCAN:
            return self._rescanned(cell.direction, found)
        if not cell.train_subjects or not found.train:  # rescoring has no training
            return found
        return found.reduced(cell.train_subjects, self.groups, cell.seed)

    def _rescanned(self, direction: Direction, split: CellSplit) -> CellSplit:
        """Reduce what is tested to pairs whose target scan has another one beside it."""
        known = self._rescan_of(direction)
        test = tuple(pair for pair in split.test if (pair.subject, pair.target) in known)
        return CellSplit(train=(), test=test)

    def _rescan_of(self, direction: Direction) -> dict[tuple[str, str], str]:
        """Return, by subject and session of a target scan, the session of the nearest other one.

        It is asked for with every pair, and takes a look at every scan: the answer is kept.
        """
        if direction not in self._rescans_known:
            self._rescans_known[direction] = {
                (one.subject, one.target): one.rescan for one in self.rescans(direction)
            }
        return self._rescans_known[direction]

    def real_scan(self, cell: Cell, pair: SessionPair) -> str | None:
        """Return the session of the real scan that is a control's volume; `None` for a method."""
        if cell.method == CEILING:
            return pair.target
        if cell.method == RESCAN:
            return self._rescan_of(cell.direction)[pair.subject, pair.target]
        return None

    def rescanned_places(self) -> tuple[tuple[Direction, int], ...]:
        """Return the directions and folds in which target scans have others beside them."""
        return tuple(
            (way, fold)
            for (way, fold), split in self.splits.items()
            if self._rescanned(way, split).test
        )

    def pairs(self, cell: Cell) -> LazyPairs:
        """Return the training pairs of a cell."""
        return LazyPairs(self.inputs, self.split(cell).train, self.groups)

    def rescans(self, direction: Direction) -> tuple[Rescan, ...]:
        """Return repeated scans on the target scanner of a direction, to score against each other.

        For each scan that methods are scored against in the folds of the run, and whose subject has
        another scan on that scanner: the nearest other one. The subject is the unit here too: one
        with several visits is in it several times.
        """
        nearest = self.inputs.rescans(direction.target)
        tested = [
            pair
            for (way, _), split in self.splits.items()
            if way == direction
            for pair in split.test
        ]
        found = {
            Rescan(pair.subject, pair.target, nearest[pair.subject][pair.target]): None
            for pair in tested
            if pair.target in nearest.get(pair.subject, {})
        }
        return tuple(sorted(found))


class LazyPairs(Sequence[Pair]):
    """Training pairs that are read from disk each time they are indexed."""

    def __init__(
        self, inputs: InputScans, pairs: Sequence[SessionPair], groups: Mapping[str, str]
    ) -> None:
        self._inputs, self._pairs, self._groups = inputs, pairs, groups

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | LazyPairs:
        if isinstance(index, slice):
            return LazyPairs(self._inputs, self._pairs[index], self._groups)
        own = self._pairs[index]
        return Pair(
            subject=own.subject,
            group=self._groups[own.subject],
            source=self._inputs.volume(own.subject, own.source),
            target=self._inputs.volume(own.subject, own.target),
            source_scanner=self._inputs.scanner(own.subject, own.source),
            target_scanner=self._inputs.scanner(own.subject, own.target),
        )
