"""How firm a ranking is: resampling of folds and subjects, and both orders of aggregation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
            divide theirs.
    """

    rank: NDArray[np.int_]
    rank_by_ranks: NDArray[np.int_]
    low: NDArray[np.int_]
    high: NDArray[np.int_]
    chance_best: Array


def rank_firmness(losses: Array, folds: NDArray[np.int_]) -> Ranking:
    """Rank methods, and resample folds and the subjects in each to see how firm the ranks are.

    Args:
        losses: shape (subjects, methods), the smaller the better, without NaN.
        folds: fold of each subject, shape (subjects,).
    """
    means = estimate(losses, folds).value
    within = pd.DataFrame(losses).rank(axis=1).mean(axis=0).to_numpy()
    drawn = _resampled_means(losses, folds)
    ranks = pd.DataFrame(drawn).rank(axis=1, method="min").to_numpy()
    tail = (1 - CONFIDENCE) / 2
    first = ranks == 1
    return Ranking(
        rank=_ranks(means),
        rank_by_ranks=_ranks(within),
        low=np.quantile(ranks, tail, axis=0, method="inverted_cdf").astype(int),
        high=np.quantile(ranks, 1 - tail, axis=0, method="inverted_cdf").astype(int),
        chance_best=(first / first.sum(axis=1, keepdims=True)).mean(axis=0),
    )


def _ranks(values: Array) -> NDArray[np.int_]:
    # Means of equal values may differ in their last digits.
    rounded = np.array([float(f"{value:.10g}") for value in values])
    ranks: NDArray[np.int_] = pd.Series(rounded).rank(method="min").to_numpy().astype(int)
    return ranks


def _resampled_means(losses: Array, folds: NDArray[np.int_]) -> Array:
    """Draw folds, then as many subjects as the fold has from each; shape (resamples, methods)."""
    rng = np.random.default_rng(_SEED)
    names = np.unique(folds)
    chosen = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    means = np.zeros((_RESAMPLES, losses.shape[1]))
    for number, name in enumerate(names):
        rows = losses[folds == name]
        for place in range(len(names)):
            here = np.flatnonzero(chosen[:, place] == number)
            counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=len(here))
            means[here] += counts @ rows / len(rows)
    return means / len(names)
