"""The contract of a volume correction: it maps tissue volumes, not images.

A correction learns from the tissue volumes of training subjects on both scanners. It maps a test
subject's volumes on the source scanner to what the target scanner would give. It never sees the test
subject's volumes on the target scanner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from typing_extensions import TypeVar

from harmbench.errors import MethodError
from harmbench.settings import Settings

__all__ = ["Covariates", "VolumeCorrection", "Volumes", "checked_pairs", "checked_volumes"]

# Covariant, as in `harmbench.method`.
ConfigT_co = TypeVar("ConfigT_co", bound=BaseModel, covariant=True, default=BaseModel)

Volumes = NDArray[np.float64]
"""Tissue volumes in mm3, shape (subjects, tissues)."""

Covariates = Mapping[str, Sequence[float | str]]
"""Name of a covariate, such as `age`, to one value for each subject; numbers, or labels of groups."""


class VolumeCorrection(ABC, Generic[ConfigT_co]):
    """A correction of tissue volumes. A subclass defines `fit` and `correct`.

    A subclass with settings names their class twice, as a subclass of `harmbench.method.Method` does:
    `class Mine(VolumeCorrection[MySettings])`, and `Config = MySettings`.

    Class attributes:
        Config: the settings, a subclass of `Settings`.
        title: name for tables and figures, written as a literal: `harmbench methods` reads it from
            the source.
        reference: citation of the method's source, a literal as well.
        least_subjects: training subjects that `fit` needs without covariates, see `subjects_needed`.

    Args:
        config: an instance of `Config`, or `None` for its defaults.
    """

    Config: ClassVar[type[BaseModel]] = Settings
    title: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    least_subjects: ClassVar[int] = 1

    def __init__(self, config: ConfigT_co | None = None) -> None:
        # A ClassVar cannot name the type variable.
        self.config = cast(ConfigT_co, self.Config()) if config is None else config

    @classmethod
    def subjects_needed(cls, covariates: Covariates | None = None) -> int:
        """Return how many training subjects `fit` needs with these covariates.

        A run does not call `fit` with fewer; a subject with several visits counts once there.

        Args:
            covariates: as for `fit`.
        """
        del covariates
        return max(1, cls.least_subjects)

    @abstractmethod
    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Learn from training subjects.

        Args:
            source, target: their volumes on the two scanners, shape (subjects, tissues), mm3; row i
                of both is the same subject.
            covariates: one value for each subject.

        Raises:
            MethodError: the volumes are not usable, or too few.
        """

    @abstractmethod
    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Return what the target scanner would give.

        Args:
            volumes: volumes on the source scanner, shape (subjects, tissues), mm3.
            covariates: one value for each subject; the same names as in `fit`.

        Returns:
            Corrected volumes, same shape, mm3.

        Raises:
            MethodError: `fit` was not called, or the volumes are not usable.
        """


def checked_volumes(volumes: Volumes, name: str, tissues: int | None = None) -> Volumes:
    """Return volumes as float64 of shape (subjects, tissues).

    Args:
        volumes: in mm3.
        name: what they are, for messages.
        tissues: the number of tissues that there must be; any where `None`.

    Raises:
        MethodError: another shape, no subject, or a value that is not finite or is below 0.
    """
    array = np.asarray(volumes, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise MethodError(f"{name}: expected the shape (subjects, tissues), got {array.shape}")
    if tissues is not None and array.shape[1] != tissues:
        raise MethodError(f"{name}: expected {tissues} tissues, got {array.shape[1]}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise MethodError(f"{name}: volumes must be finite and not below 0")
    return array


def checked_pairs(source: Volumes, target: Volumes, least: int = 1) -> tuple[Volumes, Volumes]:
    """Return the volumes of training subjects on both scanners, checked.

    Args:
        source, target: shape (subjects, tissues), mm3.
        least: the number of subjects that there must be.

    Raises:
        MethodError: see `checked_volumes`; or the shapes differ, or there are too few subjects.
    """
    one = checked_volumes(source, "source volumes")
    two = checked_volumes(target, "target volumes", one.shape[1])
    if len(one) != len(two):
        raise MethodError(
            f"{len(one)} subjects with source volumes and {len(two)} with target volumes"
        )
    if len(one) < least:
        raise MethodError(f"{len(one)} training subjects, expected at least {least}")
    return one, two
