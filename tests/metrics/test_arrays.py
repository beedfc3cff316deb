import numpy as np
import pytest

from harmbench.errors import MetricError
from harmbench.metrics.arrays import (
    check_axis,
    check_images,
    check_masks,
    check_spacing,
    select,
)

SHAPE = (2, 3, 4)


def test_float_images_pass_without_a_copy_and_others_become_float64():
    single, double = np.zeros(SHAPE, np.float32), np.zeros(SHAPE)
    one, other, whole = check_images({"a": single, "b": double, "c": np.zeros(SHAPE, np.uint8)})
    assert one is single
    assert other is double
    assert whole.dtype == np.float64


def test_unsigned_integers_are_not_subtracted_with_wrap_around():
    (dark,) = check_images({"a": np.full(SHAPE, 1, np.uint8)})
    assert (dark - 2).min() == -1


def test_different_shapes_are_named():
    with pytest.raises(MetricError, match=r"one \(2, 3, 4\), other \(2, 3, 5\)"):
        check_images({"one": np.zeros(SHAPE), "other": np.zeros((2, 3, 5))})


def test_a_mask_of_another_shape_is_named():
    with pytest.raises(MetricError, match=r"mask \(4, 3, 2\)"):
        check_images({"one": np.zeros(SHAPE)}, np.ones((4, 3, 2), bool))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_named(value):
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, :2] = value
    with pytest.raises(MetricError, match="other has 2 voxels that are NaN or infinite"):
        check_images({"one": np.zeros(SHAPE), "other": image})


@pytest.mark.parametrize("shape", [(4, 4), (2, 2, 2, 1), (0, 3, 4)])
def test_only_three_non_empty_axes_are_accepted(shape):
    with pytest.raises(MetricError, match="three non-empty axes"):
        check_images({"image": np.zeros(shape)})
    with pytest.raises(MetricError, match="three non-empty axes"):
        check_masks({"mask": np.zeros(shape, bool)})


def test_complex_images_are_rejected():
    with pytest.raises(MetricError, match="complex128"):
        check_images({"image": np.zeros(SHAPE, complex)})


def test_an_integer_mask_is_rejected_because_it_would_index():
    with pytest.raises(MetricError, match="mask has dtype uint8; a mask is bool"):
        check_images({"image": np.zeros(SHAPE)}, np.ones(SHAPE, np.uint8))


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 1, 1), (1, 0, 1), (1, -1, 1), (1, np.nan, 1)])
def test_spacing_is_three_positive_lengths(spacing):
    with pytest.raises(MetricError, match="three positive lengths in mm"):
        check_spacing(spacing)


@pytest.mark.parametrize("axis", [-1, 3])
def test_the_stacking_axis_is_one_of_three(axis):
    with pytest.raises(MetricError, match="allowed: 0, 1, 2"):
        check_axis(axis)


def test_select_takes_the_mask_or_everything():
    image = np.arange(24.0).reshape(SHAPE)
    assert select(image, image > 20).tolist() == [21, 22, 23]
    assert select(image, None).shape == (24,)
