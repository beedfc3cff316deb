"""The difference between two groups of people, and whether a method keeps it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from harmbench.study.agreement import Interval

__all__ = ["GroupDifference", "group_difference", "hedges_g"]

Values = NDArray[np.float64]

_RESAMPLES = 4999


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """The standardized difference of two groups, in harmonized and in reference volumes.

    Attributes:
        measured: Hedges' g of the harmonized volumes, first group minus second.
        reference: Hedges' g of the target scanner's volumes of the same people.
        change: measured minus reference, with the percentile interval of a bootstrap that draws people
            within their group.
    """

    measured: Interval
    reference: Interval
    change: Interval


def hedges_g(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Interval:
    """Standardized mean difference of two groups, corrected for its bias (Hedges 1981).

    The interval uses the normal approximation (Hedges & Olkin 1985, ch. 5).

    Args:
        first, second: values of the groups, at least 2 each.
        level: confidence level of the interval.

    Returns:
        First minus second, in units of the pooled standard deviation; NaN where that is 0.

    Raises:
        ValueError: a group has fewer than 2 values, or a value is not finite.
    """
    x, y = _group(first), _group(second)
    value = float(_g(x[None], y[None])[0])
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, np.nan)
    n, m = x.size, y.size
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt((n + m) / (n * m) + value**2 / (2 * (n + m)))
    return Interval(value, value - float(half), value + float(half))


def group_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    level: float = 0.95,
    seed: int = 0,
) -> GroupDifference:
    """Compare the difference of two groups in harmonized volumes with that in the reference's.

    Args:
        first, second: each group's harmonized volumes and its reference volumes, same people in the
            same order.
        level: confidence level of the intervals.
        seed: seed of the bootstrap.

    Raises:
        ValueError: see `hedges_g`; or harmonized and reference volumes differ in number.
    """
    (x, x_wanted), (y, y_wanted) = ((_group(a), _group(b)) for a, b in (first, second))
    if x.size != x_wanted.size or y.size != y_wanted.size:
        raise ValueError("expected a reference volume for each harmonized volume")
    random = np.random.default_rng(seed)
    rows, others = (random.integers(0, n, (_RESAMPLES, n)) for n in (x.size, y.size))
    changes = _g(x[rows], y[others]) - _g(x_wanted[rows], y_wanted[others])
    changes = changes[np.isfinite(changes)]
    measured, reference = hedges_g(x, y, level), hedges_g(x_wanted, y_wanted, level)
    low, high = np.nan, np.nan
    if changes.size and np.isfinite(measured.value - reference.value):
        low, high = np.quantile(changes, [(1 - level) / 2, (1 + level) / 2])
    change = Interval(measured.value - reference.value, float(low), float(high))
    return GroupDifference(measured, reference, change)


def _group(values: ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
        raise ValueError("a group needs at least 2 finite values")
    return array


def _g(x: Values, y: Values) -> Values:
    """Hedges' g of each row of two arrays, shapes (rows, n) and (rows, m)."""
    n, m = x.shape[1], y.shape[1]
    pooled = np.sqrt(
        ((n - 1) * x.var(axis=1, ddof=1) + (m - 1) * y.var(axis=1, ddof=1)) / (n + m - 2)
    )
    small = 1 - 3 / (4 * (n + m) - 9)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = small * (x.mean(axis=1) - y.mean(axis=1)) / pooled
    return np.asarray(np.where(pooled > 0, found, np.nan))
