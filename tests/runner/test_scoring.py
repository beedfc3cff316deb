from pathlib import Path

import numpy as np
import pytest

from harmbench.contract import tiny_pairs
from harmbench.errors import MethodError, SegmentationError, SegmenterError
from harmbench.metrics.suite import METRICS
from harmbench.runner.scoring import finish_volume, missing_rows, score_rows
from harmbench.segmentation.checked import try_segment
from harmbench.segmentation.result import Segmented
from harmbench.segmentation.stored import segment_to_file, segment_to_files
from harmbench.storage import read_json
from harmbench.volume import Volume, read

PAIR = tiny_pairs(1)[0]


def test_finishing_clips_and_masks_alike_for_all() -> None:
    wild = PAIR.source.with_data(PAIR.source.data * 4 - 1)
    finished, clipped = finish_volume(wild, PAIR.source)
    brain = PAIR.source.data > 0
    outside = (wild.data < 0) | (wild.data > 1)
    assert clipped == pytest.approx(np.count_nonzero(outside & brain) / brain.sum(), abs=1e-3)
    assert np.array_equal(finished.data, np.clip(wild.data, 0, 1) * brain)
    unmasked, _ = finish_volume(
        PAIR.source.with_data(PAIR.source.data + 0.1), PAIR.source, mask_background=False
    )
    assert np.allclose(unmasked.data[~brain], 0.1)


def test_a_good_output_is_left_alone() -> None:
    finished, clipped = finish_volume(PAIR.source, PAIR.source)
    assert clipped == 0
    assert finished.key == PAIR.source.key


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (PAIR.source.data, "returned ndarray, expected a Volume"),
        (Volume(PAIR.source.data[1:], PAIR.source.affine), "must keep the source's grid"),
        (Volume(PAIR.source.data, np.eye(4)), "must keep the source's grid"),
        (PAIR.source.with_data(PAIR.source.data > 0, kind="label"), "kind 'label'"),
        (PAIR.source.with_data(PAIR.source.data * np.nan), "7680 voxels that are NaN"),
    ],
)
def test_breaches_of_the_contract(output, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        finish_volume(output, PAIR.source)


def test_every_metric_and_tissue_has_a_row(thresholds) -> None:
    labels = try_segment(thresholds, PAIR.source)
    reference = try_segment(thresholds, PAIR.target)
    full = score_rows(PAIR.source, PAIR.target, PAIR.source, labels, reference)
    assert {(r["metric"], r["tissue"]) for r in full} == {
        (r["metric"], r["tissue"]) for r in missing_rows("failed")
    }
    assert {r["metric"] for r in full} == set(METRICS)
    failed = Segmented.failed(SegmenterError("exit code 1"), "thresholds")
    without = score_rows(PAIR.source, PAIR.target, None, failed, reference)
    assert len(without) == len(full)
    status = {r["metric"]: r["status"] for r in without}
    assert status["dice"] == "segmentation_failed"
    assert status["gradient_correlation"] == "undefined"
    assert status["mse"] == "ok"


class _Counting:
    name, version = "counting", "1"

    def __init__(self, inner) -> None:
        self.inner, self.count = inner, 0

    def segment(self, volume):
        self.count += 1
        return self.inner.segment(volume)


def test_a_segmentation_is_made_once(thresholds, tmp_path: Path) -> None:
    counting = _Counting(thresholds)
    first = segment_to_file(PAIR.source, tmp_path / "a.nii.gz", counting)
    again = segment_to_file(PAIR.source, tmp_path / "a.nii.gz", counting)
    copied = segment_to_file(
        PAIR.source, tmp_path / "b.nii.gz", counting, same_as=[tmp_path / "a.nii.gz"]
    )
    assert counting.count == 1
    assert np.array_equal(first.labels.data, again.labels.data)
    stored = read(tmp_path / "b.nii.gz", kind="label")
    assert np.array_equal(stored.data, copied.labels.data)
    segment_to_file(PAIR.target, tmp_path / "a.nii.gz", counting)
    assert counting.count == 2


def test_a_reason_for_no_segmentation_is_kept(thresholds, tmp_path: Path) -> None:
    counting = _Counting(thresholds)
    dark = PAIR.source.with_data(PAIR.source.data * 0.1)
    for _ in range(2):
        found = segment_to_file(dark, tmp_path / "a.nii.gz", counting)
        assert found.labels is None
        assert found.failure.reason == "counting: too dark for three classes"
        assert found.failure.lasting
    assert counting.count == 1
    assert not (tmp_path / "a.nii.gz").exists()


class _Batches(_Counting):
    """Takes several volumes at once, and notes how many."""

    device = "elsewhere"

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.sizes: list[int] = []

    def segment_batch(self, volumes):
        self.sizes.append(len(volumes))
        found = []
        for volume in volumes:
            try:
                found.append(self.inner.segment(volume))
            except SegmentationError as error:
                found.append(error)
        return found


def test_several_are_segmented_at_once_and_once_only(thresholds, tmp_path: Path) -> None:
    batches = _Batches(thresholds)
    dark = PAIR.source.with_data(PAIR.source.data * 0.1)
    volumes = [PAIR.source, dark, PAIR.target]
    paths = [tmp_path / f"{name}.nii.gz" for name in ("a", "dark", "b")]
    segment_to_files(volumes[:1], paths[:1], batches)
    for _ in range(2):
        segment_to_files(volumes, paths, batches)
    assert batches.sizes == [1, 2]
    assert read_json(tmp_path / "b.json")["device"] == "elsewhere"
    assert "too dark" in read_json(tmp_path / "dark.json")["reason"]
    assert not paths[1].exists()
    for volume, path in ((PAIR.source, paths[0]), (PAIR.target, paths[2])):
        # What one at a time would find under the same key.
        found = segment_to_file(volume, path, batches)
        assert np.array_equal(found.labels.data, thresholds.segment(volume).data)
    assert batches.count == 0


def test_a_segmenter_without_batches_goes_one_by_one(thresholds, tmp_path: Path) -> None:
    counting = _Counting(thresholds)
    paths = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    segment_to_files([PAIR.source, PAIR.target], paths, counting)
    assert counting.count == 2
    assert all(path.is_file() for path in paths)
