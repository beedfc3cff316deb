"""Finite values, range, foreground, bounding box, mean and spread."""

import numpy as np
import pytest

from harmbench.arrays import (
    ROUNDING,
    bounding_box,
    count_not_finite,
    foreground,
    in_unit_range,
    is_spacing,
    mean_and_sd,
    outside_unit_range,
)


def test_mean_and_deviation_are_numpys() -> None:
    random = np.random.default_rng(0)
    samples = (1000 + random.normal(0, 1, (5, 3, 4, 2))).astype(np.float32)
    mean, sd = mean_and_sd(iter(samples))
    assert sd is not None
    assert mean.dtype == sd.dtype == np.float32
    exact = samples.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(sd, exact.std(axis=0, ddof=1), rtol=1e-6)


def test_one_sample_has_no_deviation_and_none_is_an_error() -> None:
    one = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    mean, sd = mean_and_sd([one])
    np.testing.assert_array_equal(mean, one)
    assert sd is None
    with pytest.raises(ValueError, match="no samples"):
        mean_and_sd([])


def test_foreground_holds_enclosed_zeros_but_not_the_background() -> None:
    data = np.zeros((7, 7, 7))
    data[1:6, 1:6, 1:6] = 0.5
    data[3, 3, 3] = 0  # a brain voxel that clipping left at 0
    expected = np.zeros((7, 7, 7), dtype=bool)
    expected[1:6, 1:6, 1:6] = True
    np.testing.assert_array_equal(foreground(data), expected)


def test_the_bounding_box_holds_all_voxels_and_no_more() -> None:
    mask = np.zeros((9, 9, 9), bool)
    mask[2, 3, 4] = mask[5, 3, 8] = True
    assert bounding_box(mask) == (slice(2, 6), slice(3, 4), slice(4, 9))
    assert bounding_box(mask, margin=2) == (slice(0, 8), slice(1, 6), slice(2, 9))
    turned = mask[::-1].transpose(2, 1, 0)
    assert bounding_box(turned) == (slice(4, 9), slice(3, 4), slice(3, 7))
    with pytest.raises(ValueError, match="empty mask"):
        bounding_box(np.zeros_like(mask))


def test_values_that_are_not_finite_are_counted() -> None:
    data = np.zeros((2, 3, 4), np.float32)
    assert count_not_finite(data) == 0
    data[0, 0, 0], data[1, 2, 3], data[1, 0, 0] = np.nan, np.inf, -np.inf
    assert count_not_finite(data) == 3


def test_the_unit_range_allows_rounding_alone() -> None:
    values = np.array([-2 * ROUNDING, -ROUNDING / 2, 0, 1, 1 + ROUNDING / 2, 1 + 2 * ROUNDING])
    np.testing.assert_array_equal(outside_unit_range(values), [True, *[False] * 4, True])
    assert in_unit_range(values[1:5])
    assert not in_unit_range(values[:5])
    assert not in_unit_range(values[1:])


@pytest.mark.parametrize("bad", [(1, 1), (1, 1, 0), (1, -1, 1), (1, np.nan, 1), (np.inf, 1, 1)])
def test_a_spacing_is_three_positive_lengths(bad: tuple[float, ...]) -> None:
    assert is_spacing((0.5, 1, 3))
    assert not is_spacing(bad)
