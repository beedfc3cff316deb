"""Settings of pGAN; the defaults are those with which Durrer et al. 2023 compared it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from harmbench.storage import key_of
from harmbench.training import TrainingSettings

__all__ = ["TORCH_HUB", "PGANSettings", "Perceptual"]

Perceptual = Literal["vgg16", "random", "off"]

TORCH_HUB = "torch-hub"
"""Value of `vgg_weights` that stands for torchvision's file, downloaded by `torch.hub`."""

_GENERATOR = ("channels", "blocks")
_FREE = ("sampling_batch", "vgg_weights", "vgg_sha256")
_HALVINGS = 2  # of the generator
_SMALLEST_MAP = 3  # rows of the discriminator's features that leave it one row of decisions


class PGANSettings(TrainingSettings):
    """Settings of pGAN."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    # Networks
    channels: Annotated[int, Field(ge=1)] = 64
    """Channels of the generator at full resolution; twice and four times as many below."""
    blocks: Annotated[int, Field(ge=0)] = 9
    """Residual blocks of the generator."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of features that each residual block drops in training."""
    discriminator_channels: Annotated[int, Field(ge=1)] = 64
    """Channels of the discriminator's first layer."""
    discriminator_layers: Annotated[int, Field(ge=1, le=6)] = 3
    """Halvings in the discriminator: 3 make it judge patches of 70 x 70 pixels."""

    # Losses
    adversarial_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the least-squares adversarial loss, in both networks."""
    l1_weight: Annotated[float, Field(ge=0)] = 100.0
    """Weight of the mean absolute difference from the target (the paper's "cycle loss weight")."""
    perceptual_weight: Annotated[float, Field(ge=0)] = 100.0
    """Weight of the mean absolute difference between features."""
    perceptual: Perceptual = "vgg16"
    """Features of a pretrained VGG16 (the paper's), of random filters, or no such loss."""
    vgg_weights: str = TORCH_HUB
    """File with VGG16's weights; `torch-hub`: torchvision's, downloaded once (528 MB)."""
    vgg_sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None
    """How the SHA-256 of that file begins, in hexadecimal; none: as its name says."""
    faithful: bool = False
    """Repeat three faults of the released code, which the folder's README describes."""

    # Training
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-4
    """First learning rate of both Adam optimizers."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Decay of the optimizers' mean gradient."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the optimizers' mean squared gradient."""
    epochs: Annotated[int, Field(ge=0)] = 150
    """Epochs at the first learning rate."""
    decay_epochs: Annotated[int, Field(ge=0)] = 150
    """Epochs after these, in which the learning rate falls linearly to 0."""
    iterations: Annotated[int, Field(ge=1)] | None = None
    """Training steps, over which the epochs' schedule is spread; unset: as many as the epochs have."""

    # Slices
    axis: Annotated[int, Field(ge=0, le=2)] = 0
    """Axis along which volumes are sliced: 0 sagittal (the paper's), 1 coronal, 2 axial."""
    crop: Literal["auto", "none"] = "none"
    """`none`: the networks see whole slices; `auto`: the brain's bounding box."""
    plane: Annotated[int, Field(ge=1)] = 256
    """Whole slices are padded to at least this many rows and columns; not used with `crop: auto`."""
    margin: Annotated[int, Field(ge=0)] = 2
    """Voxels of background kept around the largest training brain with `crop: auto`."""
    skip_empty_slices: bool = True
    """Leave slices without brain out of training and harmonization."""
    sampling_batch: Annotated[int, Field(ge=1)] = 8
    """Slices harmonized at once; has no influence on the result."""

    @field_validator("perceptual", mode="before")
    @classmethod
    def _off_in_yaml(cls, value: object) -> object:
        # YAML reads a bare `off` as false.
        return "off" if value is False else value

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if self.epochs + self.decay_epochs < 1:
            raise ValueError("epochs + decay_epochs must be at least 1")
        weights = [self.adversarial_weight, self.l1_weight]
        if self.perceptual != "off":
            weights.append(self.perceptual_weight)
        if not any(weights):
            raise ValueError("at least one loss must have a weight above 0")
        if self.faithful and self.devices * self.accumulate > 1:
            raise ValueError(
                "faithful looks at a batch's first slice: devices and accumulate must be 1"
            )
        return self

    @property
    def multiple(self) -> int:
        """Rows and columns of a slice are multiples of this."""
        return int(2**_HALVINGS)

    @property
    def at_least(self) -> tuple[int, int]:
        """Fewest rows and columns of a slice: what the discriminator needs, or `plane`."""
        smallest = _SMALLEST_MAP * int(2**self.discriminator_layers)
        side = smallest if self.crop == "auto" else max(smallest, self.plane)
        return side, side

    @property
    def network_key(self) -> str:
        """Key of the settings that the generator's weights depend on in shape."""
        return key_of(self.model_dump(include={*_GENERATOR}))

    @property
    def training_key(self) -> str:
        """Key of the settings that training depends on; the weights of VGG16 have their own."""
        return key_of(self.model_dump(exclude={*_FREE, *self.keeping}))
