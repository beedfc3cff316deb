"""Scores of volumes in memory."""

from __future__ import annotations

import numpy as np
import pytest

import harmbench
from harmbench.contract import tiny_pairs
from harmbench.errors import VolumeError
from harmbench.metrics.suite import METRICS
from harmbench.volume import Volume

PAIR = tiny_pairs(1)[0]


def test_every_metric_has_a_row(thresholds) -> None:
    frame = harmbench.score(PAIR.source, PAIR.target, PAIR.source, segmenter="thresholds")
    assert list(frame.columns) == ["metric", "tissue", "value", "unit", "status"]
    assert set(frame["metric"]) == set(METRICS)
    assert len(frame) == sum(3 if m.scope == "tissue" else 1 for m in METRICS.values())
    mse = frame.loc[frame["metric"] == "mse", "value"].item()
    assert mse == pytest.approx(np.mean((PAIR.source.data - PAIR.target.data) ** 2), rel=1e-5)


def test_an_instance_of_a_segmenter_does_as_well(thresholds) -> None:
    frame = harmbench.score(PAIR.target, PAIR.target, segmenter=thresholds)
    values = frame.set_index(["metric", "tissue"])["value"]
    assert all(values["dice", tissue] == 1 for tissue in ("CSF", "GM", "WM"))
    undefined = frame.loc[frame["status"] == "undefined", "metric"]
    assert list(undefined) == ["gradient_correlation"]


def test_a_volume_without_tissues_keeps_its_rows(thresholds) -> None:
    dark = PAIR.target.with_data(PAIR.target.data * 0.2)
    frame = harmbench.score(dark, PAIR.target, segmenter="thresholds")
    tissue = frame[frame["tissue"] != ""]
    assert set(tissue["status"]) == {"segmentation_failed"}
    assert tissue["value"].isna().all()


@pytest.mark.parametrize(
    ("harmonized", "reference", "message"),
    [
        (Volume(PAIR.source.data[1:], PAIR.source.affine), PAIR.target, "reference"),
        (PAIR.source.with_data(PAIR.source.data * 90), PAIR.target, "harmonized: intensities from"),
        (
            PAIR.source,
            PAIR.target.with_data((PAIR.target.data > 0).astype(np.float32)),
            "a mask, not a scan",
        ),
    ],
)
def test_volumes_that_cannot_be_compared_are_refused(
    thresholds, harmonized: Volume, reference: Volume, message: str
) -> None:
    with pytest.raises(VolumeError, match=message):
        harmbench.score(harmonized, reference, segmenter="thresholds")
