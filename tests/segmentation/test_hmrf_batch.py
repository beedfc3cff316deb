"""hmrf in torch, several volumes at once, against the compiled loops; on a GPU too, where one is."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from harmbench.errors import SegmentationError
from harmbench.segmentation import make_segmenter
from harmbench.segmentation.hmrf import Hmrf, batch, hmrf, hmrf_batch
from harmbench.segmentation.hmrf.estimation import neighbour_weights
from harmbench.volume import Volume, read

SCANS = Path(__file__).parents[2].parent / "shared" / "reference" / "fast"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    # torch's threads wait for each other by spinning, which is slow beside other test processes.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def head(shape=(22, 26, 20), spread=0.06, seed=0):
    """WM in GM in CSF, off centre and brighter on one side, with noise."""
    rng = np.random.default_rng(seed)
    axes = [np.arange(n) - 0.45 * n for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + (0.8 * y) ** 2 + z**2) / min(shape) + 0.02 * np.sin(x) * np.cos(y)
    truth = np.digitize(-radius, [-0.45, -0.38, -0.25])
    field = 1 + 0.1 * x / shape[0] + 0.05 * y / shape[1]
    clean = np.array([0, 0.2, 0.5, 0.8])[truth] * field
    data = np.where(truth > 0, np.maximum(clean + rng.normal(0, spread, shape), 1e-3), 0)
    return data.astype(np.float32)


def assert_same(one, other, brain):
    assert (one.labels != other.labels)[brain].mean() < 1e-3
    assert (other.labels[~brain] == 0).all()
    assert other.means == pytest.approx(one.means, abs=1e-4)
    assert other.variances == pytest.approx(one.variances, rel=1e-2)
    assert other.bias_field == pytest.approx(one.bias_field, abs=1e-4)
    if one.partial_volumes is not None:
        assert other.partial_volumes.sum(axis=0)[brain] == pytest.approx(1, abs=1e-6)
        assert (other.partial_volumes[:, ~brain] == 0).all()
        gaps = np.abs(one.partial_volumes - other.partial_volumes).max(axis=0)[brain]
        assert (gaps > 0.02).mean() < 1e-3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [2, 3])
def test_finds_what_the_compiled_loops_find(device, classes):
    # Shapes, voxel sizes and noise differ within the batch.
    cases = [
        (head(), (1.0, 1.0, 1.0)),
        (head((16, 29, 21), 0.1, seed=1), (1.5, 0.8, 3.0)),
        (head(seed=2)[6:, :, :12], (4.0, 4.0, 4.0)),
    ]
    data, spacings = zip(*cases, strict=True)
    found = hmrf_batch(data, spacings, device=device, classes=classes, partial_volumes=True)
    for one, spacing, result in zip(data, spacings, found, strict=True):
        expected = hmrf(one, spacing, classes=classes, partial_volumes=True)
        assert_same(expected, result, one > 0)


@pytest.mark.parametrize("device", DEVICES)
def test_a_volume_does_not_feel_the_others_and_runs_repeat(device):
    data = [head(seed=seed) for seed in range(3)]
    together = hmrf_batch(data, [(1, 1, 1)] * 3, device=device)
    again = hmrf_batch(data, [(1, 1, 1)] * 3, device=device)
    for one, result, repeated in zip(data, together, again, strict=True):
        (alone,) = hmrf_batch([one], [(1, 1, 1)], device=device)
        assert (alone.labels != result.labels).mean() < 1e-4
        assert np.array_equal(result.labels, repeated.labels)
        assert np.array_equal(result.bias_field, repeated.bias_field)
        assert np.array_equal(result.means, repeated.means)


def test_volumes_that_fail_leave_the_others_alone():
    good = head()
    bad = {
        "NaN": np.where(good > 0.7, np.nan, good),
        "negative": good - 0.1,
        "no voxel above 0": np.zeros((8, 8, 8)),
        "fewer than three different": np.full((8, 8, 8), 0.5),
        "share the intensity 0.8": np.where(good > 0, np.where(good > 0.3, 0.8, good), 0),
        "GM died out": two_tissues(),
    }
    found = hmrf_batch([*bad.values(), good], [(1, 1, 1)] * 7, device="cpu")
    for message, result in zip(bad, found, strict=False):
        assert isinstance(result, SegmentationError)
        assert message in str(result)
        with pytest.raises(SegmentationError) as raised:
            hmrf(bad[message], (1, 1, 1))
        assert str(raised.value) == str(result)
    assert_same(hmrf(good, (1, 1, 1)), found[-1], good > 0)


def two_tissues():
    data = np.full((20, 20, 20), 0.3)
    data[10:] = 0.7
    return data + np.random.default_rng(0).normal(0, 0.02, data.shape)


def test_wrong_arguments():
    with pytest.raises(SegmentationError, match="2 volumes, but 1 spacings"):
        hmrf_batch([head(), head()], [(1, 1, 1)], device="cpu")
    (found,) = hmrf_batch([head()], [(1, 0, 1)], device="cpu")
    assert "three positive lengths" in str(found)
    assert hmrf_batch([], [], device="cpu") == []


def test_neighbours_by_hand():
    p = torch.zeros((1, 1, 5, 5, 5))
    p[0, 0, 2, 2, 2] = 1
    weights = torch.from_numpy(neighbour_weights((1, 2, 3)).astype(np.float32))
    out = torch.zeros_like(p)
    batch.add_neighbours(out, p, weights.reshape(1, 6, 1, 1, 1))
    for z, y, x in np.ndindex(5, 5, 5):
        gap = abs(z - 2), abs(y - 2), abs(x - 2)
        near = max(gap) == 1 and sum(gap) < 3
        distance = math.hypot(3 * gap[0], 2 * gap[1], gap[2])
        assert float(out[0, 0, z, y, x]) == pytest.approx(1 / distance if near else 0)


def test_segmenter_on_another_device_goes_through_torch(monkeypatch):
    segmenter = make_segmenter("hmrf", "meta")
    assert isinstance(segmenter, Hmrf)
    devices = []

    def called(arrays, spacings, *, device):
        devices.append(device)
        if device == "meta":
            raise torch.OutOfMemoryError("full")
        return hmrf_batch(arrays, spacings, device=device)

    monkeypatch.setattr("harmbench.segmentation.hmrf.hmrf_batch", called)
    volumes = [Volume(head(seed=seed), np.diag([1, 1, 2, 1])) for seed in range(2)]
    labels = segmenter.segment_batch(volumes)
    # Together, then one by one; then on the processor, by the compiled loops.
    assert devices == ["meta", "meta", "meta"]
    for volume, one in zip(volumes, labels, strict=True):
        assert one.kind == "label"
        assert np.array_equal(one.affine, volume.affine)
        expected = make_segmenter("hmrf").segment(volume).data
        assert np.array_equal(one.data, expected)
    with pytest.raises(SegmentationError, match="no voxel above 0"):
        segmenter.segment(Volume(np.zeros((4, 4, 4)), np.eye(4)))


def test_on_the_processor_batches_are_segmented_by_the_compiled_loops(monkeypatch):
    segmenter = make_segmenter("hmrf")
    assert isinstance(segmenter, Hmrf)
    monkeypatch.delattr("harmbench.segmentation.hmrf.hmrf_batch")
    good, empty = Volume(head(), np.eye(4)), Volume(np.zeros((4, 4, 4)), np.eye(4))
    found, error, again = segmenter.segment_batch([good, empty, good])
    assert isinstance(error, SegmentationError)
    for labels in (found, again):
        assert np.array_equal(labels.data, hmrf(good.data, good.spacing_mm).labels)


@pytest.mark.skipif(not SCANS.is_dir(), reason="FAST's label maps are not on this machine")
@pytest.mark.parametrize("device", DEVICES)
def test_agrees_with_fast(device):
    scan = read(SCANS / "ms07_T1w.nii.gz")
    golden = read(SCANS / "ms07_seg.nii.gz", kind="label").data
    (found,) = hmrf_batch([scan.data], [scan.spacing_mm], device=device)
    for k in (1, 2, 3):
        one, other = found.labels == k, golden == k
        assert 2 * np.sum(one & other) / (one.sum() + other.sum()) > 0.9995
        assert one.sum() == pytest.approx(other.sum(), rel=1e-3)
