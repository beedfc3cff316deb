"""Bootstrap intervals of means over subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["IntervalKind", "Resampling", "bootstrap"]

IntervalKind = Literal["bca", "percentile"]


@dataclass(frozen=True, slots=True)
class Resampling:
    """How an interval is computed.

    Attributes:
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
        kind: `bca`, bias-corrected and accelerated (Efron 1987; Efron & Tibshirani 1993, Ch. 14),
            or `percentile`.
    """

    confidence: float = 0.95
    resamples: int = 9999
    seed: int = 0
    kind: IntervalKind = "bca"


DEFAULT = Resampling()
"""95 % BCa intervals, as all tables show them."""


def bootstrap(wide: pd.DataFrame, how: Resampling = DEFAULT) -> pd.DataFrame:
    """Bootstrap the mean of each column over its rows (subjects).

    All columns with the same subjects share their resamples, so that differences between columns
    are paired; a column's interval doesn't depend on which other columns are there.

    Args:
        wide: shape (subjects, columns); NaN where a subject has no value.
        how: number and seed of the resamples, coverage and kind of the interval.

    Returns:
        Indexed by the columns of `wide`: `n`, `mean`, `sd` (ddof 1), `low` and `high`. The interval
        is NaN with fewer than two subjects, and a point where all values are equal.
    """
    values = wide.sort_index().to_numpy(dtype=np.float64)
    observed = np.isfinite(values)
    low = np.full(values.shape[1], np.nan)
    high = low.copy()
    patterns, which = np.unique(observed, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(which.ravel() == number)
        if pattern.sum() >= 2:
            sample = values[np.ix_(pattern, columns)]
            low[columns], high[columns] = _interval(sample, how)
    filled = pd.DataFrame(values, columns=wide.columns)
    intervals: pd.DataFrame = pd.DataFrame(
        {
            "n": observed.sum(axis=0),
            "mean": filled.mean().to_numpy(),
            "sd": filled.std(ddof=1).to_numpy(),
            "low": low,
            "high": high,
        },
        index=wide.columns,
    )
    return intervals


def _interval(
    sample: NDArray[np.float64], how: Resampling
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of the mean of each column of `sample`, shape (subjects, columns), no NaN."""
    n = len(sample)
    rng = np.random.default_rng(how.seed)
    # How often each subject is drawn: a resample's mean is then one matrix product for all columns.
    draws = rng.multinomial(n, np.full(n, 1 / n), size=how.resamples)
    centre = sample.mean(axis=0)
    deviation = sample - centre
    means = draws @ deviation / n  # (resamples, columns), around 0
    tails = np.array([(1 - how.confidence) / 2, (1 + how.confidence) / 2])
    levels = np.repeat(tails[:, None], sample.shape[1], axis=1)
    if how.kind == "bca":
        levels = _bca_levels(means, deviation, tails)
    bounds = [np.quantile(means[:, column], levels[:, column]) for column in range(sample.shape[1])]
    low, high = np.transpose(bounds)
    constant = np.ptp(sample, axis=0) == 0
    low[constant] = high[constant] = 0
    return centre + low, centre + high


def _bca_levels(
    means: NDArray[np.float64], deviation: NDArray[np.float64], tails: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantile levels of the BCa interval, shape (2, columns)."""
    squares = (deviation**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A resample that draws each subject once ties with the sample, but for rounding.
        tie = 1e-12 * np.sqrt(squares)
        below = ((means < -tie).mean(axis=0) + (means <= tie).mean(axis=0)) / 2
        bias = norm.ppf(below)
        # For the mean the jackknife is closed: leaving out i moves it by -deviation_i / (n - 1).
        acceleration = (deviation**3).sum(axis=0) / (6 * squares**1.5)
        shifted = bias + norm.ppf(tails)[:, None]
        levels = norm.cdf(bias + shifted / (1 - acceleration * shifted))
    plain = np.broadcast_to(tails[:, None], levels.shape)
    return cast(NDArray[np.float64], np.where(np.isfinite(levels), levels, plain))
