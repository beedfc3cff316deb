"""Histogram matching: one monotone intensity curve for all subjects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from skimage.exposure import match_histograms
from typing_extensions import Self

from harmbench.errors import MethodError
from harmbench.method import Method
from harmbench.settings import Settings
from harmbench.storage import atomic
from harmbench.task import Pair, Task
from harmbench.volume import Step, Volume

__all__ = ["HistogramMatching", "HistogramMatchingSettings"]

_FILE = "landmarks.safetensors"


class HistogramMatchingSettings(Settings):
    """Settings of histogram matching."""

    landmarks: int = Field(
        1000, ge=2, le=100_000, description="quantiles of the target contrast that are learned"
    )


class HistogramMatching(Method[HistogramMatchingSettings]):
    """Match each source's brain histogram to the mean histogram of the training targets.

    The landmarks are the quantiles of the brain voxels (above 0), averaged over the training
    subjects' target scans (Nyul & Udupa 1999 average landmarks in the same way). A source is then
    matched to them with scikit-image's `match_histograms`; its background stays 0.
    """

    Config = HistogramMatchingSettings
    title = "Histogram matching"
    several_sources = True
    reference = (
        "Nyul & Udupa, On standardizing the MR image intensity scale, Magn Reson Med 42 (1999); "
        "scikit-image match_histograms"
    )

    def __init__(self, config: HistogramMatchingSettings | None = None) -> None:
        super().__init__(config)
        self._landmarks: NDArray[np.float32] | None = None

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Average the target quantiles of the training subjects."""
        levels = np.linspace(0, 1, self.config.landmarks)
        total = np.zeros(len(levels))
        for done, pair in enumerate(pairs, start=1):
            target = pair.target.data
            total += np.quantile(target[target > 0], levels)
            task.progress("landmarks", done, len(pairs))
        self._landmarks = (total / len(pairs)).astype(np.float32)

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Match the brain voxels of `source`; voxels at 0 stay 0."""
        if self._landmarks is None:
            raise MethodError("histogram_matching: harmonize was called before fit or load")
        brain = source.data > 0
        matched = np.zeros_like(source.data)
        if brain.any():
            matched[brain] = match_histograms(source.data[brain], self._landmarks)
        step = Step("histogram_matching", {"landmarks": len(self._landmarks)})
        return source.with_data(matched, step)

    def save(self, folder: Path) -> None:
        """Write the landmarks."""
        if self._landmarks is None:
            raise MethodError("histogram_matching: save was called before fit")
        with atomic(folder / _FILE) as temporary:
            save_file({"landmarks": self._landmarks}, temporary)

    @classmethod
    def load(cls, folder: Path, config: HistogramMatchingSettings | None = None) -> Self:
        """Read the landmarks; `MethodError` where the file is missing or damaged."""
        method = cls(config)
        try:
            found = load_file(folder / _FILE)["landmarks"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise MethodError(f"{folder / _FILE}: damaged landmarks ({error})") from error
        if found.ndim != 1 or found.size < 2 or not np.isfinite(found).all():
            raise MethodError(f"{folder / _FILE}: damaged landmarks, expected a row of numbers")
        method._landmarks = found.astype(np.float32, copy=False)
        return method
