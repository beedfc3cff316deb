"""Tests of methods: derived on paper, against SciPy and statsmodels, and what failures do to them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from harmbench.statistics.claims import (
    Leads,
    adjust,
    find_leads,
    holm,
    make_claims,
    mean_losses,
    no_gains,
    run_tests,
    with_leads,
)
from harmbench.statistics.differences import Losses, compare, with_worst
from harmbench.statistics.intervals import estimate

NAN = math.nan


def losses(
    *methods: NDArray[np.float64] | list[float], folds: int = 4, region: float = 0.1
) -> Losses:
    """One measure; each argument holds a method's losses, subjects in turn over folds."""
    array = np.array(methods, dtype=float).T[None]
    count = array.shape[1]
    return Losses(array, np.arange(count) % folds, np.full((1, count), region))


def noise(n: int = 24, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=n)


def lead(found: Losses) -> Leads:
    ranked = [*range(found.array.shape[2])]
    return find_leads(mean_losses(found, ranked), run_tests(found, [*combinations(ranked, 2)]))


def test_symmetric_differences_give_the_t_test_of_the_fold_means() -> None:
    # Fold means 1, 2, 3, 4, with a spread inside folds that is symmetric about the mean.
    values = np.array([1.0, 2, 3, 4, 0, 1, 2, 3, 2, 3, 4, 5])
    found = compare(losses(values, np.zeros(12)), [(0, 1)])
    peer = stats.ttest_1samp([1.0, 2, 3, 4], 0)
    assert found.p[0, 0] == pytest.approx(peer.pvalue)
    interval = peer.confidence_interval(0.95)
    assert (found.low[0, 0], found.high[0, 0]) == pytest.approx((interval.low, interval.high))
    assert (found.subjects[0, 0], found.folds[0, 0]) == (12, 4)


def test_one_fold_per_subject_is_the_interval_over_subjects() -> None:
    values = np.exp(noise())
    found = np.array(estimate(values[:, None], np.arange(24)).interval())
    assert found == pytest.approx(np.array(estimate(values[:, None]).interval()))


def test_an_interval_excludes_0_exactly_where_p_is_below_5_percent() -> None:
    rng = np.random.default_rng(1)
    values = rng.lognormal(size=(12, 400)) - rng.uniform(0, 3, 400)
    found = estimate(values, np.arange(12) % 4)
    low, high = found.interval()
    assert (((low > 0) | (high < 0)) == (found.p_different() < 0.05)).all()


def test_equal_methods_have_no_difference_and_a_constant_shift_is_certain() -> None:
    base = noise()
    found = compare(losses(base, base, base - 0.5), [(0, 1), (2, 0)])
    assert found.p[0].tolist() == [1, 0]
    assert (found.low[0, 1], found.high[0, 1]) == pytest.approx((-0.5, -0.5))


@pytest.mark.parametrize(("subjects", "folds"), [(24, 2), (4, 4)])
def test_too_few_folds_or_subjects_are_not_tested(subjects: int, folds: int) -> None:
    found = compare(losses(noise(subjects), noise(subjects) + 9, folds=folds), [(0, 1)])
    assert np.isnan(found.p).all()
    assert np.isnan(found.low).all()
    assert found.value[0, 0] == pytest.approx(-9)


def test_effect_size_is_hedges_g() -> None:
    # Mean 1, SD 1 over 4 subjects, df 3: g = 1 - 3 / 11.
    values = 1 + np.array([1, -1, 1, -1]) * math.sqrt(3 / 4)
    found = compare(losses(values, np.zeros(4)), [(0, 1)])
    assert found.effect[0, 0] == pytest.approx(1 - 3 / 11)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = np.array([0.02, -0.01, 0.01, -0.02] * 3)
    found = compare(losses(values, np.zeros(12), region=0.1), [(0, 1)])
    means = values.reshape(3, 4).mean(axis=0)
    peer = max(
        stats.ttest_1samp(means, -0.1, alternative="greater").pvalue,
        stats.ttest_1samp(means, 0.1, alternative="less").pvalue,
    )
    assert found.p_equal[0, 0] == pytest.approx(peer)
    outside = compare(losses(values + 0.2, np.zeros(12), region=0.1), [(0, 1)])
    assert outside.p_equal[0, 0] > 0.9


def test_no_gain_is_the_one_sided_half_of_equivalence() -> None:
    values = np.array([1.0, 2, 3, 4, 0, 1, 2, 3, 2, 3, 4, 5])
    found = compare(losses(values, np.zeros(12), region=0.5), [(0, 1), (1, 0)])
    means = [1.0, 2, 3, 4]
    for column, sign in ((0, 1), (1, -1)):
        peer = stats.ttest_1samp(sign * np.array(means), -0.5, alternative="greater").pvalue
        assert found.p_no_gain[0, column] == pytest.approx(peer)


def test_that_no_rival_gains_must_be_shown_of_each() -> None:
    rng = np.random.default_rng(3)
    level = np.zeros(24)
    near, better = rng.normal(0, 0.01, 24), rng.normal(-0.2, 0.01, 24)
    found = losses(near, better, level, folds=6, region=0.1)
    tests = run_tests(found, [(0, 2), (1, 2)])
    assert no_gains(tests, [0])[0] < 0.01
    assert no_gains(tests)[0] > 0.9
    assert np.isnan(no_gains(tests, [])[0])
    # Without an original there is no region, and nothing can be judged.
    assert np.isnan(no_gains(run_tests(losses(near, level, region=NAN), [(0, 1)]))[0])


def test_holm_agrees_with_statsmodels_and_keeps_missing_values() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.array([0.01, NAN, 0.04, 0.03, 0.005, 0.9])
    known = np.isfinite(p)
    found = holm(p)
    assert found[known] == pytest.approx(multitest.multipletests(p[known], method="holm")[1])
    assert math.isnan(found[1])


def test_the_primary_endpoint_gets_most_of_the_level_and_passes_it_on() -> None:
    # Primary: 0.01 * 2 / 0.8. Secondary: four tests at a fifth of the level, unless both primary
    # claims stand: then Holm alone counts.
    kept = adjust(np.array([[0.01, 0.9], [0.001, 0.9], [0.9, 0.9]]))
    assert kept[0].tolist() == pytest.approx([0.025, 1.0])
    assert kept[1, 0] == pytest.approx(0.001 * 4 / 0.2)
    assert adjust(np.array([[0.01, 0.9], [0.004, 0.9], [0.9, 0.9]]))[1, 0] == pytest.approx(0.08)
    passed = adjust(np.array([[0.01, 0.01], [0.004, 0.9], [0.9, 0.9]]))
    assert passed[1, 0] == pytest.approx(0.025)  # not below the largest of the primary endpoint


def test_a_single_measure_gets_the_whole_level() -> None:
    assert adjust(np.array([[0.02, 0.5]]))[0].tolist() == pytest.approx([0.04, 0.5])


def test_a_leader_must_beat_every_rival() -> None:
    base = noise()
    jitter = noise(seed=1)
    clear = lead(losses(base, base + 2 + 0.1 * jitter, base + 3))
    assert (clear.best[0], clear.p_adjusted[0] < 0.05) == (0, True)
    tied = lead(losses(base, base + 0.1 * jitter - 0.1 * jitter.mean() + 1e-3, base + 3))
    assert (tied.best[0], tied.p_adjusted[0] < 0.05) == (0, False)


def test_a_method_that_failed_where_it_is_bad_does_not_lead() -> None:
    base = noise()
    other = base + 1 + 0.1 * noise(seed=1)
    assert lead(losses(base, other)).p_adjusted[0] < 0.05
    failed = base.copy()
    failed[[0, 1, 2, 3, 4, 5, 6, 7]] = NAN
    other[:8] = 90  # as bad as it gets: all that failed gets this too
    found = run_tests(losses(failed, other), [(0, 1)])
    assert found.found.value[0, 0] < -0.5
    assert found.p[0, 0] >= found.found.p[0, 0]


def test_claims_that_failed_subjects_undo_are_flagged() -> None:
    base = noise()
    worse = base + 0.5 + 0.05 * noise(seed=1)
    mine, third = base.copy(), base + 40
    mine[:4] = NAN
    claims = make_claims(run_tests(losses(mine, worse, third), [(0, 1)]))
    assert not claims.better[0, 0]
    assert claims.failures_decide[0, 0]


def test_a_lead_implies_that_the_leader_is_better_than_the_others() -> None:
    base = noise()
    found = losses(base, *(base + 2 + 0.1 * noise(seed=k) for k in (1, 2, 3)))
    led = lead(found)
    pairs = [(0, 3), (1, 3), (3, 0)]
    no_claims = make_claims(run_tests(losses(base, base, base, base), pairs))
    claims = with_leads(no_claims, pairs, led)
    assert claims.better[0].tolist() == [True, False, False]
    assert claims.worse[0].tolist() == [False, False, True]
    assert claims.p_adjusted[0].tolist() == pytest.approx([led.p_adjusted[0], 1, led.p_adjusted[0]])


def test_failed_subjects_get_the_worst_value_of_their_row() -> None:
    found = with_worst(losses([1, NAN], [2, 5], [9, 7], [NAN, NAN])).array[0]
    assert found[1, 0] == 7
    assert np.isnan(found[:, 3]).all()  # a method without any value does not measure this
