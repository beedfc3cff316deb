"""Settings of training that every learned method has."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from harmbench.settings import Settings
from harmbench.storage import key_of

__all__ = ["Precision", "TrainingSettings"]

Precision = Literal["auto", "float32", "bf16"]


class TrainingSettings(Settings):
    """Settings of training that every learned method has."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    keeping: ClassVar[tuple[str, ...]] = (
        "slices_on",
        "checkpoint_minutes",
        "checkpoint_every",
        "preview_minutes",
        "log_every",
        "tensorboard",
    )
    """Settings that what is learned does not depend on."""

    batch_size: Annotated[int, Field(ge=1)] = 4
    """Slices per training step, over all parts and processes."""

    # Speed and memory
    precision: Precision = "auto"
    """What networks compute in; `auto`: bf16 on GPUs that have it, float32 elsewhere. With `bf16`
    weights, losses and the last layer stay float32. `float32` is IEEE float32: TF32, which torch
    otherwise uses for convolutions on GPUs, is off in training and harmonizing."""
    compile: bool = False
    """Compile networks with `torch.compile`: a minute of waiting, then faster steps (GPUs)."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts that each batch is split into, one in memory at a time; their gradients add up."""
    devices: Annotated[int, Field(ge=1)] = 1
    """GPUs of this machine that share each batch (on a CPU: processes)."""
    slices_on: Literal["auto", "device", "memory"] = "auto"
    """Where training slices lie: on the device, or in main memory; `auto`: on a GPU if they take no
    more than half of its free memory."""
    deterministic: bool = False
    """Use deterministic algorithms alone on a GPU, which are slower; a CPU always repeats itself."""

    # Keeping
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10
    """Save a checkpoint when this much time has passed (seen at each row of the loss curve)."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    """Save a checkpoint every so many steps as well; 0 for time alone."""
    preview_minutes: Annotated[float, Field(ge=0)] = 10
    """Draw a few training slices (source, output, target) whenever this much time has passed; 0 never."""
    log_every: Annotated[int, Field(ge=1)] = 50
    """Steps per row of the loss curve."""
    tensorboard: bool = False
    """Write the loss curve for TensorBoard as well (needs `pip install harmbench[tensorboard]`)."""

    @property
    def network_key(self) -> str:
        """Key of the settings that saved weights depend on in shape and meaning: here all of them."""
        return key_of(self.model_dump())

    @model_validator(mode="after")
    def _batch_can_be_split(self) -> Self:
        parts = self.devices * self.accumulate
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be a multiple of devices x accumulate ({parts})"
            )
        return self
