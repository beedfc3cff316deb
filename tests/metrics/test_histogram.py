import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from harmbench.errors import MetricError
from harmbench.metrics import histogram as h

METRICS = (h.ahd, h.ahd_normalized, h.wasserstein)
DECLARED = {h.ahd: h.AHD, h.ahd_normalized: h.AHD_NORMALIZED, h.wasserstein: h.WASSERSTEIN}
SHAPE = (8, 9, 10)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    return rng.beta(2, 5, SHAPE), rng.beta(5, 2, SHAPE)


class TestHistogram:
    def test_the_bins_are_those_of_numpy(self, pair):
        expected, _ = np.histogram(pair[0], bins=255, range=(0, 1))
        assert np.array_equal(h.histogram(pair[0]), expected)

    def test_the_range_does_not_follow_the_image(self):
        counts = h.histogram(np.array([0.0, 0.5, 0.999, 1.0]).reshape(1, 2, 2))
        assert {i: int(n) for i, n in enumerate(counts) if n} == {0: 1, 127: 1, 254: 2}

    def test_values_beyond_the_range_are_clipped_not_dropped(self):
        counts = h.histogram(np.array([-3.0, -1e-6, 1 + 1e-6, 7.0]).reshape(1, 2, 2))
        assert (counts[0], counts[254], counts.sum()) == (2, 2, 4)

    def test_the_mask_chooses_the_voxels(self, pair):
        where = pair[0] > 0.5
        counts = h.histogram(pair[0], where)
        assert counts.sum() == where.sum()
        assert counts[:127].sum() == 0

    def test_the_image_is_left_as_it_was(self):
        image = np.full((2, 2, 2), 1.5)
        h.histogram(image)
        assert image.max() == 1.5


class TestPaper:
    def test_ahd_counts_a_moved_voxel_twice(self):
        # 8 black voxels against 6 black and 2 white: |8 - 6| + |0 - 2|.
        black = np.zeros((2, 2, 2), np.float32)
        other = black.copy()
        other[0, 0] = 1
        assert h.ahd(other, black) == 4
        assert h.ahd_normalized(other, black) == 2 / 8
        assert h.ahd(other, black, other == 1) == 4
        assert h.ahd_normalized(other, black, other == 1) == 1

    def test_ahd_does_not_ask_where_the_voxels_are(self, pair):
        assert h.ahd(pair[0][::-1], pair[0]) == 0
        assert h.wasserstein(pair[0][::-1], pair[0]) == 0

    def test_only_the_raw_ahd_grows_with_the_volume(self, pair):
        twice = [np.concatenate([image, image]) for image in pair]
        assert h.ahd(*twice) == 2 * h.ahd(*pair)
        assert h.ahd_normalized(*twice) == h.ahd_normalized(*pair)
        assert h.wasserstein(*twice) == pytest.approx(h.wasserstein(*pair))

    def test_wasserstein_of_a_shift_is_the_shift(self, pair):
        assert h.wasserstein(pair[0] + 0.2, pair[0]) == pytest.approx(0.2)

    def test_wasserstein_of_a_quarter_of_the_voxels_moved_by_a_half(self):
        reference = np.full((1, 2, 2), 0.25)
        moved = reference.copy()
        moved[0, 1, 0] = 0.75
        assert h.wasserstein(moved, reference) == 0.5 / 4


class TestPeers:
    def test_ahd(self, pair):
        one, other = (np.histogram(image, bins=255, range=(0, 1))[0] for image in pair)
        assert h.ahd(*pair) == np.abs(one - other).sum()

    def test_wasserstein(self, pair):
        where = pair[0] > 0.2
        expected = stats.wasserstein_distance(pair[0][where], pair[1][where])
        assert h.wasserstein(pair[0], pair[1], where) == pytest.approx(expected)


class TestProperties:
    @pytest.mark.parametrize("metric", METRICS)
    def test_identical_images_are_perfect(self, metric, pair):
        assert metric(pair[0], pair[0]) == 0
        assert metric(pair[0], pair[0], pair[1] > 0.5) == 0

    @pytest.mark.parametrize("metric", METRICS)
    def test_both_images_may_change_places(self, metric, pair):
        assert metric(*pair) == metric(*pair[::-1])

    @pytest.mark.parametrize("metric", METRICS)
    def test_a_larger_shift_is_worse_in_the_declared_direction(self, metric, pair):
        reference = np.round(pair[0] * 5) / 10
        reference[:2] = np.linspace(0, 0.5, reference[:2].size).reshape(reference[:2].shape)
        mild, bad = (metric(reference + shift, reference) for shift in (0.05, 0.5))
        assert DECLARED[metric].better == "lower"
        assert bad > mild > 0

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(data=st.data())
    def test_values_stay_in_the_declared_range(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=4))
        floats = st.floats(-2, 3, width=32)
        one, other = (data.draw(hnp.arrays(np.float32, shape, elements=floats)) for _ in "ab")
        where = data.draw(st.none() | hnp.arrays(bool, shape))
        for metric, declared in DECLARED.items():
            value = metric(one, other, where)
            assert math.isnan(value) or declared.contains(value)


@pytest.mark.parametrize("metric", METRICS)
class TestErrors:
    def test_an_empty_mask_has_no_value(self, metric, pair):
        assert math.isnan(metric(*pair, np.zeros(SHAPE, bool)))

    def test_shapes(self, metric):
        with pytest.raises(MetricError, match=r"harmonized \(3, 3, 3\), reference \(3, 3, 4\)"):
            metric(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)))

    def test_voxels_that_are_not_finite(self, metric):
        with pytest.raises(MetricError, match="reference has 27 voxels"):
            metric(np.zeros((3, 3, 3)), np.full((3, 3, 3), np.inf))
