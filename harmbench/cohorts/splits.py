"""Which pairs a cell learns from and which it is tested on; no subject is on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.pairing import PairChoice, ScanPair, pairs
from harmbench.errors import CohortError, FoldError, suggest
from harmbench.folds import Folds, make_folds
from harmbench.task import Direction

__all__ = ["CellPairs", "SplitChoice", "cell_pairs", "direction_folds"]


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """How training and test subjects are chosen, beside the folds.

    Attributes:
        train_group: learn from subjects of this group only; `None`: from all.
        test_group: test on subjects of this group only; `None`: on all.
        leave_scanner_out: learn from the directions of the other scanners to the same target, and
            test on a source that no training pair has.
        train_pairs: which pairs of a training subject are used.
    """

    train_group: str | None = None
    test_group: str | None = None
    leave_scanner_out: bool = False
    train_pairs: PairChoice = "closest"


@dataclass(frozen=True, slots=True)
class CellPairs:
    """The pairs of one cell; raises `FoldError` where a subject is on both sides.

    Attributes:
        train: pairs to learn from. With a scanner left out, their sources are other scanners.
        test: one pair for each test subject and visit on the source scanner.
    """

    train: tuple[ScanPair, ...]
    test: tuple[ScanPair, ...]

    def __post_init__(self) -> None:
        """Refuse pairs that would leak."""
        both = sorted(set(self.train_subjects) & set(self.test_subjects))
        if both:
            raise FoldError(f"in training and in test: {', '.join(both)}")

    @property
    def train_subjects(self) -> tuple[str, ...]:
        """Subjects with training pairs, each once."""
        return tuple(dict.fromkeys(pair.subject for pair in self.train))

    @property
    def test_subjects(self) -> tuple[str, ...]:
        """Subjects with test pairs, each once."""
        return tuple(dict.fromkeys(pair.subject for pair in self.test))


def direction_folds(
    cohort: Cohort,
    direction: Direction,
    k: int,
    seed: int = 0,
    given: Folds | None = None,
) -> Folds:
    """Make the folds of one direction, from the subjects that have a pair in it.

    Args:
        cohort: the scans.
        direction: source and target scanner.
        k: number of folds.
        seed: seed of the shuffle.
        given: folds of one's own, which are reduced to these subjects.

    Raises:
        FoldError: there are fewer subjects with a pair than folds (says how many there are).
    """
    groups = {pair.subject: cohort.groups[pair.subject] for pair in pairs(cohort, direction)}
    if given is not None:
        assigned = {s: fold for s, fold in given.assignment.items() if s in groups}
        if len(set(assigned.values())) < 2:
            raise FoldError(
                f"{direction}: {len(groups)} subjects have a pair, and the folds given put them "
                f"into {len(set(assigned.values()))} fold; two are needed"
            )
        return Folds(given.k, given.seed, assigned)
    if len(groups) < k:
        raise FoldError(
            f"{direction}: {k} folds, but {len(groups)} subjects have a pair; choose at most "
            f"{len(groups)} folds, or another direction"
        )
    return make_folds(groups, k, seed)


def cell_pairs(
    cohort: Cohort,
    direction: Direction,
    folds: Folds,
    fold: int,
    choice: SplitChoice | None = None,
) -> CellPairs:
    """Return the training and test pairs of one cell.

    Test subjects are those that `fold` holds out. Training subjects are all others, also those
    that `folds` does not name because they have no pair in this direction, where another scanner's
    pairs are learned from.

    Args:
        cohort: the scans.
        direction: source and target scanner.
        folds: which fold holds each subject out.
        fold: the fold held out.
        choice: groups, and whether the source scanner is left out of the training.

    Raises:
        CohortError: a group is unknown.
        FoldError: no subject is left on one side.
    """
    choice = choice or SplitChoice()
    for group in (choice.train_group, choice.test_group):
        if group is not None and group not in cohort.groups.values():
            raise CohortError(f"unknown group '{group}'; {suggest(group, cohort.groups.values())}")
    held_out = set(folds.test(fold))
    ways = _training_directions(cohort, direction) if choice.leave_scanner_out else (direction,)
    train = tuple(
        pair
        for way in ways
        for pair in pairs(cohort, way, choice.train_pairs)
        if pair.subject not in held_out
        and _in_group(cohort.groups, pair.subject, choice.train_group)
        and (choice.leave_scanner_out or pair.subject in folds.assignment)
    )
    test = tuple(
        pair
        for pair in pairs(cohort, direction, "test")
        if pair.subject in held_out and _in_group(cohort.groups, pair.subject, choice.test_group)
    )
    if not train or not test:
        side = "training" if not train else "test"
        raise FoldError(
            f"{direction}, fold {fold}: no {side} pair is left{_why(choice)}; it has "
            f"{len(train)} training and {len(test)} test pairs"
        )
    return CellPairs(train, test)


def _training_directions(cohort: Cohort, direction: Direction) -> Sequence[Direction]:
    """Directions to the same target from all scanners but the source."""
    others = [s for s in cohort.scanners if s not in (direction.source, direction.target)]
    return [Direction(scanner, direction.target) for scanner in others]


def _in_group(groups: Mapping[str, str], subject: str, wanted: str | None) -> bool:
    return wanted is None or groups[subject] == wanted


def _why(choice: SplitChoice) -> str:
    parts = []
    if choice.train_group is not None:
        parts.append(f"training group {choice.train_group}")
    if choice.test_group is not None:
        parts.append(f"test group {choice.test_group}")
    if choice.leave_scanner_out:
        parts.append("the source scanner left out of the training")
    return f" with {', '.join(parts)}" if parts else ""
