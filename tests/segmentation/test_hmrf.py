"""The hmrf segmenter on volumes whose answer is known."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harmbench.errors import SegmentationError, VolumeError
from harmbench.segmentation import AUTO, make_segmenter
from harmbench.segmentation.hmrf import Hmrf, hmrf
from harmbench.segmentation.hmrf.estimation import run_steps
from harmbench.volume import Volume

INTENSITIES = np.array([0.0, 0.2, 0.5, 0.8])


def head(side=40, spread=0.03, seed=0):
    """Concentric balls: WM inside GM inside CSF, with noise; returns intensities and truth."""
    axis = np.arange(side) - (side - 1) / 2
    radius = np.sqrt(sum(np.square(a) for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    truth = np.digitize(-radius, [-0.45 * side, -0.4 * side, -0.3 * side])
    noise = np.random.default_rng(seed).normal(0, spread, truth.shape)
    data = np.where(truth > 0, np.maximum(INTENSITIES[truth] + noise, 1e-3), 0)
    return data.astype(np.float32), truth.astype(np.uint8)


def test_recovers_the_mixture_and_the_labels():
    data, truth = head()
    found = hmrf(data, (1, 1, 1))
    assert (found.labels == truth)[truth > 0].mean() > 0.999
    assert (found.labels[truth == 0] == 0).all()
    for k in (1, 2, 3):
        values = np.log1p(data[truth == k].astype(float))
        assert found.means[k - 1] == pytest.approx(values.mean(), abs=3e-3)
        assert found.variances[k - 1] == pytest.approx(values.var(), rel=0.05)
    assert found.partial_volumes is None
    assert not found.labels.flags.writeable
    assert np.exp(np.log(found.bias_field[truth > 0]).mean()) == pytest.approx(1, abs=1e-5)


def test_the_field_removes_noise_that_a_threshold_keeps():
    data, truth = head(spread=0.09)
    brain = truth > 0
    found = hmrf(data, (1, 1, 1))
    thresholds = np.digitize(data, [0.35, 0.65]) + 1
    wrong = (found.labels != truth)[brain].mean()
    assert wrong < 0.8 * (thresholds != truth)[brain].mean()


def test_a_constant_factor_changes_nothing_but_the_means():
    data, _ = head()
    factor = 1.3
    one = hmrf(data, (1, 1, 1))
    other = hmrf(np.where(data > 0, (data + 1) * factor - 1, 0), (1, 1, 1))
    assert (one.labels != other.labels).mean() < 1e-4
    assert other.bias_field == pytest.approx(one.bias_field, abs=1e-4)
    assert other.means == pytest.approx(one.means + np.log(factor), abs=1e-4)


def test_finds_a_smooth_bias_field():
    data, truth = head()
    brain = truth > 0
    field = np.exp(np.linspace(-0.06, 0.06, 40))[:, None, None] * np.ones_like(data)
    found = hmrf(np.where(brain, (data + 1) * field - 1, 0).clip(0), (1, 1, 1))
    # Smoothing over 10 mm flattens the ends of a 40 mm ramp, so the shape is asked for, not the size.
    assert np.corrcoef(np.log(found.bias_field[brain]), np.log(field[brain]))[0, 1] > 0.98
    assert (found.labels == truth)[brain].mean() > 0.999
    assert (found.bias_field[~brain] == 1).all()


def test_partial_volumes_of_a_ramp():
    data, truth = head(spread=0.01)
    # The shell between WM and GM is a mixture that rises evenly.
    side = data.shape[0]
    axis = np.arange(side) - (side - 1) / 2
    radius = np.sqrt(sum(np.square(a) for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    white = np.clip((0.33 * side - radius) / (0.06 * side), 0, 1)
    noise = np.random.default_rng(1).normal(0, 0.01, data.shape)
    inner = (truth >= 2) & (radius < 0.38 * side)
    data = np.where(inner, 0.5 + 0.3 * white + noise, data).astype(np.float32)
    found = hmrf(data, (1, 1, 1), partial_volumes=True)
    parts = found.partial_volumes
    brain = truth > 0
    assert parts is not None
    assert parts.shape == (3, *data.shape)
    assert parts.min() >= 0
    assert parts.sum(axis=0)[brain] == pytest.approx(1, abs=1e-6)
    assert (parts[:, ~brain] == 0).all()
    mixed = inner & (white > 0.2) & (white < 0.8)
    assert parts[2][inner].sum() == pytest.approx(white[inner].sum(), rel=0.06)
    assert np.corrcoef(parts[2][mixed], white[mixed])[0, 1] > 0.9
    # The hard labels cannot know the mixtures.
    hard = np.abs((found.labels == 3) - white)[mixed].mean()
    assert np.abs(parts[2] - white)[mixed].mean() < 0.6 * hard


def test_same_result_with_any_number_of_threads_and_from_several_callers():
    data, _ = head(side=24)
    results = [hmrf(data, (1, 1, 1), partial_volumes=True, threads=n) for n in (1, 2, 5)]
    with ThreadPoolExecutor(3) as pool:
        results += pool.map(lambda _: hmrf(data, (1, 1, 1), partial_volumes=True), range(3))
    for other in results[1:]:
        assert np.array_equal(other.labels, results[0].labels)
        assert other.partial_volumes is not None
        assert results[0].partial_volumes is not None
        assert np.array_equal(other.partial_volumes, results[0].partial_volumes)
        assert np.array_equal(other.bias_field, results[0].bias_field)
        assert np.array_equal(other.means, results[0].means)


def test_a_brain_at_the_border_is_segmented_as_one_with_room_around_it():
    data, _ = head(side=24)
    cut = data[6:, :, :15]
    tight = hmrf(cut, (1, 1, 1)).labels
    roomy = hmrf(np.pad(cut, 9), (1, 1, 1)).labels
    assert np.array_equal(roomy[9:-9, 9:-9, 9:-9], tight)


@pytest.mark.parametrize("spacing", [(4, 4, 4), (1, 1, 3), (0.5, 2, 1)])
def test_works_at_other_spacings(spacing):
    data, truth = head(side=24)
    labels = hmrf(data, spacing).labels
    assert (labels == truth)[truth > 0].mean() > 0.99


def test_spacing_decides_how_strongly_neighbours_pull():
    data, truth = head(side=24, spread=0.1)
    wrong = [(hmrf(data, (mm,) * 3).labels != truth)[truth > 0].mean() for mm in (1, 8)]
    assert wrong[0] < wrong[1]


@pytest.mark.parametrize("classes", [2, 4])
def test_other_numbers_of_classes(classes):
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(classes), 6 * 24 // classes)[: 6 * 24].reshape(1, 1, -1)
    truth = np.broadcast_to(row, (10, 10, row.size))
    data = (0.2 + 0.6 * truth / (classes - 1) + rng.normal(0, 0.02, truth.shape)).astype(np.float32)
    found = hmrf(data, (1, 1, 1), classes=classes, partial_volumes=True)
    assert (found.labels == truth + 1).mean() > 0.995
    assert found.partial_volumes.shape[0] == classes


def test_three_intensities_without_noise():
    _, truth = head(side=24)
    found = hmrf(INTENSITIES[truth], (1, 1, 1), partial_volumes=True)
    assert np.array_equal(found.labels, truth)


def volumes_that_fail():
    data, truth = head(side=16)
    nan, negative = data.copy(), data.copy()
    nan[8, 8, 8] = np.nan
    negative[8, 8, 8] = -0.1
    saturated = np.where(truth > 0, np.where(truth == 3, 0.8, 0.8 - 0.01 * (data < 0.3)), 0)
    saturated[8, 8, 8] = 0.4
    return {
        "empty": (np.zeros((8, 8, 8)), "no voxel above 0"),
        "constant": (np.full((8, 8, 8), 0.5), "fewer than three different"),
        "NaN": (nan, "NaN"),
        "negative": (negative, "negative"),
        "one value nearly everywhere": (saturated, "share the intensity 0.8"),
    }


@pytest.mark.parametrize("name", volumes_that_fail())
def test_bad_volumes(name):
    data, message = volumes_that_fail()[name]
    with pytest.raises(SegmentationError, match=message):
        hmrf(data, (1, 1, 1))


def test_a_class_that_dies_out():
    # Two tissues in two halves: the middle percentile's class finds no voxels of its own.
    data = np.full((20, 20, 20), 0.3)
    data[10:] = 0.7
    data += np.random.default_rng(0).normal(0, 0.02, data.shape)
    with pytest.raises(SegmentationError, match="GM died out"):
        hmrf(data, (1, 1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing_mm": (1, 1)}, "three positive lengths"),
        ({"spacing_mm": (1, 0, 1)}, "three positive lengths"),
        ({"classes": 1}, "allowed: 2 to 6"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(SegmentationError, match=message):
        hmrf(**{"data": head(side=12)[0], "spacing_mm": (1, 1, 1), **arguments})


def test_background_a_hair_below_zero_is_background():
    data, _ = head(side=24)
    found = hmrf(np.where(data > 0, data, -1e-7), (1, 1, 1))
    assert np.array_equal(found.labels, hmrf(data, (1, 1, 1)).labels)


def test_needs_three_axes():
    with pytest.raises(VolumeError):
        hmrf(np.ones((4, 4)), (1, 1, 1))


def test_segmenter_keeps_the_grid_and_records_itself():
    data, truth = head(side=24)
    affine = np.diag([1.0, 1.5, 1.0, 1.0])
    segmenter = make_segmenter("hmrf")
    assert isinstance(segmenter, Hmrf)
    assert "hmrf" in AUTO
    labels = segmenter.segment(Volume(data, affine))
    assert labels.kind == "label"
    assert np.array_equal(labels.affine, affine)
    assert (labels.data == truth)[truth > 0].mean() > 0.99
    assert labels.history[-1].parameters["segmenter"] == "hmrf"
    assert segmenter.version.startswith("harmbench ")


def test_importing_the_segmenters_leaves_numba_alone():
    code = "import sys, harmbench.segmentation; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Recorder:
    """Steps that only write down their names."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


def test_the_first_bias_field_follows_the_mixtures_posteriors():
    steps = Recorder()
    run_steps(steps)
    first = steps.calls.index(("estimate_bias",))
    mixture = [("estimate_classes",), ("mix",)] * 18
    assert steps.calls[:first] == [("start",), ("mix",), *mixture]
    bias = [("segment", 0.02), ("estimate_bias",), ("estimate_classes",)] * 4
    assert steps.calls[first + 1 : first + 13] == bias
    final = [[("segment", beta), ("estimate_classes",)] for beta in (0.02, 0.1, 0.1, 0.1)]
    assert steps.calls[first + 13 :] == [call for calls in final for call in calls]
