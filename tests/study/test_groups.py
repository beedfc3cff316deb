"""Group differences kept or not, and change per year."""

from __future__ import annotations

import numpy as np
import pytest

from harmbench.study.agreement import annualized_percent_change
from harmbench.study.groups import group_difference, hedges_g


def test_hedges_g_on_paper() -> None:
    # Means 2 and 5, both variances 1: d = -3, times 1 - 3 / (4 * 6 - 9).
    found = hedges_g([1, 2, 3], [4, 5, 6])
    assert found.value == pytest.approx(-3 * (1 - 3 / 15))
    half = 1.959964 * np.sqrt(6 / 9 + found.value**2 / 12)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert np.isnan(hedges_g([1, 1], [1, 1]).value)


def test_a_method_that_erases_a_group_difference_is_found_out() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(10, 1, 40), random.normal(12, 1, 40)
    kept = group_difference((one * 1.1 + 3, one), (two * 1.1 + 3, two))
    assert kept.change.value == pytest.approx(0, abs=1e-12)
    assert kept.measured.value == pytest.approx(kept.reference.value)
    erased = group_difference((one, one), (two - 2, two))
    assert erased.change.low > 0
    assert abs(erased.measured.value) < 0.5 < abs(erased.reference.value)


def test_the_same_seed_gives_the_same_interval() -> None:
    random = np.random.default_rng(1)
    one, two = random.normal(0, 1, (2, 2, 8))
    pairs = (one[0], one[1]), (two[0], two[1])
    assert group_difference(*pairs) == group_difference(*pairs)


def test_bad_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        hedges_g([1], [1, 2])
    with pytest.raises(ValueError, match="a reference volume for each"):
        group_difference(([1, 2, 3], [1, 2]), ([1, 2], [1, 2]))


def test_change_per_year_on_paper() -> None:
    np.testing.assert_allclose(annualized_percent_change([100, 100], [81, 110], [2, 1]), [-10, 10])
    np.testing.assert_allclose(annualized_percent_change([110], [100], [-1]), [10])
    for first, second, years in (([1], [1], [0]), ([0], [1], [1]), ([1], [1], [1, 2])):
        with pytest.raises(ValueError, match=r"years|above 0"):
            annualized_percent_change(first, second, years)
