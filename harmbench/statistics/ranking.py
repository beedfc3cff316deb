"""How firm a ranking is: resampling of folds, and both orders of aggregation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harmbench.statistics.intervals import CONFIDENCE, estimate

__all__ = ["Ranking", "rank_firmness"]

Array = NDArray[np.float64]

_RESAMPLES = 4000
_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Ranks of methods on one measure, 1 is best, ties share the better; arrays of shape (methods,).

    Attributes:
        rank: of the mean over folds of the fold means.
        rank_by_ranks: of the mean over subjects of the rank within the subject.
        low, high: 95 % interval of `rank` under resampling.
        chance_best: share of resamples in which the method has the smallest mean; methods that tie
            divide theirs. With one fold nothing can be resampled, and it is NaN.
    """

    rank: NDArray[np.int_]
    rank_by_ranks: NDArray[np.int_]
    low: NDArray[np.int_]
    high: NDArray[np.int_]
    chance_best: Array


def rank_firmness(losses: Array, folds: NDArray[np.int_]) -> Ranking:
    """Rank methods, and resample folds, with the subjects in them, to see how firm the ranks are.

    A multiplier bootstrap: each resample weighs the deviations of the fold means by random numbers,
    and is spread by the factor that turns a normal into Student's t with the folds' degrees of
    freedom. A plain bootstrap of few folds is too sure. With two methods, the chance of being best is
    close to 1 minus a one-sided p-value.

    Args:
        losses: shape (subjects, methods), the smaller the better, without NaN.
        folds: fold of each subject, shape (subjects,).
    """
    means = estimate(losses, folds).value
    own = _ranks(means)
    by_ranks = _ranks(stats.rankdata(losses, axis=1).mean(axis=0))
    if len(np.unique(folds)) < 2:
        nothing = np.full(len(means), np.nan)
        return Ranking(own, by_ranks, np.ones_like(own), np.full_like(own, len(own)), nothing)
    drawn = _resampled_means(means, losses, folds)
    ranks = stats.rankdata(drawn, method="min", axis=1)
    tail = (1 - CONFIDENCE) / 2
    first = ranks == 1
    wins = first.sum(axis=1, keepdims=True)
    return Ranking(
        rank=own,
        rank_by_ranks=by_ranks,
        low=np.quantile(ranks, tail, axis=0, method="inverted_cdf").astype(int),
        high=np.quantile(ranks, 1 - tail, axis=0, method="inverted_cdf").astype(int),
        chance_best=(first / wins).mean(axis=0),
    )


def _ranks(values: Array) -> NDArray[np.int_]:
    # Means of equal values may differ in their last digits.
    rounded = np.array([float(f"{value:.10g}") for value in values])
    return cast(NDArray[np.int_], stats.rankdata(rounded, method="min").astype(int))


def _resampled_means(means: Array, losses: Array, folds: NDArray[np.int_]) -> Array:
    """Return means of resampled folds, shape (resamples, methods)."""
    rng = np.random.default_rng(_SEED)
    names = np.unique(folds)
    k = len(names)
    of_folds = np.array([losses[folds == name].mean(axis=0) for name in names])
    weights = rng.normal(size=(_RESAMPLES, k)) / np.sqrt(k * (k - 1))
    spread = np.sqrt((k - 1) / rng.chisquare(k - 1, size=(_RESAMPLES, 1)))
    drawn: Array = means + spread * (weights @ (of_folds - means))
    return drawn
