"""Means with their intervals and p-values, over subjects alone or over subjects in folds.

One method serves all. Student's t statistic of the fold means is taken as it is, and with Hall's
transformation, which removes the effect of skewed values (Hall, Journal of the Royal Statistical
Society B 1992, 54:221-228); on each side, the more careful of both counts. Where each subject is a fold
of its own, these are intervals over subjects. `docs/statistics.md` compares them with others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

__all__ = ["CONFIDENCE", "Estimates", "estimate", "intervals"]

CONFIDENCE = 0.95
"""Coverage of every interval that harmbench shows."""

Array = NDArray[np.float64]

_ROUNDING = 1e-12
"""Differences below this share of the values are rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Means of one or more columns, with what their tests need; all arrays have shape (columns,).

    Attributes:
        value: mean over folds of the mean over a fold's subjects.
        error: standard error, from the spread of the fold means; NaN with fewer than two folds.
        skew: estimated skewness of the mean: that of the subjects over the root of their number.
        subjects, folds: how many were measured.
    """

    value: Array
    error: Array
    skew: Array
    subjects: NDArray[np.int_]
    folds: NDArray[np.int_]

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Array, Array]:
        """Return the lower and the upper bounds; a bound is NaN where `error` is."""
        with np.errstate(invalid="ignore"):
            level = stats.t.ppf((1 + confidence) / 2, self._freedom)
            low = self.value - self.error * np.maximum(level, self._inverse(level))
            high = self.value - self.error * np.minimum(-level, self._inverse(-level))
        return low, high

    def p_above(self) -> Array:
        """Return one-sided p-values: small where the mean is above 0."""
        return cast(Array, stats.t.sf(np.minimum(*self._statistics()), self._freedom))

    def p_below(self) -> Array:
        """Return one-sided p-values: small where the mean is below 0."""
        return cast(Array, stats.t.cdf(np.maximum(*self._statistics()), self._freedom))

    def p_different(self) -> Array:
        """Return two-sided p-values: small where the mean is not 0."""
        return cast(Array, np.minimum(1.0, 2 * np.minimum(self.p_above(), self.p_below())))

    @property
    def _freedom(self) -> NDArray[np.int_]:
        return np.maximum(self.folds - 1, 1)

    def _statistics(self) -> tuple[Array, Array]:
        """Student's T, and Hall's T + aT² + a²T³/3 + b with a = skew / 3, b = skew / 6."""
        with np.errstate(invalid="ignore", divide="ignore"):
            t = self.value / self.error
        t = np.where((self.value == 0) & (self.error == 0), 0.0, t)
        a = self.skew / 3
        finite = np.where(np.isfinite(t), t, 0.0)
        hall = finite + a * finite**2 + a**2 * finite**3 / 3 + a / 2
        return t, np.where(np.isfinite(t), hall, t)

    def _inverse(self, level: Array) -> Array:
        """The statistic that Hall's transformation takes to `level`."""
        a = self.skew / 3
        straight = np.abs(a) < 1e-9
        safe = np.where(straight, 1.0, a)
        curved = (np.cbrt(1 + 3 * safe * (level - safe / 2)) - 1) / safe
        return np.where(straight, level - a / 2, curved)


def estimate(values: Array, folds: NDArray[np.int_] | None = None) -> Estimates:
    """Estimate the mean of each column.

    Args:
        values: shape (subjects, columns); NaN where a subject has no value.
        folds: fold of each subject, shape (subjects,); `None` makes each subject its own fold, for
            intervals that are about subjects alone.

    Returns:
        One estimate for each column. With fewer than three subjects no skewness is assumed.
    """
    n, columns = values.shape
    labels = np.arange(n) if folds is None else folds
    value, error = np.full(columns, np.nan), np.full(columns, np.nan)
    skew = np.zeros(columns)
    numbers = np.zeros((2, columns), dtype=int)
    for pattern, chosen in _patterns(np.isfinite(values)):
        sample = values[np.ix_(pattern, chosen)]
        _, codes, sizes = np.unique(labels[pattern], return_inverse=True, return_counts=True)
        share = (codes == np.arange(len(sizes))[:, None]) / sizes[:, None]
        means = share @ sample  # (folds, columns)
        value[chosen] = means.mean(axis=0)
        if len(sizes) > 1:
            error[chosen] = means.std(axis=0, ddof=1) / np.sqrt(len(sizes))
        equal = np.ptp(sample, axis=0) <= _ROUNDING * np.abs(sample).max(axis=0)
        value[chosen[equal]] = sample[0, equal]
        error[chosen[equal]] = 0.0 * error[chosen[equal]]
        skew[chosen[~equal]] = _skewness(sample[:, ~equal]) / np.sqrt(len(sample))
        numbers[:, chosen] = np.array([[len(sample)], [len(sizes)]])
    return Estimates(value, error, skew, numbers[0], numbers[1])


def _patterns(known: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int_]]]:
    """Group columns by the rows that they have, if any."""
    if known.all():
        if known.size:
            yield known[:, 0], np.arange(known.shape[1])
        return
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        if pattern.any():
            yield pattern, np.flatnonzero(which.ravel() == number)


def _skewness(sample: Array) -> Array:
    """Unbiased skewness (G1) of each column, none of them constant; 0 with fewer than three rows."""
    if len(sample) < 3 or not sample.shape[1]:
        return np.zeros(sample.shape[1])
    n = len(sample)
    deviation = sample - sample.mean(axis=0)
    squares = deviation**2
    moment = (squares * deviation).mean(axis=0) / squares.mean(axis=0) ** 1.5
    return cast(Array, moment * np.sqrt(n * (n - 1)) / (n - 2))


def intervals(wide: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Estimate the mean of each column over its rows (subjects), with its interval.

    The interval is about subjects: it holds for the networks that were trained, not for another
    training run.

    Args:
        wide: shape (subjects, columns); NaN where a subject has no value.
        confidence: coverage, between 0 and 1.

    Returns:
        Indexed by the columns of `wide`: `n`, `mean`, `sd` (ddof 1), `low` and `high`. The interval
        is NaN with fewer than two subjects, and a point where all values are equal.
    """
    values = wide.sort_index().to_numpy(dtype=np.float64)
    found = estimate(values)
    low, high = found.interval(confidence)
    sd = pd.DataFrame(values).std(ddof=1).to_numpy()
    table: pd.DataFrame = pd.DataFrame(
        {"n": found.subjects, "mean": found.value, "sd": sd, "low": low, "high": high},
        index=wide.columns,
    )
    return table
