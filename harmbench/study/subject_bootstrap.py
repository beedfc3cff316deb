"""Intervals of any statistic by resampling whole subjects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmbench.statistics.intervals import CONFIDENCE

__all__ = ["DEFAULT", "Resampling", "bounds", "subject_draws"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Resampling:
    """How to compute the interval of a statistic other than a mean: a ratio, a slope, a curve.

    Attributes:
        confidence: coverage of the percentile interval (Efron & Tibshirani 1993, Ch. 13).
        resamples: number of bootstrap samples of the subjects.
        seed: seed of the resampling.
    """

    confidence: float = CONFIDENCE
    resamples: int = 2000
    seed: int = 0


DEFAULT = Resampling()


def subject_draws(subjects: int, how: Resampling = DEFAULT) -> NDArray[np.int64]:
    """Return how often each subject is drawn: shape (resamples, subjects), each row sums to `subjects`."""
    rng = np.random.default_rng(how.seed)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=how.resamples)


def bounds(values: Floats, how: Resampling = DEFAULT) -> tuple[float, float]:
    """Return the percentile interval of a statistic.

    Args:
        values: the statistic in each resample, shape (resamples,); NaN where a resample has no
            value. NaN are left out, infinite values are not.
        how: coverage of the interval.

    Returns:
        Lower and upper bound; NaN where fewer than half of the resamples have a value.
    """
    known = np.sort(values[~np.isnan(values)])
    if 2 * known.size < values.size or not known.size:
        return float("nan"), float("nan")
    # Order statistics: interpolation between a finite and an infinite value has no meaning.
    tails = np.array([(1 - how.confidence) / 2, (1 + how.confidence) / 2])
    places = np.clip(np.round(tails * (known.size - 1)).astype(int), 0, known.size - 1)
    low, high = known[places]
    return float(low), float(high)
