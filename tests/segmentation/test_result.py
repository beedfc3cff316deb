"""The result of a segmentation: labels, or why there are none."""

from __future__ import annotations

import numpy as np
import pytest

from harmbench.errors import (
    ImplausibleLabelsError,
    SegmentationError,
    SegmenterError,
    UnsegmentableError,
)
from harmbench.segmentation.result import Segmented, Unsegmented
from harmbench.volume import Volume

LABELS = Volume(np.ones((2, 2, 2), np.uint8), np.eye(4), "label")


@pytest.mark.parametrize(
    ("error", "status", "lasting"),
    [
        (SegmenterError("x"), "segmentation_failed", False),
        (UnsegmentableError("x"), "segmentation_failed", True),
        (ImplausibleLabelsError("x"), "segmentation_implausible", True),
    ],
)
def test_an_error_becomes_a_status(error: SegmentationError, status: str, lasting: bool) -> None:
    found = Segmented.failed(error, "fast")
    assert found.labels is None
    assert found.failure == Unsegmented("fast: x", status, lasting)


def test_there_are_labels_or_a_reason_and_not_both() -> None:
    assert Segmented(LABELS).failure is None
    with pytest.raises(ValueError, match="either labels or a reason"):
        Segmented()
    with pytest.raises(ValueError, match="either labels or a reason"):
        Segmented(LABELS, Unsegmented("x", "segmentation_failed", lasting=True))
