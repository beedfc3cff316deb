"""Chance of being best, and rank stability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harmbench.statistics.ranking import rank_firmness

FOLDS = np.arange(24) % 4


def test_a_method_that_is_always_best_is_surely_best() -> None:
    base = np.random.default_rng(0).normal(size=24)
    found = rank_firmness(np.column_stack([base + 1, base, base + 2]), FOLDS)
    assert found.rank.tolist() == found.rank_by_ranks.tolist() == [2, 1, 3]
    assert found.chance_best.tolist() == [0, 1, 0]
    assert found.low.tolist() == found.high.tolist() == [2, 1, 3]


def test_the_chance_of_the_better_of_two_is_1_minus_its_p_value() -> None:
    rng = np.random.default_rng(1)
    losses = np.column_stack([rng.normal(-0.4, 1, 24), rng.normal(0, 1, 24)])
    means = np.array([(losses[f == FOLDS, 0] - losses[f == FOLDS, 1]).mean() for f in range(4)])
    p = stats.ttest_1samp(means, 0, alternative="less").pvalue
    # 4,000 resamples: three standard errors are at most 2.4 %.
    assert rank_firmness(losses, FOLDS).chance_best[0] == pytest.approx(1 - p, abs=0.024)


def test_equal_methods_share_the_chance_and_the_rank() -> None:
    base = np.random.default_rng(2).normal(size=24)
    found = rank_firmness(np.column_stack([base, base]), FOLDS)
    assert found.chance_best.tolist() == [0.5, 0.5]
    assert found.rank.tolist() == [1, 1]


def test_both_orders_of_aggregation_may_disagree() -> None:
    # The first is a little better in most subjects, and far worse in two.
    losses = np.column_stack([np.r_[np.full(22, 0.9), 20, 20], np.ones(24)])
    found = rank_firmness(losses, FOLDS)
    assert found.rank.tolist() == [2, 1]
    assert found.rank_by_ranks.tolist() == [1, 2]


def test_one_fold_says_nothing_of_chances() -> None:
    losses = np.random.default_rng(3).normal(size=(6, 2))
    found = rank_firmness(losses, np.zeros(6, dtype=int))
    assert np.isnan(found.chance_best).all()
    assert (found.low.tolist(), found.high.tolist()) == ([1, 1], [2, 2])
