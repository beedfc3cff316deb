"""The directions, folds and pairs of a run, from the scans of a study and the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.cohorts.base import Cohort
from harmbench.cohorts.data import DataSettings
from harmbench.cohorts.directions import ALL, BOTH
from harmbench.cohorts.pairing import taking_part
from harmbench.cohorts.splits import (
    SplitChoice,
    cell_pairs,
    direction_folds,
    pair_subjects,
    shared_folds,
    split_directions,
    subjects_on_two,
)
from harmbench.errors import CohortError, FoldError
from harmbench.folds import DEFAULT_FOLDS, Folds, FoldSettings, choose_folds, read_folds
from harmbench.notes import Note
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.task import Direction

__all__ = ["RunSplits", "split_run"]


@dataclass(frozen=True, slots=True)
class RunSplits:
    """Which pairs each cell of a run learns from and is tested on.

    Attributes:
        cohort: the subjects and scans that take part.
        directions: those with something to test.
        folds: which fold holds each subject out, in all directions alike.
        own_folds: folds of directions of which the common ones would have left one empty.
        cells: pairs by direction and number of the fold.
        notes: directions and folds that are left out, with the reason.
    """

    cohort: Cohort
    directions: tuple[Direction, ...]
    folds: Folds
    own_folds: Mapping[Direction, Folds]
    cells: Mapping[tuple[Direction, int], CellSplit]
    notes: tuple[Note, ...]


def split_run(
    cohort: Cohort, data: DataSettings, settings: FoldSettings, choice: SplitChoice
) -> RunSplits:
    """Choose directions, folds and pairs.

    A subject takes part in the directions that it has a pair in. Where directions are not named one
    by one (`--direction all`, or a target alone), those that fewer than two subjects have a pair in
    are left out, with a note.

    Args:
        cohort: all scans of the study.
        data: which directions.
        settings: of the folds.
        choice: of training and test pairs.

    Raises:
        CohortError: a scanner, direction or group is unknown, or there is no pair.
        FoldError: a direction has too few subjects for its folds (says how many it has), nothing to
            learn from or nothing to test; or the given folds cannot be used.
    """
    directions, notes = _usable(cohort, data)
    counts = {way: len(pair_subjects(cohort, way)) for way in directions}
    ways = list(dict.fromkeys(w for way in counts for w in split_directions(cohort, way, choice)))
    part = taking_part(cohort, ways)
    if settings.file is not None:
        folds = read_folds(settings.file, part.subjects, tuple(subjects_on_two(cohort)))
    else:
        k = settings.k or min(DEFAULT_FOLDS, *counts.values())
        folds = shared_folds(cohort, k, settings.seed)
        _require_subjects(counts, k)
    own = {way: _folds_of(cohort, way, folds, settings.file) for way in directions}
    numbers = choose_folds(settings.run, folds.k)
    cells = _cells(cohort, own, numbers, choice)
    tested = tuple(way for way in directions if any((way, number) in cells for number in numbers))
    notes += [
        _untested(way, number) for way in own for number in numbers if (way, number) not in cells
    ]
    if not cells:
        raise FoldError(
            f"nothing is tested: {'; '.join(f'{n.where}: {n.text}' for n in notes[:3])}"
        )
    apart = {way: one for way, one in own.items() if not _agree(one.assignment, folds.assignment)}
    return RunSplits(part, tested, folds, apart, cells, tuple(notes))


def _usable(cohort: Cohort, data: DataSettings) -> tuple[list[Direction], list[Note]]:
    """Return the chosen directions that two subjects have a pair in, and notes on the others."""
    chosen = cohort.directions(data.source, data.target, data.direction)
    counts = {way: len(pair_subjects(cohort, way)) for way in chosen}
    few = {way: count for way, count in counts.items() if count < 2}
    listed = data.direction not in (BOTH, ALL)
    two = data.direction == BOTH and None not in (data.source, data.target)
    named = listed or two or len(cohort.scanners) == 2
    if few and (named or len(few) == len(counts)):
        said = [f"{way}: {_how_few(count)}" for way, count in few.items()]
        problems = said if len(said) <= 10 else [*said[:10], f"and {len(said) - 10} more"]
        raise CohortError(f"{cohort.path or 'the cohort'} has too few pairs:", problems)
    notes = [Note("direction-left-out", _how_few(n), str(way)) for way, n in few.items()]
    return [way for way in chosen if way not in few], notes


def _how_few(count: int) -> str:
    if count:
        return "1 subject has scans on both scanners; two are needed"
    return "no subject has scans on both scanners"


def _require_subjects(counts: Mapping[Direction, int], k: int) -> None:
    few = {way: count for way, count in counts.items() if count < k}
    if few:
        listed = [f"{way}: {count} subjects have a pair" for way, count in few.items()]
        most = min(few.values())
        raise FoldError(
            "\n  - ".join(
                [
                    f"{k} folds need {k} subjects in each direction; choose at most {most} folds "
                    "(--folds), or other directions:",
                    *listed,
                ]
            )
        )


def _folds_of(cohort: Cohort, way: Direction, folds: Folds, file: Path | None) -> Folds:
    """Reduce the common folds to a direction; make others where one of them would be empty."""
    used = {folds.assignment[s] for s in pair_subjects(cohort, way) if s in folds.assignment}
    if file is not None or len(used) == folds.k:
        return direction_folds(cohort, way, folds.k, folds.seed, folds)
    return direction_folds(cohort, way, folds.k, folds.seed)


def _agree(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    return all(other.get(subject) == fold for subject, fold in one.items())


def _cells(
    cohort: Cohort, folds: Mapping[Direction, Folds], numbers: Sequence[int], choice: SplitChoice
) -> dict[tuple[Direction, int], CellSplit]:
    cells = {}
    plain = choice == SplitChoice() and all(
        scan.session == scan.scanner for scan in cohort.scans.values()
    )
    for way, own in folds.items():
        simple = plain and len(own.assignment) == len(cohort.subjects)
        for number in numbers:
            found = cell_pairs(cohort, way, own, number, choice)
            if found is not None:
                train, test = (
                    tuple(map(SessionPair.of, side)) for side in (found.train, found.test)
                )
                cells[way, number] = CellSplit(train, test, simple)
    return cells


def _untested(way: Direction, number: int) -> Note:
    return Note("fold-left-out", f"nothing to test in fold {number}", str(way))
