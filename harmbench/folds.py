"""Cross-validation folds: the unit of splitting is the subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from harmbench.errors import FoldError

__all__ = ["Folds", "choose_folds", "make_folds"]


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
