"""Cross-validation folds: the unit of splitting is the subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from harmbench.errors import FoldError
from harmbench.files.text import read_table
from harmbench.settings import Settings

__all__ = [
    "DEFAULT_FOLDS",
    "FoldSettings",
    "Folds",
    "choose_folds",
    "make_folds",
    "nested_subsets",
    "read_folds",
]

DEFAULT_FOLDS = 4
"""Number of folds where none is asked for, as in the paper."""

_COLUMNS = ("subject", "fold")


class FoldSettings(Settings):
    """Cross-validation."""

    k: int | None = Field(
        None,
        ge=2,
        description=f"number of folds; unset: {DEFAULT_FOLDS}, or the subjects of the smallest direction, "
        "where those are fewer",
    )
    seed: int = Field(0, ge=0, description="seed of the shuffle")
    file: Path | None = Field(
        None,
        description="folds of one's own instead: a table with the columns `subject` and `fold`",
    )
    run: str = Field("all", description="which folds to run: `all`, `2`, or `0,2`")

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.k is not None and self.file is not None:
            raise ValueError("k and file both say the folds: give one of them")
        return self

    @field_validator("run", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        if isinstance(value, list):
            return ",".join(str(part) for part in value)
        return str(value) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class Folds:
    """The fold that each subject is held out in.

    Attributes:
        k: number of folds.
        seed: seed of the shuffle.
        assignment: subject to fold, from 0 to k - 1.
    """

    k: int
    seed: int
    assignment: Mapping[str, int]

    def test(self, fold: int) -> tuple[str, ...]:
        """Subjects that fold `fold` holds out."""
        return tuple(subject for subject, number in self.assignment.items() if number == fold)

    def train(self, fold: int) -> tuple[str, ...]:
        """Subjects that fold `fold` is trained on.

        Raises:
            FoldError: a subject would be on both sides, or one side is empty.
        """
        train = tuple(subject for subject, number in self.assignment.items() if number != fold)
        test = self.test(fold)
        both = sorted(set(train) & set(test))
        if both:
            raise FoldError(f"fold {fold}: in training and in test: {', '.join(both)}")
        if not train or not test:
            raise FoldError(f"fold {fold}: {len(train)} training and {len(test)} test subjects")
        return train


def make_folds(groups: Mapping[str, str], k: int = 4, seed: int = 0) -> Folds:
    """Split subjects into `k` folds that mix the groups in proportion.

    Subjects are shuffled within their group and assigned to the folds in turn, one group after the
    other. Fold sizes, and the numbers of each group in the folds, differ by at most one.

    Args:
        groups: subject to group.
        k: number of folds, from 2 to the number of subjects.
        seed: seed of the shuffle.

    Raises:
        FoldError: `k` is below 2 or above the number of subjects.
    """
    if not 2 <= k <= len(groups):
        raise FoldError(
            f"{k} folds of {len(groups)} subjects: choose from 2 to {len(groups)} (the number of subjects)"
        )
    random = np.random.default_rng(seed)
    dealt: list[str] = []
    for group in sorted(set(groups.values())):
        members = sorted(subject for subject, own in groups.items() if own == group)
        dealt += [members[i] for i in random.permutation(len(members))]
    fold_of = {subject: place % k for place, subject in enumerate(dealt)}
    return Folds(k, seed, {subject: fold_of[subject] for subject in groups})


def nested_subsets(
    groups: Mapping[str, str], sizes: Sequence[int], seed: int = 0
) -> dict[int, tuple[str, ...]]:
    """Choose training subjects: each subset holds all smaller ones, groups in proportion.

    Args:
        groups: subject to group, of all training subjects.
        sizes: numbers of subjects, each from 1 to all of them.
        seed: of the order of subjects within their group.

    Returns:
        Size to subjects, in a fixed order. In each subset the share of a group differs from that of all
        training subjects by less than one subject, where there are two groups.

    Raises:
        FoldError: a size is out of range.
    """
    for size in sizes:
        if not 1 <= size <= len(groups):
            raise FoldError(f"{size} training subjects: choose from 1 to {len(groups)}")
    rng = np.random.default_rng(seed)
    places: list[tuple[float, str, str]] = []
    for group in sorted(set(groups.values())):
        members = sorted(subject for subject, own in groups.items() if own == group)
        order = rng.permutation(len(members))
        # The k-th of m members stands at the middle of its m-th part of the whole order.
        places += [
            ((rank + 0.5) / len(members), group, members[which]) for rank, which in enumerate(order)
        ]
    ordered = [subject for _, _, subject in sorted(places)]
    return {size: tuple(ordered[:size]) for size in sizes}


def read_folds(path: Path, subjects: Sequence[str], others: Iterable[str] = ()) -> Folds:
    """Read folds of one's own: a table with the columns `subject` and `fold`.

    Folds are numbers, or names that become numbers in their natural order. `sub-` before a subject
    may be left out.

    Args:
        path: a table with tabs (`.tsv`) or commas.
        subjects: that need a fold.
        others: that get one where the table has it, so that the folds are the same for every choice
            of directions.

    Returns:
        The folds of these subjects, then of the others; the seed is 0 and has no meaning.

    Raises:
        FoldError: lists every problem: a column is missing, a subject is not in the table, or is
            there in two folds, or there is one fold only. Subjects of the table that the cohort does
            not have are no problem: the table may be of the whole study.
        CohortError: the file cannot be read.
    """
    table = read_table(path, "\t" if path.suffix == ".tsv" else ",")
    missing = [column for column in _COLUMNS if column not in table.columns]
    if missing:
        raise FoldError(
            f"{path}: column '{missing[0]}' is missing; it has {', '.join(table.columns)}"
        )
    said: dict[str, dict[str, int]] = {}
    problems: list[str] = []
    for row in table.rows:
        subject, fold = (row.values[column] for column in _COLUMNS)
        if not subject or not fold:
            problems.append(f"line {row.line}: {'subject' if not subject else 'fold'} is empty")
        else:
            said.setdefault(subject.removeprefix("sub-"), {}).setdefault(fold, row.line)
    own = {subject: said.get(subject.removeprefix("sub-"), {}) for subject in subjects}
    problems += [f"subject {subject} is not listed" for subject, folds in own.items() if not folds]
    rest = {subject: said.get(subject.removeprefix("sub-"), {}) for subject in others}
    own |= {subject: folds for subject, folds in rest.items() if folds and subject not in own}
    for subject, folds in own.items():
        if len(folds) > 1:
            each = " and ".join(f"{fold} (line {line})" for fold, line in folds.items())
            problems.append(f"subject {subject} is in several folds: {each}")
    names = sorted({fold for folds in own.values() for fold in folds}, key=_natural)
    if not problems and len(names) < 2:
        problems.append(f"its subjects are all in fold {', '.join(names)}: two folds are needed")
    if problems:
        raise FoldError("\n  - ".join([f"{path}: these folds cannot be used:", *problems]))
    place = {name: number for number, name in enumerate(names)}
    return Folds(len(names), 0, {s: place[next(iter(folds))] for s, folds in own.items()})


def _natural(name: str) -> tuple[bool, int, str]:
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def choose_folds(text: str, k: int) -> tuple[int, ...]:
    """Read a choice of folds: `all`, `2`, or `0,2`.

    Raises:
        FoldError: not a number, or not a fold from 0 to k - 1.
    """
    if text.strip() == "all":
        return tuple(range(k))
    chosen = [part.strip() for part in text.split(",")]
    bad = [part for part in chosen if not (part.isascii() and part.isdigit()) or int(part) >= k]
    if bad:
        raise FoldError(
            f"no such fold: {_listed(bad)}; choose all, or from 0 to {k - 1}: 0,{k - 1}"
        )
    return tuple(sorted({int(part) for part in chosen}))


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(repr(part) for part in parts)
