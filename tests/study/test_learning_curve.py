"""Learning curves: parameters that are known, and what is not known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from harmbench.study.learning_curve import fit_power_law, pairs_needed

SIZES = np.array([2, 4, 8, 16, 32])


@pytest.mark.parametrize(("a", "b", "c"), [(1.0, 3.0, 0.5), (0.2, 2.0, 1.0), (0.1, 1.0, 0.3)])
def test_known_parameters_are_found(a: float, b: float, c: float) -> None:
    found = fit_power_law(SIZES, a + b * SIZES**-c)
    assert found.status == "ok"
    assert (found.a, found.b, found.c) == pytest.approx((a, b, c), abs=1e-3)


def test_the_fit_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    errors = 1 + 3 * SIZES**-0.7 + 0.02 * rng.standard_normal(SIZES.size)
    found = fit_power_law(SIZES, errors)
    peer, _ = curve_fit(lambda n, a, b, c: a + b * n**-c, SIZES.astype(float), errors, (1, 1, 1))
    assert (found.a, found.b, found.c) == pytest.approx(tuple(peer), rel=1e-3)


def test_what_is_not_known_is_said() -> None:
    assert fit_power_law([2, 4, 8], [3, 2, 1]).status == "too-few-sizes"
    assert fit_power_law(SIZES, [1, 1, 1, 1, 1]).status == "no-improvement"
    assert fit_power_law(SIZES, [1, 2, 3, 4, 5]).status == "no-improvement"
    assert fit_power_law(SIZES, [1, 5, 1, 5, 1]).status == "no-improvement"
    # Falls with the logarithm of n, without a bend: the floor may be anywhere.
    assert fit_power_law(SIZES, 6 - np.log(SIZES)).status == "undetermined"


def of_subjects(mean: np.ndarray, spread: float = 0.0, subjects: int = 12) -> np.ndarray:
    own = spread * np.linspace(-1, 1, subjects)
    return mean[None] + own[:, None]


def test_the_number_at_which_a_threshold_is_reached() -> None:
    errors = of_subjects(1 + 4 * SIZES**-1.0)
    found = pairs_needed(SIZES, errors, np.full(len(errors), 1.5))
    assert found.pairs == pytest.approx(8, rel=1e-3)
    # Without spread over subjects the interval is that of the grid of c.
    assert found.low == pytest.approx(8, rel=0.02)
    assert found.high == pytest.approx(8, rel=0.02)
    assert not found.at_once
    assert not found.beyond


def test_a_factor_multiplies_the_threshold() -> None:
    errors = of_subjects(1 + 4 * SIZES**-1.0)
    found = pairs_needed(SIZES, errors, np.full(len(errors), 1.25), factor=1.2)
    assert found.pairs == pytest.approx(8, rel=1e-3)


def test_the_interval_grows_with_the_spread_over_subjects() -> None:
    mean = 1 + 4 * SIZES**-1.0
    rng = np.random.default_rng(0)
    widths = []
    for spread in (0.1, 0.4):
        errors = of_subjects(mean) + spread * rng.standard_normal((12, 1))
        found = pairs_needed(SIZES, errors, np.full(12, 1.6))
        assert found.low < found.pairs < found.high
        widths.append(found.high - found.low)
    assert widths[1] > widths[0]


def test_a_paired_threshold_takes_the_subjects_spread_out() -> None:
    mean = 1 + 4 * SIZES**-1.0
    own = np.random.default_rng(0).standard_normal(12)
    paired = pairs_needed(SIZES, of_subjects(mean) + own[:, None], 1.5 + own)
    assert paired.pairs == pytest.approx(8, rel=0.05)
    assert paired.high - paired.low < 1


def test_reached_at_once_never_and_beyond() -> None:
    errors = of_subjects(1 + 4 * SIZES**-1.0)
    often = np.ones(len(errors))
    assert pairs_needed(SIZES, errors, 9 * often).at_once
    assert pairs_needed(SIZES, errors, 9 * often).pairs == 2
    assert pairs_needed(SIZES, errors, 0.9 * often).pairs == math.inf
    beyond = pairs_needed(SIZES, errors, 1.05 * often)
    assert beyond.beyond
    assert beyond.pairs == pytest.approx(80, rel=1e-2)
    # More than four times the largest size: too far to say a number.
    assert pairs_needed(SIZES, errors, 1.01 * often).pairs == math.inf


def test_an_undetermined_curve_is_not_followed_beyond_what_was_measured() -> None:
    errors = of_subjects(6 - np.log(SIZES))
    often = np.ones(len(errors))
    inside = pairs_needed(SIZES, errors, 4 * often)
    assert inside.pairs == pytest.approx(math.exp(2), rel=0.15)
    assert math.isnan(pairs_needed(SIZES, errors, 2 * often).pairs)


def test_flat_errors_need_any_number_or_none() -> None:
    errors = of_subjects(np.full(5, 2.0), 0.1)
    assert pairs_needed(SIZES, errors, np.full(12, 3.0)).pairs == 2
    assert pairs_needed(SIZES, errors, np.full(12, 1.0)).pairs == math.inf
    few = pairs_needed([2, 4], errors[:, :2], np.full(12, 3.0))
    assert math.isnan(few.pairs)


@pytest.mark.parametrize(
    ("sizes", "errors", "thresholds", "message"),
    [
        ([2, 4], [[1, 2, 3]], [1], "shapes differ"),
        ([2, 4], [[1, 2]], [1, 2], "shapes differ"),
        ([2, 4], [[1, math.nan]], [1], "finite"),
        ([2, 2], [[1, 1]], [1], "different"),
        ([0, 2], [[1, 1]], [1], "above 0"),
    ],
)
def test_bad_values_are_refused(
    sizes: list[int], errors: list[list[float]], thresholds: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pairs_needed(sizes, errors, thresholds)
