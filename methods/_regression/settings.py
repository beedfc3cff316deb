"""Settings that every regression of slices has."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from harmbench.storage import key_of
from harmbench.training import TrainingSettings

__all__ = ["RegressionSettings"]


class RegressionSettings(TrainingSettings):
    """Settings that every regression of slices has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    network_fields: ClassVar[tuple[str, ...]] = ("orientations",)
    """Settings that saved weights depend on in shape or meaning."""
    free_fields: ClassVar[tuple[str, ...]] = ("prediction_batch", *TrainingSettings.keeping)
    """Settings that training does not depend on."""

    # Training
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Learning rate of the optimizer, its highest value where it changes."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate, or let it fall to 0 along half a cosine."""
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Slices per training step, over all parts and processes."""

    # Slices
    orientations: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0,)
    """Axes along which volumes are sliced: 0 sagittal, 1 coronal, 2 axial. One network is trained for
    each, and the result is the median over them."""
    crop: Literal["auto", "none"] = "auto"
    """`auto`: the network sees the brain's bounding box; `none`: the whole slice."""
    margin: Annotated[int, Field(ge=0)] = 2
    """Voxels of background kept around the largest training brain with `crop: auto`."""
    at_least: Annotated[int, Field(ge=1)] = 1
    """Slices with fewer rows or columns are padded with zeros; padding is removed from the result."""
    skip_empty_slices: bool = True
    """Leave slices without brain out of training and prediction."""

    # Prediction
    prediction_batch: Annotated[int, Field(ge=1)] = 16
    """Slices predicted at once; has no influence on the result."""

    @field_validator("orientations")
    @classmethod
    def _are_different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("orientations are one to three different axes of 0, 1, 2")
        return tuple(sorted(value))

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return 1

    @property
    def network_key(self) -> str:
        """Key of the settings that the weights depend on in shape and meaning."""
        return key_of(self.model_dump(include=set(self.network_fields)))

    @property
    def training_key(self) -> str:
        """Key of the settings that training depends on."""
        return key_of(self.model_dump(exclude=set(self.free_fields)))
