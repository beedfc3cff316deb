import tempfile
from pathlib import Path

import numpy as np
import pytest

from harmbench.errors import SegmentationError
from harmbench.segmentation.atropos import Atropos
from harmbench.segmentation.base import check_segmentable
from harmbench.volume import Volume

RANDOM = np.random.default_rng(0)


def _three_shells() -> tuple[np.ndarray, np.ndarray]:
    """Concentric shells of 0.2, 0.5 and 0.8 with noise, and their true labels."""
    axes = np.meshgrid(*(np.linspace(-1, 1, 32),) * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    truth = np.digitize(-radius, [-0.9, -0.75, -0.5])
    data = np.choose(truth, [0.0, 0.2, 0.5, 0.8]) + 0.03 * RANDOM.standard_normal(truth.shape)
    return np.clip(data, 1e-3, 1) * (truth > 0), truth


def test_three_shells_are_found() -> None:
    data, truth = _three_shells()
    labels = Atropos().segment(Volume(data, np.eye(4)))
    assert labels.kind == "label"
    assert (labels.data[truth == 0] == 0).all()
    brain = truth > 0
    assert (labels.data[brain] == truth[brain]).mean() > 0.99


def test_same_labels_every_time_and_nothing_left_behind() -> None:
    data, _ = _three_shells()
    noisy = Volume(np.clip(data + 0.1 * (data > 0) * RANDOM.random(data.shape), 0, 1), np.eye(4))
    before = set(Path(tempfile.gettempdir()).glob("antsr*"))
    one, two = (Atropos().segment(noisy) for _ in range(2))
    assert np.array_equal(one.data, two.data)
    assert set(Path(tempfile.gettempdir()).glob("antsr*")) == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((8, 8, 8)), "no voxel above 0"),
        (np.full((8, 8, 8), 0.5), "fewer than three different intensities"),
        (np.full((8, 8, 8), np.nan), "NaN"),
        (np.full((8, 8, 8), -1.0), "negative"),
        (np.where(np.arange(512).reshape(8, 8, 8) % 2, 0.2, 0.4), "fewer than three"),
    ],
)
def test_bad_volumes_have_a_reason(data: np.ndarray, message: str) -> None:
    volume = Volume(data, np.eye(4))
    with pytest.raises(SegmentationError, match=message):
        check_segmentable(volume)
    with pytest.raises(SegmentationError, match=message):
        Atropos().segment(volume)
