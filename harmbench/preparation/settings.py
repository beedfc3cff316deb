"""Settings of each preparation step; every step can be switched off."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from harmbench.cohorts.base import CLIP_PERCENTILES
from harmbench.settings import Settings

__all__ = [
    "BiasSettings",
    "CropSettings",
    "Interpolation",
    "NormalizeSettings",
    "PrepareSettings",
    "RegistrationSettings",
    "StripSettings",
    "Stripping",
    "Transformation",
]

Stripping = Literal["deepbet", "hd-bet", "bet", "mask", "none"]
Transformation = Literal["deformable", "affine", "rigid", "none"]
Interpolation = Literal["linear", "bspline", "lanczos"]


class StripSettings(Settings):
    """Skull stripping."""

    method: Stripping = Field(
        "deepbet",
        description="`deepbet`, `hd-bet` (an extra), `bet` (FSL), `mask` (a mask that comes with "
        "each scan), or `none` (scans are stripped: the brain is every voxel above 0, or "
        "that differs from a background of one other value)",
    )
    plausible_ml: tuple[float, float] = Field(
        (700.0, 2300.0),
        description="smallest and largest plausible volume of a brain mask, in ml",
    )
    hd_bet_weights: Path | None = Field(
        None, description="folder of HD-BET's weights; by default where HD-BET itself keeps them"
    )

    @field_validator("plausible_ml")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1]:
            raise ValueError("the smallest volume comes first, and none is below 0")
        return value


class BiasSettings(Settings):
    """Correction of the bias field (N4, Tustison et al. 2010), within the brain mask."""

    method: Literal["n4", "none"] = Field("n4", description="`n4` or `none`")
    shrink_factor: int = Field(4, ge=1, le=8, description="voxels that are taken together")
    # A fourth resolution, as in ANTs' default, has knots every 25 mm: in a brain mask it fits anatomy.
    iterations: tuple[int, ...] = Field(
        (50, 50, 50),
        min_length=1,
        description="most iterations at each resolution; each halves the distance of the knots",
    )
    # ITK's default. At ANTs', 1e-7, each resolution goes on to the last iteration: the field fits more
    # anatomy, in five times the time (docs/from-raw-scans.md).
    tolerance: float = Field(1e-3, gt=0, description="change at which a resolution is finished")
    white_matter: bool = Field(
        False,
        description="estimate twice, the second time from the brightest of three classes of the "
        "first result, white matter in T1w",
    )
    spline_mm: float = Field(200.0, gt=0, description="distance of spline knots at the coarsest")


class NormalizeSettings(Settings):
    """Intensities: clip at two percentiles of the brain and scale to [0, 1]."""

    method: Literal["percentile", "none"] = Field(
        "percentile", description="`percentile` or `none`"
    )
    percentiles: tuple[float, float] = Field(
        CLIP_PERCENTILES, description="lower and upper percentile of the brain's voxels"
    )

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two rising percentiles from 0 to 100")
        return value


class RegistrationSettings(Settings):
    """Registration of every session of a subject to one of them."""

    transform: Transformation = Field(
        "deformable",
        description="`deformable` (affine, then deformable with mutual information and elastic "
        "regularization: ANTs' ElasticSyN), `affine`, `rigid`, or `none` (headers are trusted). "
        "Deformable registration can remove real differences between sessions",
    )
    reference: str | None = Field(
        None,
        description="session that the others are brought to; by default the one with the smallest "
        "voxels over the cohort",
    )
    space: Literal["reference", "halfway"] = Field(
        "reference",
        description="`reference`: the others are moved onto the reference session; `halfway`: two "
        "sessions meet in the middle of their linear transform, so that both are interpolated alike",
    )


class CropSettings(Settings):
    """The common grid: background is cropped or padded, never brain."""

    shape: tuple[int, int, int] | None = Field(
        (160, 224, 224),
        description="voxels along x, y, z, around the brain; `null`: the reference's field of view",
    )

    @field_validator("shape")
    @classmethod
    def _positive(cls, value: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if value is not None and min(value) < 1:
            raise ValueError("every axis has at least one voxel")
        return value


class PrepareSettings(Settings):
    """From raw scans to pairs that a benchmark can use (Durrer et al. 2023, Sec. 3)."""

    orientation: Literal["RAS", "scan"] = Field(
        "RAS",
        description="axis order of the files: `RAS`, or that of the reference session's scan",
    )
    strip: StripSettings = Field(default_factory=StripSettings, description="skull stripping")
    bias: BiasSettings = Field(default_factory=BiasSettings, description="bias field correction")
    spacing_mm: float | None = Field(
        1.0, gt=0, le=5, description="isotropic voxel size; `null`: the reference scan's voxels"
    )
    interpolation: Interpolation = Field(
        "linear",
        description="`linear`, `bspline` (cubic), or `lanczos`; every scan is interpolated once",
    )
    normalize: NormalizeSettings = Field(
        default_factory=NormalizeSettings, description="intensities"
    )
    registration: RegistrationSettings = Field(
        default_factory=RegistrationSettings, description="registration"
    )
    crop: CropSettings = Field(default_factory=CropSettings, description="the common grid")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.spacing_mm is None and self.registration.space == "halfway":
            raise ValueError(
                "registration.space=halfway needs spacing_mm: no scan lies on that grid"
            )
        return self
