"""Paired differences between methods on all measures of one direction, with tests that know folds.

Errors come in as *losses*: the smaller, the better. `docs/statistics.md` describes the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmbench.statistics.intervals import estimate

__all__ = [
    "FEWEST_FOLDS",
    "FEWEST_SUBJECTS",
    "Differences",
    "Losses",
    "compare",
    "with_worst",
]

Array = NDArray[np.float64]

FEWEST_FOLDS = 3
"""With two folds the spread over trained networks is a single difference: nothing can be shown."""

FEWEST_SUBJECTS = 6
"""Pairs below which nothing is judged."""

_ROUNDING = 1e-12
"""Differences below this share of the largest loss are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Errors of all methods on all measures of one direction.

    Attributes:
        array: shape (measures, subjects, methods), the smaller the better, the primary endpoint
            first; NaN where a subject has no value.
        folds: fold of each subject, shape (subjects,).
        region: half-width of the region of equivalence for each subject, shape (measures, subjects),
            in the unit of the losses: two methods are equivalent where the mean of their difference
            lies within the mean of it. NaN where there is none.
    """

    array: Array
    folds: NDArray[np.int_]
    region: Array


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Paired differences of losses, first minus second; all arrays have shape (measures, pairs).

    Attributes:
        value: mean over folds of the fold means.
        error: standard error.
        low, high: 95 % interval.
        p: two-sided; NaN, as the interval is, where there are too few folds or subjects to judge.
        p_equal: of equivalence: the larger of two one-sided tests.
        p_no_gain: one-sided: that the first is not better than the second by the region or more.
        effect: Hedges' g of the pairs; below 0 where the first is better.
        subjects, folds: how many were compared.
    """

    value: Array
    error: Array
    low: Array
    high: Array
    p: Array
    p_equal: Array
    p_no_gain: Array
    effect: Array
    subjects: NDArray[np.int_]
    folds: NDArray[np.int_]


def with_worst(losses: Losses) -> Losses:
    """Give each missing value the worst loss that any method has in the same subject and measure.

    A method without any value on a measure stays without: it does not measure that.
    """
    values = losses.array
    known = np.isfinite(values)
    worst = np.where(known, values, -np.inf).max(axis=2, keepdims=True)
    fill = ~known & known.any(axis=1, keepdims=True) & np.isfinite(worst)
    return Losses(np.where(fill, worst, values), losses.folds, losses.region)


def compare(losses: Losses, pairs: Sequence[tuple[int, int]]) -> Differences:
    """Compare pairs of methods, each on the subjects that both were measured on.

    Args:
        losses: of all methods.
        pairs: indices of the first and the second method.
    """
    measures, subjects, _ = losses.array.shape
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    values = losses.array[:, :, first] - losses.array[:, :, second]
    known = np.where(np.isfinite(losses.array), np.abs(losses.array), 0.0)
    scale = known.max(axis=(1, 2), initial=0.0)[:, None, None]
    values = np.where(np.abs(values) <= _ROUNDING * scale, 0.0, values)
    flat = values.transpose(1, 0, 2).reshape(subjects, measures * len(pairs))
    region = np.repeat(losses.region.T, len(pairs), axis=1)
    found = estimate(flat, losses.folds)
    judged = (found.folds >= FEWEST_FOLDS) & (found.subjects >= FEWEST_SUBJECTS)
    low, high = found.interval()
    above = estimate(flat + region, losses.folds).p_above()
    below = estimate(flat - region, losses.folds).p_below()

    def shaped(numbers: Array) -> Array:
        return numbers.reshape(measures, len(pairs))

    def tested(numbers: Array) -> Array:
        return shaped(np.where(judged, numbers, np.nan))

    return Differences(
        value=shaped(found.value),
        error=tested(found.error),
        low=tested(low),
        high=tested(high),
        p=tested(found.p_different()),
        p_equal=tested(np.maximum(above, below)),
        p_no_gain=tested(above),
        effect=shaped(_hedges(flat)),
        subjects=found.subjects.reshape(measures, len(pairs)),
        folds=found.folds.reshape(measures, len(pairs)),
    )


def _hedges(values: Array) -> Array:
    """Hedges' g of paired differences: mean over SD, times 1 - 3 / (4 df - 1); NaN without spread."""
    known = np.isfinite(values)
    n = known.sum(axis=0)
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / n
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0)
        effect = mean / np.sqrt(squares / (n - 1)) * (1 - 3 / (4 * (n - 1) - 1))
    return np.where(np.isfinite(effect), effect, np.nan)
