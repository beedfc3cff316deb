"""Settings of the 3D U-Net; the defaults suit 30 subjects of 160 x 224 x 224 voxels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from harmbench.methods._regression import ScheduleSettings
from harmbench.storage import key_of

__all__ = ["UNet3DSettings"]

_NETWORK = ("channels",)
_FREE = ("overlap", "prediction_batch")

Width = Annotated[int, Field(ge=1)]


class UNet3DSettings(ScheduleSettings):
    """Settings of the 3D U-Net."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    # Network
    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=6)] = (32, 64, 128)
    """Channels of each level, the finest first."""

    # Training
    batch_size: Annotated[int, Field(ge=1)] = 2
    """Patches per training step, over all parts and processes."""
    loss: Literal["l1", "mse"] = "l1"
    """Mean absolute or mean squared error over all voxels of the patches."""

    # Patches
    patch: Annotated[int, Field(ge=8)] = 64
    """Side of a patch in voxels; a multiple of 2 to the power of the number of levels - 1."""
    overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.5
    """Share of a patch's side by which neighbours overlap in prediction."""
    prediction_batch: Annotated[int, Field(ge=1)] = 2
    """Patches predicted at once; has no influence on the result."""

    @model_validator(mode="after")
    def _patch_can_be_halved(self) -> Self:
        multiple = 2 ** (len(self.channels) - 1)
        if self.patch % multiple:
            raise ValueError(f"patch ({self.patch}) must be a multiple of {multiple}")
        return self

    @property
    def network_key(self) -> str:
        """Key of the settings that the weights depend on in shape and meaning."""
        return key_of(self.model_dump(include=set(_NETWORK)))

    @property
    def training_key(self) -> str:
        """Key of the settings that training depends on."""
        return key_of(self.model_dump(exclude={*_FREE, *self.keeping}))
