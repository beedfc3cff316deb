"""Nyul & Udupa's standard scale as a method: fit, harmonize, save, load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from harmbench.errors import MethodError
from harmbench.method import Method
from harmbench.methods._normalization import (
    ARRAY,
    NyulNormalizer,
    finished,
    normalizing,
    target_brains,
)
from harmbench.settings import Settings
from harmbench.storage import atomic
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["Nyul", "NyulSettings"]

_FILE = "standard-scale.npy"


class NyulSettings(Settings):
    """Settings of Nyul & Udupa's histogram matching."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    lowest: float = Field(1.0, ge=0, lt=50)
    """Percentile of the brain that is the lowest landmark; below it the map is extrapolated."""
    highest: float = Field(99.0, gt=50, le=100)
    """Percentile that is the highest landmark; above it the map is extrapolated."""
    step: Literal[5, 10, 20, 25] = 10
    """The landmarks between them are at `step`, 2 `step`, ... 100 - `step` percent."""

    @model_validator(mode="after")
    def _landmarks_rise(self) -> Self:
        if not self.lowest < self.step or not 100 - self.step < self.highest:
            raise ValueError(
                f"step ({self.step}) must be above lowest ({self.lowest:g}) and above 100 - highest "
                f"({100 - self.highest:g})"
            )
        return self


class Nyul(Method[NyulSettings]):
    """Map each source's intensities to the standard scale of the training targets.

    The landmarks are percentiles of the voxels above 0. The standard scale is their mean over the
    training targets, in the targets' own units. Between landmarks the map is linear.

    Args:
        config: its settings; `None` for their defaults.
    """

    Config: ClassVar[type[NyulSettings]] = NyulSettings
    title = "Nyul"
    reference = (
        "Nyul LG, Udupa JK. On standardizing the MR image intensity scale. Magn Reson Med "
        "42:1072-1081, 1999. Code: intensity-normalization (Reinhold et al. 2019)."
    )
    several_sources = True

    def __init__(self, config: NyulSettings | None = None) -> None:
        super().__init__(config)
        self._normalizer: NyulNormalizer | None = None

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
        """Learn the standard scale; `pairs` is gone through once.

        Raises:
            TrainingError: there are no pairs, or a target has no voxel above 0.
            MethodError: the landmarks of a target coincide.
        """
        config = self.config
        brains = target_brains(pairs, task)
        ends = np.mean([np.percentile(b, (config.lowest, config.highest)) for b in brains], axis=0)
        normalizer = NyulNormalizer(
            output_min_value=float(ends[0]),
            output_max_value=float(ends[1]),
            min_percentile=config.lowest,
            max_percentile=config.highest,
            percentile_after_min=config.step,
            percentile_before_max=100 - config.step,
            percentile_step=config.step,
        )
        with normalizing("nyul"):
            normalizer.fit_population([ARRAY(brain) for brain in brains])
        self._normalizer = normalizer

    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Map the voxels of `source` above 0; the others stay 0. Values are clipped to [0, 1].

        Raises:
            MethodError: the method was not fitted, or landmarks of the source coincide.
        """
        normalizer = self._fitted("harmonize")
        brain = source.data[source.data > 0]
        mapped = brain
        if brain.size:
            with normalizing("nyul"):
                mapped = normalizer.transform(ARRAY(brain)).get_data()
        return finished(source, mapped, "nyul", landmarks=len(normalizer.percentiles))

    def save(self, folder: Path) -> None:
        """Write the standard scale in the library's format: landmarks and their percentiles.

        Raises:
            MethodError: the method was not fitted.
        """
        normalizer = self._fitted("save")
        with atomic(folder / _FILE) as temporary:
            normalizer.save_standard_histogram(str(temporary))

    @classmethod
    def load(cls, folder: Path, config: NyulSettings | None = None) -> Self:
        """Read what `save` wrote.

        Raises:
            MethodError: the file is missing or damaged.
        """
        method = cls(config)
        normalizer = NyulNormalizer()
        try:
            normalizer.load_standard_histogram(str(folder / _FILE))
        except (OSError, ValueError, IndexError) as error:
            raise MethodError(f"{folder / _FILE}: not a saved standard scale ({error})") from error
        method._normalizer = normalizer
        return method

    def _fitted(self, call: str) -> NyulNormalizer:
        if self._normalizer is None:
            raise MethodError(f"nyul: {call} was called before fit or load")
        return self._normalizer
