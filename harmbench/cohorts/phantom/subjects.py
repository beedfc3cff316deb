"""The 40 simulated people: groups, sex and age as in the paper, and the seeds of all randomness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import special
from typing_extensions import Self

from harmbench.settings import Settings

__all__ = ["COHORT_SIZE", "PATIENTS", "PhantomSettings", "Product", "Subject", "make_subjects"]

Product = Literal["prepared", "raw"]

COHORT_SIZE = 40
PATIENTS = "MS"
"""The group with lesions."""

_CONTROLS = 22

_COHORT_STREAM, _ANATOMY_STREAM, _TISSUE_STREAM, _SESSION_STREAM, _HEAD_STREAM = range(5)
_VISIT_STREAM = 5


class PhantomSettings(Settings):
    """Settings of the simulated cohort."""

    subjects: int = Field(
        COHORT_SIZE,
        ge=1,
        le=COHORT_SIZE,
        description="how many of the 40 subjects; fewer are always the first of them",
    )
    spacing_mm: float = Field(
        1.0,
        ge=0.8,
        le=4.0,
        description="isotropic voxel size; prepared volumes have 160x224x224 voxels at 1 mm and "
        "the same field of view otherwise, raw ones the protocol's voxels times this",
    )
    seed: int = Field(0, ge=0, description="seed of the whole cohort")
    rescans: bool = Field(
        False,
        description="a second visit of each scanner: repositioned, with new noise and receive "
        "field, same anatomy; of prepared scans only",
    )
    product: Product = Field(
        "prepared",
        description="`prepared` (skull-stripped, in [0, 1], aligned) or `raw` (with a head around "
        "the brain, in scanner units, each session on its scanner's own grid)",
    )

    @model_validator(mode="after")
    def _rescans_are_prepared(self) -> Self:
        if self.rescans and self.product == "raw":
            raise ValueError("rescans are made of prepared scans only; leave product at `prepared`")
        return self

    def identity(self) -> dict[str, object]:
        """Return the settings that the bytes of a subject depend on.

        A setting that adds files counts where it is used: its default changes nothing.
        """
        return self.model_dump(exclude={"subjects", *([] if self.rescans else ["rescans"])})


@dataclass(frozen=True, slots=True)
class Subject:
    """One simulated person.

    Attributes:
        number: index in the cohort, from 0.
        label: `sub-01`, ...
        group: `HC` or `MS`.
        age: years.
        sex: `F` or `M`.
        seed: seed of the cohort.
    """

    number: int
    label: str
    group: str
    age: float
    sex: str
    seed: int

    def anatomy_generator(self) -> np.random.Generator:
        """Return the random numbers of the anatomy, the same for every voxel size."""
        return _generator(self.seed, _ANATOMY_STREAM, self.number)

    def tissue_generator(self) -> np.random.Generator:
        """Return the random numbers of the relaxation times, the same for all sessions."""
        return _generator(self.seed, _TISSUE_STREAM, self.number)

    def head_generator(self) -> np.random.Generator:
        """Return the random numbers of skull and scalp, the same for all sessions."""
        return _generator(self.seed, _HEAD_STREAM, self.number)

    def session_generator(self, session: int) -> np.random.Generator:
        """Return the random numbers of one session's scan."""
        return _generator(self.seed, _SESSION_STREAM, self.number, session)

    def visit_generator(self, session: int, visit: int) -> np.random.Generator:
        """Return the random numbers of the scan of a later visit, numbered from 1."""
        return _generator(self.seed, _VISIT_STREAM, self.number, session, visit)


def make_subjects(seed: int) -> tuple[Subject, ...]:
    """Make all 40 subjects of a cohort.

    Groups are interleaved, so that the first subjects hold both in about the proportion 22 to 18.
    Numbers of women and men and the mean and SD of the age per group are those of Durrer et al.
    2023, Table 5: controls 11 F, 11 M, 28.9 +- 7.6 years; patients 14 F, 4 M, 51.7 +- 12.7 years.
    The shape of the age distributions is assumed (gamma from 18 years up; normal).
    """
    generator = _generator(seed, _COHORT_STREAM)
    ratio = _CONTROLS / COHORT_SIZE
    controls = np.diff(np.floor(np.arange(COHORT_SIZE + 1) * ratio + 0.5)) > 0
    ages = {"HC": _control_ages(), "MS": _patient_ages()}
    sexes = {"HC": ["F"] * 11 + ["M"] * 11, "MS": ["F"] * 14 + ["M"] * 4}
    people = {
        group: list(
            zip(
                generator.permutation(ages[group]), generator.permutation(sexes[group]), strict=True
            )
        )
        for group in ("HC", "MS")
    }
    subjects = []
    for number in range(COHORT_SIZE):
        group = "HC" if controls[number] else "MS"
        age, sex = people[group].pop()
        label = f"sub-{number + 1:02d}"
        subjects.append(Subject(number, label, group, round(float(age), 1), str(sex), seed))
    return tuple(subjects)


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _control_ages() -> NDArray[np.float64]:
    mean, sd, youngest = 28.9, 7.6, 18.0
    shape = ((mean - youngest) / sd) ** 2
    levels = (np.arange(_CONTROLS) + 0.5) / _CONTROLS
    return _standardized(special.gammaincinv(shape, levels), mean, sd)


def _patient_ages() -> NDArray[np.float64]:
    count = COHORT_SIZE - _CONTROLS
    return _standardized(special.ndtri((np.arange(count) + 0.5) / count), 51.7, 12.7)


def _standardized(values: NDArray[np.float64], mean: float, sd: float) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / values.std(ddof=1) * sd + mean)
