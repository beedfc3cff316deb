import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harmbench.errors import MetricError
from harmbench.metrics import volumetry as v

SPACING = (1.5, 2.0, 0.5)  # voxels of 1.5 mm3


def box(*sides: int) -> np.ndarray:
    mask = np.zeros((6, 6, 6), bool)
    mask[tuple(slice(side) for side in sides)] = True
    return mask


def test_a_volume_is_voxels_times_their_size():
    assert v.volume_mm3(box(2, 3, 4), spacing_mm=SPACING) == 24 * 1.5
    assert v.volume_mm3(box(0, 0, 0), spacing_mm=SPACING) == 0


def test_the_absolute_difference_has_no_sign():
    small, large = box(2, 3, 2), box(2, 3, 4)
    assert v.volume_difference_mm3(small, large, spacing_mm=SPACING) == 12 * 1.5
    assert v.volume_difference_mm3(large, small, spacing_mm=SPACING) == 12 * 1.5


def test_the_relative_difference_is_in_percent_of_the_reference():
    small, large = box(2, 3, 2), box(2, 3, 4)
    assert v.relative_volume_difference(small, large) == -50
    assert v.relative_volume_difference(large, small) == 100


def test_equal_volumes_in_different_places_do_not_differ():
    here, there = box(2, 2, 2), box(2, 2, 2)[::-1]
    assert v.volume_difference_mm3(here, there, spacing_mm=SPACING) == 0
    assert v.relative_volume_difference(here, there) == 0


def test_empty_masks():
    empty, full = box(0, 0, 0), box(2, 2, 2)
    assert v.volume_difference_mm3(empty, full, spacing_mm=(1, 1, 1)) == 8
    assert v.relative_volume_difference(empty, full) == -100
    assert v.relative_volume_difference(empty, empty) == 0
    assert math.isnan(v.relative_volume_difference(full, empty))


def test_a_volume_further_off_is_worse_in_the_declared_direction():
    reference, mild, bad = box(4, 4, 4), box(4, 4, 3), box(4, 4, 1)
    assert v.VOLUME_DIFFERENCE.better == "lower"
    assert v.RELATIVE_VOLUME_DIFFERENCE.better == "zero"
    near, far = (v.volume_difference_mm3(m, reference, spacing_mm=SPACING) for m in (mild, bad))
    assert far > near
    near, far = (v.relative_volume_difference(m, reference) for m in (mild, bad))
    assert abs(far) > abs(near)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(data=st.data())
def test_values_stay_in_the_declared_range(data):
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=4))
    one, other = (data.draw(hnp.arrays(bool, shape)) for _ in "ab")
    assert v.VOLUME.contains(v.volume_mm3(one, spacing_mm=SPACING))
    difference = v.volume_difference_mm3(one, other, spacing_mm=SPACING)
    assert v.VOLUME_DIFFERENCE.contains(difference)
    relative = v.relative_volume_difference(one, other)
    assert math.isnan(relative) or v.RELATIVE_VOLUME_DIFFERENCE.contains(relative)


def test_masks_must_fit_together():
    with pytest.raises(MetricError, match=r"mask \(6, 6, 6\), reference \(6, 6, 5\)"):
        v.volume_difference_mm3(box(1, 1, 1), box(1, 1, 1)[..., :5], spacing_mm=SPACING)
    with pytest.raises(MetricError, match="reference has dtype int64; a mask is bool"):
        v.relative_volume_difference(box(1, 1, 1), box(1, 1, 1).astype(np.int64))
    with pytest.raises(MetricError, match="three positive lengths"):
        v.volume_mm3(box(1, 1, 1), spacing_mm=(1, 1, 0))
