"""Which pairs a cell learns from and which it is tested on; no subject is on both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pydantic import ConfigDict, Field

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.pairing import ScanPair, pairs
from harmbench.errors import CohortError, FoldError, suggest
from harmbench.folds import Folds, make_folds
from harmbench.settings import Settings
from harmbench.task import Direction

__all__ = [
    "CellPairs",
    "SplitChoice",
    "cell_pairs",
    "direction_folds",
    "pair_subjects",
    "shared_folds",
    "split_directions",
    "subjects_on_two",
]


_ATTEMPTS = 40
_NEXT_SEED = 10_007


class SplitChoice(Settings):
    """How training and test pairs are chosen, beside the folds."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    train_group: str | None = Field(
        None, description="learn from subjects of this group only; unset: from all"
    )
    test_group: str | None = Field(
        None, description="test on subjects of this group only; unset: on all"
    )
    leave_scanner_out: bool = Field(
        False,
        description="learn from the pairs of the other scanners with the target scanner, and test on "
        "a source scanner that no training pair has; for methods that accept several sources",
    )
    train_pairs: Literal["closest", "all"] = Field(
        "closest",
        description="of several visits of a training subject: pairs of the `closest` visits, each "
        "scan in one pair at most, or `all` pairs",
    )
    visits: Literal["all", "first"] = Field(
        "all",
        description="of several visits of a subject: learn from and test `all`, or the `first` alone, so "
        "that the others serve as rescans",
    )

    def words(self) -> tuple[str, ...]:
        """Return what is not as usual, in sentences for a report."""
        said = []
        if self.train_group is not None:
            said.append(f"Methods learned from subjects of group {self.train_group} only.")
        if self.test_group is not None:
            said.append(f"Methods were tested on subjects of group {self.test_group} only.")
        if self.leave_scanner_out:
            said.append(
                "One scanner was left out: in each direction, methods learned from pairs of the "
                "other scanners with the target scanner, and were tested on a source scanner that "
                "no training pair has."
            )
        if self.visits == "first":
            said.append(
                "Of several visits of a subject, methods learned from and were tested on the first "
                "alone; the others are rescans."
            )
        elif self.train_pairs == "all":
            said.append("Methods learned from every pair of visits of a training subject.")
        return tuple(said)


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


def pair_subjects(cohort: Cohort, direction: Direction) -> tuple[str, ...]:
    """Return the subjects that have a pair in a direction, in the cohort's order."""
    return tuple(dict.fromkeys(pair.subject for pair in pairs(cohort, direction)))


def subjects_on_two(cohort: Cohort) -> dict[str, tuple[str, ...]]:
    """Return the subjects with scans on two scanners or more, with their scanners, sorted."""
    scanners: dict[str, set[str]] = {}
    for scan in cohort.scans.values():
        scanners.setdefault(scan.subject, set()).add(scan.scanner)
    of_subject = {subject: tuple(sorted(scanners.get(subject, ()))) for subject in cohort.subjects}
    return {subject: own for subject, own in of_subject.items() if len(own) > 1}


def shared_folds(cohort: Cohort, k: int, seed: int = 0) -> Folds:
    """Split all subjects with scans on two scanners or more, for all directions alike.

    The folds mix groups, and within a group subjects with the same scanners, in proportion. Of several
    shuffles, the first is taken with which every direction has test subjects in every fold; where
    there is none, the one with the fewest directions that don't. The folds don't depend on the
    directions that a run chooses.

    Args:
        cohort: all scans of the study.
        k: number of folds.
        seed: seed of the shuffle.

    Raises:
        FoldError: there are fewer subjects than folds.
    """
    shared = subjects_on_two(cohort)
    of_pairs = {
        frozenset(two): {s for s, own in shared.items() if set(two) <= set(own)}
        for two in combinations(cohort.scanners, 2)
    }
    found: list[tuple[int, Folds]] = []
    for attempt in range(_ATTEMPTS):
        # A line end sorts before every letter: groups come in the order that they have by themselves.
        strata = {
            s: "\n".join([cohort.groups[s], *own] if attempt % 2 == 0 else [*own, cohort.groups[s]])
            for s, own in shared.items()
        }
        folds = make_folds(strata, k, seed + attempt // 2 * _NEXT_SEED).assignment
        numbers = [{folds[s] for s in own} for own in of_pairs.values() if len(own) >= k]
        empty = sum(len(used) < k for used in numbers)
        found.append((empty, Folds(k, seed, folds)))
        if not empty:
            break
    return min(found, key=lambda own: own[0])[1]


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
    groups = {subject: cohort.groups[subject] for subject in pair_subjects(cohort, direction)}
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
            f"{direction}: {k} folds, but {_count(groups)} a pair; choose at most {len(groups)} "
            "folds, or another direction"
        )
    return make_folds(groups, k, seed)


def _count(subjects: Sequence[str] | Mapping[str, str]) -> str:
    return f"{len(subjects)} subject{'s have' if len(subjects) != 1 else ' has'}"


def split_directions(cohort: Cohort, direction: Direction, choice: SplitChoice) -> list[Direction]:
    """Return the directions whose pairs the cells of a direction use, in training or test."""
    if not choice.leave_scanner_out:
        return [direction]
    return [direction, *_training_directions(cohort, direction)]


def cell_pairs(
    cohort: Cohort,
    direction: Direction,
    folds: Folds,
    fold: int,
    choice: SplitChoice | None = None,
) -> CellPairs | None:
    """Return the training and test pairs of one cell; `None` where nothing is to be tested.

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
        FoldError: there is something to test, but nothing to learn from.
    """
    choice = choice or SplitChoice()
    for group in (choice.train_group, choice.test_group):
        if group is not None and group not in cohort.groups.values():
            raise CohortError(f"unknown group '{group}'; {suggest(group, cohort.groups.values())}")
    held_out = set(folds.test(fold))
    ways = _training_directions(cohort, direction) if choice.leave_scanner_out else [direction]
    chosen = _first_of_each if choice.visits == "first" else tuple
    train = tuple(
        pair
        for way in ways
        for pair in chosen(pairs(cohort, way, choice.train_pairs))
        if pair.subject not in held_out
        and _in_group(cohort.groups, pair.subject, choice.train_group)
        and (choice.leave_scanner_out or pair.subject in folds.assignment)
    )
    test = tuple(
        pair
        for pair in chosen(pairs(cohort, direction, "test"))
        if pair.subject in held_out and _in_group(cohort.groups, pair.subject, choice.test_group)
    )
    if not test:
        return None
    if not train:
        raise FoldError(
            f"{direction}, fold {fold}: no training pair is left{_why(choice)}; it has "
            f"{len(test)} test pairs"
        )
    return CellPairs(train, test)


def _first_of_each(found: Sequence[ScanPair]) -> tuple[ScanPair, ...]:
    """Return each subject's first pair; pairs are in order of visits."""
    first: dict[str, ScanPair] = {}
    for pair in found:
        first.setdefault(pair.subject, pair)
    return tuple(first.values())


def _training_directions(cohort: Cohort, direction: Direction) -> list[Direction]:
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
