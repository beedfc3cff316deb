"""Settings of the flow; the defaults suit 30 subjects of 160 x 224 x 224 voxels."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from harmbench.methods._regression.unet import SliceUNetSettings

__all__ = ["FlowSettings"]


class FlowSettings(SliceUNetSettings):
    """Settings of the flow."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    free_fields: ClassVar[tuple[str, ...]] = (*SliceUNetSettings.free_fields, "steps")

    steps: Annotated[int, Field(ge=1)] = 4
    """Euler steps from source to target; training does not depend on it."""
    at_start: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of training slices that are shown at time 0, where the way begins; the times of the others
    are uniform."""
