"""Small paired data sets on disk, and a segmenter that takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harmbench.segmentation
from harmbench.contract import tiny_pairs
from harmbench.errors import SegmentationError
from harmbench.segmentation.base import check_segmentable
from harmbench.volume import Volume, write


class Thresholds:
    """Three classes by fixed thresholds: a stand-in with the protocol's behaviour."""

    name = "thresholds"
    version = "1"

    def segment(self, volume: Volume) -> Volume:
        check_segmentable(volume)
        if float(volume.data.max()) < 0.3:
            raise SegmentationError("too dark for three classes")
        labels = np.digitize(volume.data, [1e-6, 0.3, 0.6])
        return volume.with_data(labels.astype(np.uint8), kind="label")


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Thresholds:
    """Offer the stand-in segmenter under the name `thresholds`."""
    offered = {**harmbench.segmentation.SEGMENTERS, "thresholds": Thresholds}
    monkeypatch.setattr(harmbench.segmentation, "SEGMENTERS", offered)
    return Thresholds()


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` tiny pairs (sessions A and B) and a manifest that lists them."""

    def make(count: int = 4, name: str = "scans") -> Path:
        folder = tmp_path / name
        lines = ["subject,group,session,path"]
        for number, pair in enumerate(tiny_pairs(count)):
            group = "MS" if number % 2 else "HC"
            for session, volume in (("A", pair.source), ("B", pair.target)):
                write(volume, folder / f"s{number}_{session}.nii.gz")
                lines.append(f"s{number},{group},{session},s{number}_{session}.nii.gz")
        path = folder / "manifest.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return make
