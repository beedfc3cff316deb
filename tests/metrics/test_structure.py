import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage, stats

from harmbench.errors import MetricError
from harmbench.metrics import structure as s

SHAPE = (10, 11, 12)
ISO = (1.0, 1.0, 1.0)
EVERYWHERE = np.ones(SHAPE, bool)


@pytest.fixture
def brain() -> np.ndarray:
    centre = np.linalg.norm((np.indices(SHAPE).T - (4.5, 5, 5.5)).T, axis=0)
    return centre < 4.6


@pytest.fixture
def anatomy(brain) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(5).random(SHAPE), 1.0)
    scaled = 0.2 + 0.6 * (noise - noise.min()) / np.ptp(noise)
    return (scaled * brain).astype(np.float32)


class TestGradientCorrelation:
    def test_a_linear_change_of_contrast_keeps_it_at_1(self, anatomy, brain):
        for changed in (anatomy, 0.3 + 0.5 * anatomy, 1 - anatomy):
            value = s.gradient_correlation(changed, anatomy, brain, spacing_mm=ISO)
            assert value == pytest.approx(1, abs=1e-5)

    def test_edges_in_other_slices(self):
        # Steps of 1 between slices 2 | 3 and 6 | 7: magnitudes are 1/2 on two slices each, so that
        # of the 8 inner slices 2 are edges in either image and none in both: with p = 1/4,
        # correlation (0 - p^2) / (p - p^2) = -1/3.
        first, second = np.zeros(SHAPE), np.zeros(SHAPE)
        first[3:], second[7:] = 1, 1
        value = s.gradient_correlation(first, second, EVERYWHERE, spacing_mm=ISO)
        assert value == pytest.approx(-1 / 3)

    def test_spacing_weighs_the_axes(self):
        # Slopes 1 per voxel along axis 0 in one half and along axis 2 in the other.
        slopes = np.indices(SHAPE)
        halves = np.where(slopes[1] < 5, slopes[0], slopes[2]).astype(float)
        only = np.where(slopes[1] < 5, slopes[0], 0).astype(float)
        where = EVERYWHERE & (slopes[1] != 4) & (slopes[1] != 5)
        apart = s.gradient_correlation(halves, only, where, spacing_mm=(1, 1, 1e6))
        assert apart == pytest.approx(1)
        assert math.isnan(s.gradient_correlation(halves, only, where, spacing_mm=ISO))

    def test_the_outline_of_the_brain_does_not_count(self, brain):
        rng = np.random.default_rng(0)
        one, other = (0.9 + 0.1 * rng.random((2, *SHAPE))) * brain
        assert abs(s.gradient_correlation(one, other, brain, spacing_mm=ISO)) < 0.2

    def test_against_numpy_and_scipy(self, anatomy, brain):
        spacing_mm = (0.7, 1.0, 3.0)
        other = ndimage.gaussian_filter(anatomy, 0.8)
        inner = ndimage.binary_erosion(brain)
        one, two = (
            np.linalg.norm(np.gradient(image.astype(float), *spacing_mm), axis=0)[inner]
            for image in (other, anatomy)
        )
        value = s.gradient_correlation(other, anatomy, brain, spacing_mm=spacing_mm)
        assert value == pytest.approx(stats.pearsonr(one, two).statistic, abs=1e-5)

    def test_more_noise_is_worse(self, anatomy, brain):
        noise = np.random.default_rng(2).normal(0, 1, SHAPE)
        values = [
            s.gradient_correlation(anatomy + k * noise, anatomy, brain, spacing_mm=ISO)
            for k in (0.01, 0.05, 0.2)
        ]
        assert s.GRADIENT_CORRELATION.better == "higher"
        assert values == sorted(values, reverse=True)

    def test_it_is_symmetric(self, anatomy, brain):
        other = ndimage.gaussian_filter(anatomy, 1)
        value = s.gradient_correlation(other, anatomy, brain, spacing_mm=ISO)
        assert value == pytest.approx(
            s.gradient_correlation(anatomy, other, brain, spacing_mm=ISO), abs=1e-9
        )

    def test_without_edges_or_without_inner_voxels_it_has_no_value(self, anatomy, brain):
        ramp = np.indices(SHAPE)[0].astype(np.float32) * np.float32(0.1)
        thin = np.zeros(SHAPE, bool)
        thin[4:6] = True
        for image, where in ((np.full(SHAPE, 0.5), brain), (ramp, brain), (anatomy, thin)):
            assert math.isnan(s.gradient_correlation(image, anatomy, where, spacing_mm=ISO))


class TestStripeIndex:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_one_stripe(self, axis):
        # Offsets against the neighbours' mean are a, -a/2 and -a/2: sum 2a over N - 2 slices.
        reference = np.random.default_rng(1).random(SHAPE)
        striped = reference.copy()
        np.moveaxis(striped, axis, 0)[4] += 0.05
        value = s.stripe_index(striped, reference, EVERYWHERE, stacking_axis=axis)
        assert value == pytest.approx(2 * 0.05 / (SHAPE[axis] - 2))

    def test_every_second_slice_off(self):
        reference = np.zeros(SHAPE)
        striped = reference.copy()
        striped[::2] += 0.1
        assert s.stripe_index(striped, reference, EVERYWHERE) == pytest.approx(0.1)

    def test_a_stripe_in_part_of_a_slice_counts_by_its_share(self):
        reference = np.zeros(SHAPE)
        striped = reference.copy()
        striped[4, :, :3] += 0.08
        value = s.stripe_index(striped, reference, EVERYWHERE)
        assert value == pytest.approx(2 * 0.08 * (3 / 12) / 8)

    def test_slices_count_by_their_brain_voxels(self):
        # Slices of 4 voxels, but only 1 of them brain in slices 5 to 9. Three brain slices in a row
        # hold 4 4 4 1 1 1 1 1 voxels (centred on slices 1 to 8), 17 in all. A stripe in slice 2
        # gives a/2, a, a/2 over 4 voxels each.
        reference = np.zeros((10, 2, 2))
        brain = np.ones(reference.shape, bool)
        brain[5:] = False
        brain[5:, 0, 0] = True
        striped = reference.copy()
        striped[2] += 0.1
        assert s.stripe_index(striped, reference, brain) == pytest.approx(4 * 2 * 0.1 / 17)

    def test_an_error_that_is_linear_along_the_axis_is_removed(self, anatomy, brain):
        x, y, z = np.indices(SHAPE)
        bias = 0.02 * x * np.sin(y) + 0.1 * np.cos(z)
        assert s.stripe_index(anatomy + bias, anatomy, brain) == pytest.approx(0, abs=1e-6)
        striped = anatomy.copy()
        striped[4] += 0.05
        alone = s.stripe_index(striped, anatomy, brain)
        assert s.stripe_index(striped + bias, anatomy, brain) == pytest.approx(alone, rel=1e-5)

    def test_a_smooth_bias_field_is_far_below_a_stripe(self):
        # A cosine over twice the volume's length has second differences of (1 - cos(pi / N)).
        x = np.indices((40, 6, 6))[0]
        bias = 0.05 * np.cos(np.pi * x / 40)
        reference, where = np.full(x.shape, 0.5), np.ones(x.shape, bool)
        value = s.stripe_index(reference + bias, reference, where)
        assert value < 0.05 * (1 - math.cos(math.pi / 40)) < 0.05 * 0.005
        striped = reference + 0.05 * (x % 2)
        assert s.stripe_index(striped, reference, where) > 100 * value

    def test_stripes_across_another_axis_are_not_seen(self, brain):
        reference = np.zeros(SHAPE)
        striped = reference + 0.1 * (np.indices(SHAPE)[2] % 2)
        assert s.stripe_index(striped, reference, EVERYWHERE, stacking_axis=0) == 0
        assert s.stripe_index(striped, reference, EVERYWHERE, stacking_axis=2) > 0.09

    def test_against_a_plain_loop(self, anatomy, brain):
        harmonized = anatomy + np.random.default_rng(9).normal(0, 0.1, SHAPE)
        difference = harmonized - anatomy
        total, count = 0.0, 0
        for i in range(1, SHAPE[0] - 1):
            jumps = [
                difference[i, j, k] - (difference[i - 1, j, k] + difference[i + 1, j, k]) / 2
                for j in range(SHAPE[1])
                for k in range(SHAPE[2])
                if brain[i - 1, j, k] and brain[i, j, k] and brain[i + 1, j, k]
            ]
            total += abs(sum(jumps))
            count += len(jumps)
        assert s.stripe_index(harmonized, anatomy, brain) == pytest.approx(total / count)

    def test_the_reference_is_perfect_and_stronger_stripes_are_worse(self, anatomy, brain):
        offsets = np.random.default_rng(4).normal(0, 1, (SHAPE[0], 1, 1))
        values = [s.stripe_index(anatomy + k * offsets, anatomy, brain) for k in (0, 0.01, 0.1)]
        assert s.STRIPE_INDEX.better == "lower"
        assert values[0] == 0
        assert values == sorted(values)
        assert values[2] == pytest.approx(10 * values[1], rel=1e-4)

    def test_fewer_than_three_slices_have_no_value(self, anatomy):
        for thickness in (0, 1, 2):
            where = np.zeros(SHAPE, bool)
            where[3 : 3 + thickness] = True
            assert math.isnan(s.stripe_index(anatomy, anatomy, where))
            assert math.isnan(s.stripe_index(anatomy[:2], anatomy[:2], EVERYWHERE[:2]))

    def test_the_axis_must_exist(self, anatomy, brain):
        with pytest.raises(MetricError, match="stacking_axis is 3; allowed: 0, 1, 2"):
            s.stripe_index(anatomy, anatomy, brain, stacking_axis=3)


class TestBrightVoxelExcess:
    # 1000 different intensities: ten of them lie above the 99th percentile.
    REFERENCE = np.linspace(0, 0.8, 1000).reshape(10, 10, 10)
    WHERE = np.ones((10, 10, 10), bool)

    def test_forty_more_bright_voxels_in_a_thousand_are_4_percent(self):
        brighter = self.REFERENCE.copy()
        brighter.flat[:40] = 0.95
        value = s.bright_voxel_excess(brighter, self.REFERENCE, self.WHERE)
        assert value == pytest.approx(4.0)

    def test_an_image_without_bright_voxels_lacks_the_references_one_percent(self):
        value = s.bright_voxel_excess(self.REFERENCE / 2, self.REFERENCE, self.WHERE)
        assert value == pytest.approx(-1.0)

    def test_only_the_brain_counts(self):
        brighter = self.REFERENCE.copy()
        brighter.flat[:40] = 0.95
        where = self.WHERE.copy()
        where.flat[:40] = False
        assert s.bright_voxel_excess(brighter, self.REFERENCE, where) == 0

    def test_a_reference_clipped_at_the_top_still_leaves_room_above(self):
        # As prepared: the top 0.1 percent are 1; nothing in [0, 1] is brighter than that.
        reference = np.clip(self.REFERENCE / np.percentile(self.REFERENCE, 99.9), 0, 1)
        white = np.ones_like(reference)
        assert s.bright_voxel_excess(white, reference, self.WHERE) == pytest.approx(99.0)
        assert s.bright_voxel_excess(white, reference, self.WHERE, percentile=100) == 0

    def test_against_percentile_ranks(self):
        rng = np.random.default_rng(8)
        reference, harmonized = rng.beta(2, 3, SHAPE), rng.beta(3, 2, SHAPE)
        where = rng.random(SHAPE) < 0.5
        threshold = stats.scoreatpercentile(reference[where], 95)
        shares = [
            100 - stats.percentileofscore(image[where], threshold, kind="weak")
            for image in (harmonized, reference)
        ]
        value = s.bright_voxel_excess(harmonized, reference, where, percentile=95)
        assert value == pytest.approx(shares[0] - shares[1])

    def test_further_from_zero_is_worse(self):
        values = [
            s.bright_voxel_excess(self.REFERENCE * k, self.REFERENCE, self.WHERE)
            for k in (1, 1.05, 1.25)
        ]
        assert s.BRIGHT_VOXEL_EXCESS.better == "zero"
        assert values[0] == 0
        assert values == sorted(values)

    @pytest.mark.parametrize("percentile", [-1, 101, math.nan])
    def test_the_percentile_must_exist(self, percentile):
        with pytest.raises(MetricError, match="allowed: 0 to 100"):
            s.bright_voxel_excess(self.REFERENCE, self.REFERENCE, self.WHERE, percentile=percentile)


def gradient_correlation(one, other, mask):
    return s.gradient_correlation(one, other, mask, spacing_mm=(1, 0.5, 2))


METRICS = {
    gradient_correlation: s.GRADIENT_CORRELATION,
    s.stripe_index: s.STRIPE_INDEX,
    s.bright_voxel_excess: s.BRIGHT_VOXEL_EXCESS,
}


class TestAll:
    @settings(derandomize=True, deadline=None, max_examples=80)
    @given(data=st.data())
    def test_values_stay_in_the_declared_range(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
        floats = st.floats(-2, 3, width=32)
        one, other = (data.draw(hnp.arrays(np.float32, shape, elements=floats)) for _ in "ab")
        where = data.draw(st.just(np.ones(shape, bool)) | hnp.arrays(bool, shape))
        for metric, declared in METRICS.items():
            value = metric(one, other, where)
            assert math.isnan(value) or declared.contains(value)

    @pytest.mark.parametrize("metric", METRICS)
    def test_an_empty_mask_has_no_value(self, metric, anatomy):
        assert math.isnan(metric(anatomy, anatomy, np.zeros(SHAPE, bool)))

    @pytest.mark.parametrize("metric", METRICS)
    def test_arrays_must_fit_together_and_be_finite(self, metric, anatomy, brain):
        with pytest.raises(MetricError, match=r"harmonized \(10, 11, 12\), .* \(10, 11, 11\)"):
            metric(anatomy, anatomy[..., :11], brain)
        with pytest.raises(MetricError, match="harmonized has 1320 voxels"):
            metric(np.full(SHAPE, np.nan), anatomy, brain)
        with pytest.raises(MetricError, match="a mask is bool"):
            metric(anatomy, anatomy, anatomy)
