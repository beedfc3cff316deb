"""A method that learns, and a segmenter: small, quick, and the same every time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from harmbench.method import Method
from harmbench.segmentation.base import check_segmentable
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["Gain", "Tertiles"]


class Gain(Method):
    """Multiply the brain by one number, which is learned; keep a map of it beside the result.

    Where the environment names a file in `HARMBENCH_TEST_TRACE`, what is done is told there, and takes its
    time.
    """

    title = "Gain"
    gain = 1.0

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Learn the ratio of means."""
        _trace("fit", task)
        ratios = [pair.target.data.mean() / pair.source.data.mean() for pair in pairs]
        self.gain = float(np.mean(ratios)) * (1 + 0.001 * task.seed)
        if task.folder is not None:
            (task.folder / "loss.csv").write_text("step,loss\n1,0.5\n")
            (task.folder / "checkpoint.json").write_text("{}")

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Multiply."""
        _trace(f"harmonize {source.data.sum():.6f}", task)
        task.keep("gain", source.with_data(np.full_like(source.data, self.gain)))
        return source.with_data(np.clip(source.data * self.gain, 0, 1))

    def save(self, folder: Path) -> None:
        """Write the number."""
        (folder / "gain.json").write_text(json.dumps({"gain": self.gain, "unit": "1"}))

    @classmethod
    def load(cls, folder: Path, config: BaseModel | None = None) -> Gain:
        """Read the number."""
        found = cls(config)
        found.gain = json.loads((folder / "gain.json").read_text())["gain"]
        return found


def _trace(what: str, task: Task) -> None:
    path = os.environ.get("HARMBENCH_TEST_TRACE")
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"{what} {task.direction} {task.fold} {task.seed}\n")
        time.sleep(0.05)


class Tertiles:
    """Three classes by parts of the brain's range."""

    name = "tertiles"
    version = "1"
    contrasts = ("T1w",)

    def __init__(self, *, device: str = "cpu", contrast: str = "T1w") -> None:
        pass

    def segment(self, volume: Volume) -> Volume:
        """Label voxels by thresholds."""
        check_segmentable(volume)
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        labels = np.digitize(volume.data, [1e-6, low + 0.15 * extent, low + 0.35 * extent])
        return volume.with_data(labels.astype(np.uint8), kind="label")
