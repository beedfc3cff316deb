"""Settings of DeepHarmony; the defaults are those of Durrer et al. 2023, Appendix C."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from harmbench.methods._regression import RegressionSettings

__all__ = ["DeepHarmonySettings"]

Width = Annotated[int, Field(ge=1)]


class DeepHarmonySettings(RegressionSettings):
    """Settings of DeepHarmony."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    network_fields: ClassVar[tuple[str, ...]] = (
        *RegressionSettings.network_fields,
        "channels",
        "align_wm_peak",
    )

    # Network
    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=7)] = (
        16,
        32,
        64,
        128,
        256,
    )
    """Channels of each level, the finest first; the last is the bottleneck."""

    # Intensities
    align_wm_peak: bool = False
    """Scale each scan so that its white matter peak lies at 1 for the network, and the result so that
    the peak lies where the targets of the training subjects have it (T1-weighted scans only)."""

    # Training
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Learning rate of Adam."""
    epochs: Annotated[int, Field(ge=1)] = 300
    """How often every training slice is seen."""
    iterations: Annotated[int, Field(ge=1)] | None = None
    """Training steps, whatever `epochs` says; unset: as many as the epochs have."""
    recalibrate_batchnorm: bool = False
    """After training, replace the batch normalization's running statistics by their mean over all
    training slices, seen once with the final weights."""

    # Slices
    crop: Literal["auto", "none"] = "none"
    """`auto`: the network sees the brain's bounding box; `none`: the whole slice."""
    at_least: Annotated[int, Field(ge=1)] = 256
    """Slices with fewer rows or columns are padded with zeros; padding is removed from the result."""
    skip_empty_slices: bool = False
    """Leave slices without brain out of training and prediction."""

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return int(2 ** (len(self.channels) - 1))
