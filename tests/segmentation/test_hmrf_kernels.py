"""The compiled loops of hmrf against formulas and against plain loops."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from harmbench.segmentation.hmrf import kernels, mixels, smoothing
from harmbench.segmentation.hmrf.estimation import neighbour_weights, smoothing_kernel
from harmbench.segmentation.hmrf.partial import clique_table, fraction_grid
from harmbench.segmentation.hmrf.sweeps import sweeps
from harmbench.segmentation.hmrf.workers import Workers


def rows(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = np.where(brain.any(2), brain.argmax(2), 1).astype(np.int32)
    last = np.where(brain.any(2), brain.shape[2] - 1 - brain[:, :, ::-1].argmax(2), 0)
    return first, last.astype(np.int32)


def random_brain(shape, seed=0, filled=0.8):
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, dtype=bool)
    brain[1:-1, 1:-1, 1:-1] = rng.random([n - 2 for n in shape]) < filled
    values = np.where(brain, rng.normal(0.5, 0.1, shape), 0).astype(np.float32)
    return brain, values


MEANS = np.array([0.4, 0.5, 0.6])
VARIANCES = np.array([0.01, 0.004, 0.002])


def densities(values):
    gaps = values[..., None] - MEANS
    return np.exp(-(gaps**2) / (2 * VARIANCES)) / np.sqrt(VARIANCES)


def test_exponential_is_right_to_single_precision():
    for x in np.linspace(-60, 60, 997):
        assert float(kernels.single_exp(np.float32(x))) == pytest.approx(
            math.exp(np.float32(x)), rel=3e-7
        )
    assert float(kernels.single_exp(np.float32(-1e9))) > np.finfo(np.float32).tiny


def test_posteriors_of_two_equal_gaussians_are_logistic():
    values = np.zeros((3, 3, 12), dtype=np.float32)
    values[1, 1, 1:11] = np.linspace(0.1, 0.9, 10)
    brain = values > 0
    first, last = rows(brain)
    p = np.zeros((2, 3, 3, 12), dtype=np.float32)
    mu, var = np.array([0.3, 0.7]), np.array([0.02, 0.02])
    inside = brain.astype(np.float32)
    kernels.posteriors(0, 3, p, values, inside, first, last, mu, var)
    expected = 1 / (1 + np.exp((0.5 - values[1, 1, 1:11].astype(float)) * 0.4 / 0.02))
    assert p[1, 1, 1, 1:11] == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert p.sum(axis=0)[brain] == pytest.approx(1, abs=1e-6)
    assert (p[:, ~brain] == 0).all()


def test_moments_are_weighted_sums():
    brain, values = random_brain((6, 7, 8))
    p = np.random.default_rng(1).random((3, 6, 7, 8)).astype(np.float32) * brain
    sums = np.zeros((6, 3, 3))
    kernels.moments(0, 6, p, values, *rows(brain), np.array([0.1, 0.2, 0.3]), sums)
    for k, centre in enumerate((0.1, 0.2, 0.3)):
        gap = values.astype(float) - centre
        for power in range(3):
            assert sums[:, k, power].sum() == pytest.approx((p[k] * gap**power).sum(), rel=1e-6)


def plain_sweep(p, values, brain, beta, spacing):
    """One raster sweep written out; p is (z, y, x, class)."""
    likelihood = densities(values.astype(float))
    for z, y, x in np.argwhere(brain):
        energy = np.zeros(3)
        for step in product((-1, 0, 1), repeat=3):
            if 1 <= np.abs(step).sum() <= 2:
                distance = math.hypot(*(n * mm for n, mm in zip(step, spacing[::-1], strict=True)))
                energy += p[z + step[0], y + step[1], x + step[2]] / distance
        q = np.exp(beta * energy) * likelihood[z, y, x]
        p[z, y, x] = q / q.sum()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("planes", [3, 10, 23])
def test_sweeps_equal_a_plain_raster_loop(planes, threads):
    spacing = (1.0, 1.5, 0.8)
    brain, values = random_brain((planes, 6, 7), seed=planes)
    expected = np.where(brain[..., None], 1 / 3, 0).repeat(3, axis=-1)
    for _ in range(5):
        plain_sweep(expected, values, brain, 0.3, spacing)
    inside = brain.astype(np.float32)
    p = np.stack([inside / np.float32(3)] * 3)
    w = (0.3 * neighbour_weights(spacing)).astype(np.float32)
    with Workers(threads) as workers:
        sweeps(workers, 5, p, values, inside, *rows(brain), w, MEANS, VARIANCES)
    assert np.moveaxis(p, 0, -1) == pytest.approx(expected, abs=2e-6)


def test_sweeps_equal_a_plain_raster_loop_in_a_wide_box():
    """Wider than the least pitch of the sweeps' buffers allows for."""
    brain, values = random_brain((4, 5, 190), filled=0.97)
    expected = np.where(brain[..., None], 1 / 3, 0).repeat(3, axis=-1)
    for _ in range(2):
        plain_sweep(expected, values, brain, 0.3, (1, 1, 1))
    p = np.full((3, *brain.shape), np.nan, np.float32)
    p[:, ~brain] = 0
    w = (0.3 * neighbour_weights((1, 1, 1))).astype(np.float32)
    inside = brain.astype(np.float32)
    with Workers(2) as workers:
        given = (values, inside, *rows(brain), w, MEANS, VARIANCES)
        sweeps(workers, 2, p, *given, fresh=True)
    assert np.moveaxis(p, 0, -1) == pytest.approx(expected, abs=2e-6)


def test_sweeps_begin_with_what_they_are_given():
    brain, values = random_brain((5, 6, 7))
    inside = brain.astype(np.float32)
    w = (0.3 * neighbour_weights((1, 1, 1))).astype(np.float32)
    given = (values, inside, *rows(brain), w, MEANS, VARIANCES)
    once = np.stack([inside / np.float32(3)] * 3)
    twice = once.copy()
    with Workers(1) as workers:
        sweeps(workers, 2, once, *given)
        for _ in range(2):
            sweeps(workers, 1, twice, *given)
    assert once == pytest.approx(twice, abs=1e-7)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pipeline_keeps_its_order(threads):
    stages, blocks, ahead = 3, 9, 4
    done = [0] * stages

    def work(stage, block):
        assert block == done[stage]
        assert stage == 0 or done[stage - 1] > block
        assert done[0] - done[-1] <= ahead
        done[stage] += 1

    with Workers(threads) as workers:
        workers.pipeline(work, stages, blocks, ahead)
    assert done == [blocks] * stages


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_ends_a_pipeline(threads):
    def work(stage, block):
        if (stage, block) == (1, 2):
            raise ZeroDivisionError("in a stage")

    with Workers(threads) as workers, pytest.raises(ZeroDivisionError, match="in a stage"):
        workers.pipeline(work, 2, 50, 3)


def test_two_neighbours_by_hand():
    values = np.zeros((3, 3, 4), dtype=np.float32)
    values[1, 1, 1:3] = 0.45, 0.55
    inside = (values > 0).astype(np.float32)
    p = np.stack([inside / np.float32(3)] * 3)
    w = np.zeros(6, dtype=np.float32)
    w[0] = 2.0
    with Workers(1) as workers:
        sweeps(workers, 1, p, values, inside, *rows(inside > 0), w, MEANS, VARIANCES)
    left = densities(np.array(0.45, dtype=np.float32))  # its neighbour is still undecided
    left = left / left.sum()
    right = densities(np.array(0.55, dtype=np.float32)) * np.exp(2 * left)
    assert p[:, 1, 1, 1] == pytest.approx(left, rel=1e-4)
    assert p[:, 1, 1, 2] == pytest.approx(right / right.sum(), rel=1e-4)


def test_neighbour_weights_are_inverse_distances():
    assert neighbour_weights((1, 2, 3)) == pytest.approx(
        [1, 1 / 2, 1 / 3, 5**-0.5, 10**-0.5, 13**-0.5]
    )


@pytest.mark.parametrize(("spacing", "radius"), [(1, 20), (2, 10), (4, 4), (20, 0)])
def test_smoothing_kernel_ends_at_twice_the_whole_sigma(spacing, radius):
    half = smoothing_kernel(spacing)
    assert half.size == radius + 1
    assert 2 * half.sum() - half[0] == pytest.approx(1, abs=1e-6)
    if radius:
        assert half[1] / half[0] == pytest.approx(math.exp(-0.5 * (spacing / 10.2) ** 2), rel=1e-5)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_smoothing_is_scipys_with_zeros_outside(axis):
    field = np.random.default_rng(0).random((2, 9, 30, 50)).astype(np.float32)
    half = smoothing_kernel(2)
    out = np.empty_like(field)
    whole_rows = np.zeros((9, 30), np.int32), np.full((9, 30), 49, np.int32)
    smoothing.smooth(0, 9, field, half, axis, *whole_rows, out)
    whole = np.concatenate([half[:0:-1], half])
    expected = ndimage.convolve1d(field.astype(float), whole, axis=axis, mode="constant")
    assert out == pytest.approx(expected, abs=2e-6)


def test_bias_terms_weigh_residuals_by_precision():
    y = np.full((1, 1, 2), 0.5, dtype=np.float32)
    p = np.zeros((2, 1, 1, 2), dtype=np.float32)
    p[:, 0, 0, 0] = 0.25, 0.75
    out = np.full((2, 1, 1, 2), np.nan, dtype=np.float32)
    smoothing.bias_terms(0, 1, p, y, np.array([0.4, 0.6]), np.array([0.1, 0.5]), out)
    assert out[:, 0, 0, 0] == pytest.approx([0.25 * 0.1 / 0.1 - 0.75 * 0.1 / 0.5, 2.5 + 1.5])
    assert (out[:, 0, 0, 1] == 0).all()


def test_clique_table_of_three_tissues():
    expected = [
        [2, -1, -1, 1, 1, -1],
        [-1, 2, -1, 1, -1, 1],
        [-1, -1, 2, -1, 1, 1],
        [1, 1, -1, 2, -1, -1],
        [1, -1, 1, -1, 2, -1],
        [-1, 1, 1, -1, -1, 2],
    ]
    assert clique_table(3).tolist() == expected


def test_halves_go_to_the_second_class():
    grid = fraction_grid()
    assert grid.size == 101
    assert grid[0] == 0
    assert grid[50] < 0.5 < 1 - grid[50]
    assert grid == pytest.approx(np.arange(101) / 100, abs=1e-6)


def mixture(means, variances):
    part = np.arange(101) / 100
    mean = part * means[0] + (1 - part) * means[1]
    var = part**2 * variances[0] + (1 - part) ** 2 * variances[1]
    return mean, var


def test_mixel_likelihood_is_the_density_summed_over_fractions():
    values = np.zeros((3, 3, 5), dtype=np.float32)
    values[1, 1, 1:4] = 0.2, 0.45, 3.0
    means, variances = np.array([0.3, 0.6]), np.array([0.01, 0.004])
    mean, var = mixture(means, variances)
    terms = tuple(t.astype(np.float32)[None] for t in (mean, 0.5 / var, -0.5 * np.log(var)))
    pure = np.stack([means, 0.5 / variances, -0.5 * np.log(variances)], 1).astype(np.float32)
    out = np.zeros((3, 3, 3, 5), dtype=np.float32)
    mixels.mixel_likelihood(
        0, 3, values, *rows(values > 0), pure, terms[0], terms[1], terms[2], 0.01, out
    )
    for x in (1, 2, 3):
        value = float(values[1, 1, x])
        log = -((value - mean) ** 2) / (2 * var) - 0.5 * np.log(var)
        mixed = np.logaddexp.reduce(log) + np.log(0.01)
        alone = -((value - means) ** 2) / (2 * variances) - 0.5 * np.log(variances)
        assert out[:, 1, 1, x] == pytest.approx([*alone, mixed], rel=1e-4)


def test_mixel_sweep_by_hand():
    # Types of two classes: 0, 1, mixed 2; 3 is outside. A mixed voxel between two pure ones.
    types = np.full((3, 3, 5), 3, dtype=np.int32)
    types[1, 1, 1:4] = 0, 2, 0
    likelihood = np.zeros((3, 3, 3, 5), dtype=np.float32)
    likelihood[:, 1, 1, 1] = 0, -9, -9
    likelihood[:, 1, 1, 3] = -9, -9, 0
    # Middle: pure 2 + 2, mixed 1 + 1, so the mixture wins only if 2 w more likely (w = 0.3).
    likelihood[:, 1, 1, 2] = 0, -9, 0.59
    w = np.full(6, 0.3, dtype=np.float32)
    changed = types.copy()
    mixels.mixel_sweep(changed, likelihood, w, clique_table(2))
    # The last voxel is visited after the middle one has become pure.
    assert changed[1, 1, 1:4].tolist() == [0, 0, 2]
    likelihood[2, 1, 1, 2] = 0.61
    mixels.mixel_sweep(types, likelihood, w, clique_table(2))
    assert types[1, 1, 1:4].tolist() == [0, 2, 2]
    assert (types[0] == 3).all()


def test_fractions_find_the_mixture_when_spreads_are_equal_at_the_middle():
    means, variances = np.array([0.2, 0.8]), np.array([1e-6, 1e-6])
    mean, var = mixture(means, variances)
    terms = tuple(t.astype(np.float32)[None] for t in (mean, 0.5 / var, -0.5 * np.log(var)))
    values = np.zeros((1, 1, 4), dtype=np.float32)
    values[0, 0] = 0.8 - 0.6 * 0.25, 0.8 - 0.6 * 0.9, 0.3, 0.0
    types = np.array([[[2, 2, 0, 3]]], dtype=np.int32)
    out = np.zeros((2, 1, 1, 4), dtype=np.float32)
    pairs = np.array([[0, 1]], dtype=np.int32)
    mixels.fractions(0, 1, values, types, pairs, fraction_grid(), terms[0], terms[1], terms[2], out)
    found = out[:, 0, 0].T
    assert found == pytest.approx(np.array([[0.25, 0.75], [0.9, 0.1], [1, 0], [0, 0]]), abs=1e-5)
