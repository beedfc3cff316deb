"""Agreement: published examples, values derived on paper, and statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from harmbench.study.agreement import bland_altman, coefficient_of_variation, concordance, icc

# Shrout & Fleiss, Psychological Bulletin 1979, Table 2: four judges rate six targets.
SHROUT = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)


def test_icc_of_the_published_example() -> None:
    agreement, consistency = icc(SHROUT)
    assert agreement.value == pytest.approx(0.29, abs=0.005)
    assert (agreement.low, agreement.high) == pytest.approx((0.02, 0.76), abs=0.006)
    assert consistency.value == pytest.approx(0.71, abs=0.006)
    assert (consistency.low, consistency.high) == pytest.approx((0.34, 0.95), abs=0.006)


# Four judges score eight wines (C. Zaiontz, real-statistics.com); pingouin documents its ICC on them.
WINES = np.array(
    [
        [1, 1, 3, 6, 6, 7, 8, 9],
        [2, 3, 8, 4, 5, 5, 7, 9],
        [0, 3, 1, 3, 5, 6, 7, 9],
        [1, 2, 4, 3, 6, 2, 9, 8],
    ]
).T


def test_icc_is_what_pingouin_documents() -> None:
    agreement, consistency = icc(WINES)
    assert round(agreement.value, 3) == 0.728
    assert round(consistency.value, 3) == 0.729
    for found in (agreement, consistency):
        assert (round(found.low, 2), round(found.high, 2)) == (0.43, 0.93)


@pytest.mark.parametrize("seed", range(5))
def test_icc_follows_from_the_analysis_of_variance_of_statsmodels(seed: int) -> None:
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    random = np.random.default_rng(seed)
    n, k = 12, 2 + seed % 3
    values = random.normal(0, 2, (n, 1)) + random.normal(0, 1, (n, k)) + np.arange(k)
    person, judge = np.indices(values.shape)
    frame = {"y": values.ravel(), "person": person.ravel(), "judge": judge.ravel()}
    table = sm.stats.anova_lm(ols("y ~ C(person) + C(judge)", pd.DataFrame(frame)).fit())
    rows, columns, error = table["mean_sq"]
    # McGraw & Wong 1996, Table 4.
    agreement, consistency = icc(values)
    expected = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    assert agreement.value == pytest.approx(expected, abs=1e-6)
    assert consistency.value == pytest.approx((rows - error) / (rows + (k - 1) * error), abs=1e-6)
    ratio = rows / error
    for bound, share in ((consistency.low, 0.975), (consistency.high, 0.025)):
        scaled = ratio / stats.f.ppf(share, n - 1, (n - 1) * (k - 1))
        assert bound == pytest.approx((scaled - 1) / (scaled + k - 1), abs=1e-6)


def test_a_shift_costs_agreement_and_not_consistency() -> None:
    x = np.array([1.0, 2, 3, 4, 5])
    agreement, consistency = icc(np.stack([x, x + 10], axis=1))
    assert consistency.value == pytest.approx(1)
    # On paper: rows 5, columns 250, no error: 5 / (5 + 2 * 250 / 5).
    assert agreement.value == pytest.approx(5 / 105)


def test_icc_of_equal_measurements_is_one_and_of_constant_ones_undefined() -> None:
    x = np.array([1.0, 2, 4, 8])
    for found in icc(np.stack([x, x], axis=1)):
        assert (found.value, found.low, found.high) == (1, 1, 1)
    assert all(np.isnan(found.value) for found in icc(np.ones((5, 2))))


def test_intervals_of_icc_cover_the_truth() -> None:
    random = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(400):
        people = random.normal(0, 1, (20, 1))
        values = people + random.normal(0, 0.5, (20, 2))
        # Without an effect of the measurement both coefficients are 1 / 1.25.
        hits += [found.low <= 0.8 <= found.high for found in icc(values)]
    assert (np.abs(hits / 400 - 0.95) < 0.035).all()


def test_concordance_on_paper() -> None:
    # Means 2 and 3, variances 2/3, covariance 2/3: 2 * 2/3 / (4/3 + 1).
    found = concordance([1, 2, 3], [2, 3, 4])
    assert found.value == pytest.approx(4 / 7)
    assert concordance([1, 2, 3], [1, 2, 3]).value == pytest.approx(1)
    assert concordance([1, 2, 3], [3, 2, 1]).value == pytest.approx(-1)
    assert np.isnan(concordance([1, 2, 3], [5, 5, 5]).value)


def test_intervals_of_concordance_cover_the_truth() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        people = random.normal(0, 1, 60)
        found = concordance(
            people + random.normal(0, 0.5, 60), people + random.normal(0.3, 0.5, 60)
        )
        hits += found.low <= 2 / (2.5 + 0.09) <= found.high
    assert abs(hits / 400 - 0.95) < 0.035


def test_coefficient_of_variation_on_paper() -> None:
    # 90 and 110: variance 200, mean 100. 100 twice: 0.
    assert coefficient_of_variation([90, 100], [110, 100]) == pytest.approx(np.sqrt(0.02 / 2))


def test_bland_altman_on_paper() -> None:
    # Differences 1, 2, 3: bias 2, SD 1; means 1.5, 3, 4.5: slope 2/3 without error.
    found = bland_altman([1, 2, 3], [2, 4, 6])
    assert found.bias.value == pytest.approx(2)
    assert found.limits == pytest.approx((0.04, 3.96))
    assert found.slope.value == pytest.approx(2 / 3)
    assert found.slope_p < 1e-6


def test_bland_altman_is_that_of_statsmodels() -> None:
    import statsmodels.api as sm

    random = np.random.default_rng(2)
    x = random.normal(100, 10, 40)
    y = 1.1 * x + random.normal(0, 3, 40)
    found = bland_altman(x, y)
    peer = sm.OLS(y - x, sm.add_constant((x + y) / 2)).fit()
    low, high = peer.conf_int()[1]
    assert (found.slope.value, found.slope.low, found.slope.high) == pytest.approx(
        (peer.params[1], low, high)
    )
    assert found.slope_p == pytest.approx(peer.pvalues[1])
    mean = sm.stats.DescrStatsW(y - x).tconfint_mean()
    assert (found.bias.low, found.bias.high) == pytest.approx(mean)


@pytest.mark.parametrize("function", [concordance, bland_altman, coefficient_of_variation])
def test_bad_values_are_refused(function) -> None:
    for first, second in (([1, 2, 3], [1, 2]), ([[1.0]], [[1.0]]), ([1, np.nan, 3], [1, 2, 3])):
        with pytest.raises(ValueError, match=r"shape|finite"):
            function(first, second)
    with pytest.raises(ValueError, match=r"at least|above 0"):
        function([1, 2], [1, 2]) if function is concordance else function([], [])


def test_bland_altman_of_few_subjects() -> None:
    one, two = bland_altman([1], [3]), bland_altman([1, 2], [3, 6])
    assert one.bias.value == 2
    assert np.isnan([*one.limits, one.bias.low, one.slope.value, one.slope_p]).all()
    # Differences 2 and 4: mean 3, SD the root of 2.
    assert two.limits == pytest.approx((3 - 1.96 * 2**0.5, 3 + 1.96 * 2**0.5))
    assert np.isnan([two.slope.value, two.slope_p]).all()


def test_bad_tables_of_icc_are_refused() -> None:
    bad: tuple[ArrayLike, ...] = ([[1, 2], [3, 4]], [1, 2, 3], [[1], [2], [3]])
    for values in bad:
        with pytest.raises(ValueError, match=r"at least \(3, 2\)"):
            icc(values)
    with pytest.raises(ValueError, match="finite"):
        icc(np.array([[1, 2], [3, np.inf], [5, 6]]))
