"""N4 against ANTs, and its spline against what defines one."""

import numpy as np
import pytest

from harmbench.preparation import n4
from harmbench.preparation.bias import bias_field
from harmbench.preparation.settings import BiasSettings
from harmbench.volume import Volume

SPACING = (4.0, 5.0, 3.0)
SETTINGS = BiasSettings(shrink_factor=2, iterations=(10, 5, 5), spline_mm=90)


def head(shape=(38, 31, 45)):
    """A ball of two tissues with noise in a smooth field, not in the middle of its volume."""
    x, y, z = (np.linspace(-1, 1, n) for n in shape)
    radius = np.sqrt(
        (x[:, None, None] - 0.1) ** 2 + y[None, :, None] ** 2 + (z[None, None, :] + 0.1) ** 2
    )
    field = np.exp(0.3 * x[:, None, None] - 0.2 * y[None, :, None] ** 2 + 0.2 * z[None, None, :])
    noise = np.random.default_rng(0).normal(1, 0.03, shape)
    data = np.where(radius < 0.5, 100, 60) * field * noise * (radius < 0.9)
    return data.astype(np.float32), radius < 0.8, radius < 0.45


def of_ants(data, mask):
    settings = SETTINGS.model_copy(update={"method": "ants"})
    return bias_field(Volume(data, np.diag([*SPACING, 1])), mask, settings)


@pytest.mark.parametrize("part", [False, True])
def test_the_field_is_that_of_ants(part):
    data, mask, inner = head()
    where = inner if part else mask
    found = np.exp(n4.log_bias_field(data, where, SPACING, SETTINGS))
    assert found / found[where].mean() == pytest.approx(of_ants(data, where), rel=1e-4)
    assert found[where].max() / found[where].min() > (1.1 if part else 1.3)


def test_voxels_without_signal_are_left_out():
    data, mask, _ = head()
    without = mask.copy()
    without[10:20, 10:15] = False
    expected = n4.log_bias_field(data, without, SPACING, SETTINGS)
    data = np.where(without, data, -1).astype(np.float32)
    assert n4.log_bias_field(data, mask, SPACING, SETTINGS) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0, 7])
def test_an_image_of_one_value_has_no_field(value):
    data, mask, _ = head()
    data = np.full_like(data, value)
    assert not n4.log_bias_field(data, mask, SPACING, SETTINGS).any()


def test_refined_control_points_make_the_same_spline():
    lattice = np.random.default_rng(0).random((4, 5, 6))
    at = np.linspace(0.0, 1.0, 23, dtype=np.float64)
    coarse, fine = (
        n4._expand(points, [n4._basis(at, n - 3) for n in points.shape])
        for points in (lattice, n4._refined(lattice))
    )
    assert fine == pytest.approx(coarse, abs=1e-12)


def test_splines_add_up_to_one():
    assert n4._basis(np.linspace(0.0, 1.0, 50, dtype=np.float64), 3).sum(axis=1) == pytest.approx(1)
