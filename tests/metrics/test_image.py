import math
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import metrics as peer

from harmbench.errors import MetricError
from harmbench.metrics import image, ssim

METRICS = (image.mse, image.psnr, ssim.ssim, image.nmi)
DECLARED = {
    image.mse: (image.MSE, image.MSE_BRAIN),
    image.psnr: (image.PSNR, image.PSNR_BRAIN),
    ssim.ssim: (ssim.SSIM, ssim.SSIM_BRAIN),
    image.nmi: (image.NMI, image.NMI_BRAIN),
}
PERFECT = {image.mse: 0.0, image.psnr: 100.0, ssim.ssim: 1.0, image.nmi: 2.0}
SHAPE = (12, 13, 14)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    reference = rng.random(SHAPE, dtype=np.float32)
    noise = rng.normal(0, 0.1, SHAPE).astype(np.float32)
    return np.clip(reference + noise, 0, 1), reference


@pytest.fixture
def mask() -> np.ndarray:
    inside = np.zeros(SHAPE, bool)
    inside[3:9, 2:11, 4:10] = True
    return inside


class TestPaper:
    def test_mse_is_the_mean_over_all_voxels_and_over_the_mask(self):
        reference = np.zeros((2, 2, 2), np.float32)
        harmonized = reference.copy()
        harmonized[0, 0, 0] = 0.5
        brain = np.zeros((2, 2, 2), bool)
        brain[0, 0] = True
        assert image.mse(harmonized, reference) == 0.25 / 8
        assert image.mse(harmonized, reference, brain) == 0.25 / 2

    def test_psnr_of_a_tenth_is_20_db(self):
        reference = np.zeros((3, 3, 3))
        assert image.psnr(reference + 0.1, reference) == pytest.approx(20)

    def test_psnr_of_black_against_white_is_0_db(self):
        assert image.psnr(np.ones((3, 3, 3)), np.zeros((3, 3, 3))) == 0

    def test_psnr_stops_at_its_limit(self):
        reference = np.zeros((3, 3, 3))
        assert image.psnr(reference + 1e-6, reference) == image.PSNR_LIMIT_DB == 100
        assert image.psnr(reference + 1e-4, reference) == pytest.approx(80)

    def test_ssim_of_constant_images_is_the_luminance_term(self):
        # Without variance: (2 x y + C1) / (x^2 + y^2 + C1), with C1 = 0.01^2.
        expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
        assert ssim.ssim(np.full(SHAPE, 0.4), np.full(SHAPE, 0.6)) == pytest.approx(expected)

    def test_nmi_of_independent_images_is_1_and_of_an_inverted_one_2(self):
        reference = np.array([0.0, 0, 1, 1]).reshape(1, 2, 2)
        other = np.array([0.0, 1, 0, 1]).reshape(1, 2, 2)
        assert image.nmi(other, reference) == pytest.approx(1)
        assert image.nmi(1 - reference, reference) == pytest.approx(2)

    def test_nmi_of_a_half_known_image(self):
        # Joint shares 1/2, 1/4, 1/4: entropy 3/2 ln 2; marginals 1/2, 1/2 and 3/4, 1/4.
        reference = np.array([0.0, 0, 1, 1]).reshape(1, 2, 2)
        other = np.array([0.0, 0, 0, 1]).reshape(1, 2, 2)
        quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
        expected = (math.log(2) + quarter) / (1.5 * math.log(2))
        assert image.nmi(other, reference) == pytest.approx(expected)


class TestPeers:
    def test_mse_and_psnr(self, pair):
        assert image.mse(*pair) == pytest.approx(peer.mean_squared_error(*pair), rel=1e-6)
        expected = peer.peak_signal_noise_ratio(pair[1], pair[0], data_range=1.0)
        assert image.psnr(*pair) == pytest.approx(expected, rel=1e-6)

    def test_ssim_of_the_whole_volume(self, pair):
        double = [array.astype(np.float64) for array in pair]
        expected = peer.structural_similarity(
            *double, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
        assert ssim.ssim(*double) == pytest.approx(expected, rel=1e-12)
        assert ssim.ssim(*pair) == pytest.approx(expected, abs=1e-5)

    def test_ssim_of_one_voxel_from_its_window(self, pair):
        double = [array.astype(np.float64) for array in pair]
        one, other = (array[:11, :11, :11] for array in double)
        steps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
        weights = np.einsum("i,j,k->ijk", steps, steps, steps)
        weights /= weights.sum()
        mean_1, mean_2 = (weights * one).sum(), (weights * other).sum()
        var_1 = (weights * (one - mean_1) ** 2).sum()
        var_2 = (weights * (other - mean_2) ** 2).sum()
        covariance = (weights * (one - mean_1) * (other - mean_2)).sum()
        c1, c2 = 0.01**2, 0.03**2
        expected = ((2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)) / (
            (mean_1**2 + mean_2**2 + c1) * (var_1 + var_2 + c2)
        )
        assert ssim.ssim_map(*double)[5, 5, 5] == pytest.approx(expected, rel=1e-9)

    def test_nmi_where_the_images_fill_the_fixed_range(self, pair):
        # The peer's bins span each image's own range: the same bins when that is [0, 1].
        one, other = (array.astype(np.float64) for array in pair)
        for array in (one, other):
            array[0, 0, :2] = 0, 1
        expected = peer.normalized_mutual_information(one, other, bins=255)
        assert image.nmi(one, other) == pytest.approx(expected, rel=1e-9)


class TestProperties:
    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("masked", [False, True])
    def test_identical_images_are_perfect(self, metric, masked, pair, mask):
        reference = pair[1]
        value = metric(reference, reference, mask if masked else None)
        assert value == pytest.approx(PERFECT[metric], abs=1e-6)

    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("masked", [False, True])
    def test_both_images_may_change_places(self, metric, masked, pair, mask):
        where = mask if masked else None
        assert metric(*pair, where) == pytest.approx(metric(*pair[::-1], where), abs=1e-6)

    @pytest.mark.parametrize("metric", METRICS)
    def test_voxels_outside_the_mask_do_not_count(self, metric, pair, mask):
        harmonized, reference = pair
        corner = np.zeros(SHAPE, bool)
        corner[0, 0, 0] = corner[1, 1, 1] = True
        changed = harmonized.copy()
        changed[7:] = 1 - changed[7:]  # beyond the reach of the windows around the corner
        assert metric(changed, reference, corner) == metric(harmonized, reference, corner)
        assert metric(changed, reference) != metric(harmonized, reference)

    @pytest.mark.parametrize("metric", METRICS)
    def test_more_noise_is_worse_in_the_declared_direction(self, metric, mask):
        rng = np.random.default_rng(3)
        reference = np.round(rng.random(SHAPE) * 4) / 4
        noise = rng.normal(0, 1, SHAPE)
        for where, declared in zip((None, mask), DECLARED[metric], strict=True):
            mild, bad = (metric(reference + k * noise, reference, where) for k in (0.02, 0.2))
            assert (bad > mild) if declared.better == "lower" else (bad < mild)

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(data=st.data())
    def test_values_stay_in_the_declared_range(self, data):
        shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=4))
        floats = st.floats(-2, 3, width=32)
        one, other = (data.draw(hnp.arrays(np.float32, shape, elements=floats)) for _ in "ab")
        where = data.draw(st.none() | hnp.arrays(bool, shape))
        for metric in (image.mse, image.psnr, image.nmi):
            value = metric(one, other, where)
            assert math.isnan(value) or DECLARED[metric][0].contains(value)

    @settings(derandomize=True, deadline=None, max_examples=15)
    @given(seed=st.integers(0, 2**32 - 1), low=st.floats(-2, 0.9), width=st.floats(0, 2))
    def test_ssim_stays_in_the_declared_range(self, seed, low, width):
        rng = np.random.default_rng(seed)
        one, other = rng.random((2, *SHAPE))
        assert ssim.SSIM.contains(ssim.ssim(one, low + width * other))
        assert ssim.SSIM_BRAIN.contains(ssim.ssim(one, low - width * one, one > 0.5))


class TestWithoutAValue:
    @pytest.mark.parametrize("metric", METRICS)
    def test_an_empty_mask(self, metric, pair):
        assert math.isnan(metric(*pair, np.zeros(SHAPE, bool)))

    def test_ssim_of_a_volume_thinner_than_its_window(self):
        thin = np.zeros((10, 20, 20), np.float32)
        assert math.isnan(ssim.ssim(thin, thin))
        assert math.isnan(ssim.ssim(thin, thin, np.ones(thin.shape, bool)))

    def test_nmi_of_two_constant_images(self):
        assert math.isnan(image.nmi(np.zeros((3, 3, 3)), np.ones((3, 3, 3))))


@pytest.mark.parametrize("metric", METRICS)
class TestErrors:
    def test_shapes(self, metric):
        with pytest.raises(MetricError, match=r"harmonized \(3, 3, 3\), reference \(3, 3, 4\)"):
            metric(np.zeros((3, 3, 3)), np.zeros((3, 3, 4)))

    def test_voxels_that_are_not_finite(self, metric):
        with pytest.raises(MetricError, match="harmonized has 27 voxels"):
            metric(np.full((3, 3, 3), np.nan), np.zeros((3, 3, 3)))

    def test_a_mask_that_is_not_boolean(self, metric):
        with pytest.raises(MetricError, match="a mask is bool"):
            metric(np.zeros((3, 3, 3)), np.zeros((3, 3, 3)), np.ones((3, 3, 3), int))


@pytest.mark.parametrize("shape", [(11, 40, 13), (33, 12, 17), (11, 11, 17), (12, 50, 49)])
def test_ssim_in_slabs_is_that_of_the_whole_volume(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    one, other = rng.random((2, *shape))
    _, expected = peer.structural_similarity(
        one,
        other,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert ssim.ssim_map(one, other) == pytest.approx(expected, rel=1e-12)
    mask = rng.random(shape) > 0.7
    whole, inside = ssim.mean_ssims(one, other, (None, mask))
    assert whole == pytest.approx(expected[5:-5, 5:-5, 5:-5].mean(), rel=1e-12)
    assert inside == pytest.approx(expected[mask].mean(), rel=1e-12)


BRAINS = {
    "in the middle": np.s_[9:21, 8:30, 12:20],
    "at the border": np.s_[0:12, 20:35, 0:31],
    "one voxel": np.s_[3:4, 33:34, 15:16],
    "everywhere": np.s_[:, :, :],
    "nowhere": np.s_[0:0, :, :],
}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("where", BRAINS.values(), ids=BRAINS)
def test_ssim_of_the_signal_is_that_of_the_whole_volume(where, kind) -> None:
    rng = np.random.default_rng(6)
    one, other = np.zeros((2, 24, 35, 31), kind)
    one[where] = rng.random(one[where].shape)
    other[where] = rng.random(other[where].shape) * (rng.random(other[where].shape) > 0.2)
    for array in (one, other):
        array.flags.writeable = False
    _, expected = peer.structural_similarity(
        *(one, other),
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    found = ssim.ssim_map(one, other)
    assert found == pytest.approx(expected, abs=1e-6 if kind == np.float32 else 1e-13)
    if platform.machine() == "x86_64":  # elsewhere compilers may fuse operations
        assert np.array_equal(found, expected)
