"""What a volume correction is fitted on in a run, and the fit.

A fit takes milliseconds, so that it is not stored: whoever needs one makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from harmbench.code_keys import stage_code
from harmbench.discovery import correction_code, load_correction
from harmbench.errors import MethodError
from harmbench.guard import method_call
from harmbench.plugins import Reference
from harmbench.runner.pairs import SessionPair
from harmbench.runner.tissue_volumes import MeasuredScan, RealVolumes
from harmbench.segmentation import TISSUES
from harmbench.storage import key_of
from harmbench.study.choice import inner_errors
from harmbench.study.covariates import NO_COVARIATES, CovariateTable, Value
from harmbench.task import Direction
from harmbench.volume_correction import VolumeCorrection, Volumes, checked_volumes

__all__ = [
    "FittedCorrection",
    "PlannedCorrection",
    "TrainingVolumes",
    "covariates_in_key",
    "scans_of_pair",
]


@dataclass(frozen=True, slots=True)
class TrainingVolumes:
    """The volumes of training pairs with labels on both scanners.

    Attributes:
        subjects: of each pair; one with several visits has several pairs.
        source, target: volumes on the two scanners, shape (pairs, tissues), mm3.
        covariates: of all subjects of the run.
    """

    subjects: tuple[str, ...]
    source: Volumes
    target: Volumes
    covariates: CovariateTable = NO_COVARIATES

    @classmethod
    def of(
        cls, pairs: Sequence[SessionPair], volumes: RealVolumes, covariates: CovariateTable
    ) -> TrainingVolumes:
        """Collect the volumes of pairs; those without labels on a scanner are left out."""
        found = []
        for pair in pairs:
            one, two = (scan.volumes_mm3 for scan in scans_of_pair(volumes, pair))
            if one is not None and two is not None:
                found.append((pair.subject, one, two))
        shape = (len(found), len(TISSUES))
        source = np.array([one for _, one, _ in found], dtype=np.float64).reshape(shape)
        target = np.array([two for _, _, two in found], dtype=np.float64).reshape(shape)
        return cls(tuple(subject for subject, _, _ in found), source, target, covariates)


def scans_of_pair(volumes: RealVolumes, pair: SessionPair) -> tuple[MeasuredScan, MeasuredScan]:
    """Return a pair's scans on the source and on the target scanner, as measured."""
    return volumes[pair.subject, pair.source], volumes[pair.subject, pair.target]


def covariates_in_key(covariates: CovariateTable, subject: str) -> list[dict[str, Value]]:
    """Return what the key of a subject's corrected volumes has of its own covariates.

    What is filled in for a missing value depends on training subjects, whose covariates are in the key
    of the fit.

    Returns:
        One element; none where the run uses no covariates, so that keys of such runs have no such part.
    """
    own = {name: values.get(subject) for name, values in covariates.columns.items()}
    return [own] if own else []


@dataclass(frozen=True, slots=True)
class FittedCorrection:
    """A fitted volume correction.

    Attributes:
        correction: the correction.
        training: what it was fitted on.
    """

    correction: VolumeCorrection
    training: TrainingVolumes

    def correct(self, subject: str, volumes_mm3: Sequence[float]) -> list[float]:
        """Correct one subject's volumes on the source scanner, in the order of `TISSUES`, mm3.

        Raises:
            MethodError: the correction failed, or gives what are no volumes.
        """
        covariates = self.training.covariates.of(self.training.subjects, [subject])
        with method_call():
            found = self.correction.correct(np.array([volumes_mm3], dtype=np.float64), covariates)
        corrected = checked_volumes(found, "corrected volumes", len(TISSUES))
        if len(corrected) != 1:
            raise MethodError(f"corrected volumes of {len(corrected)} subjects, expected 1")
        return [float(volume) for volume in corrected[0]]


@dataclass(frozen=True, slots=True)
class PlannedCorrection:
    """A volume correction before it is fitted, and what it is to be fitted on.

    Attributes:
        uses: which one it is.
        kind: its class.
        settings: validated.
        training: what it is fitted on.
    """

    uses: Reference
    kind: type[VolumeCorrection]
    settings: BaseModel
    training: TrainingVolumes

    @classmethod
    def of(
        cls, uses: Reference, settings: BaseModel, training: TrainingVolumes
    ) -> PlannedCorrection:
        """Return the plan.

        Raises:
            MethodError: the correction cannot be loaded, or there are too few training subjects for it
                and its covariates.
        """
        kind = load_correction(uses)
        covariates = training.covariates.of(training.subjects, training.subjects)
        found, least = len(set(training.subjects)), kind.subjects_needed(covariates)
        if found < least:
            more = least > kind.subjects_needed()
            names = f" with the covariates {', '.join(covariates or ())}" if more else ""
            raise MethodError(
                f"{found} training subjects with tissue volumes on both scanners, expected at least "
                f"{least}{names}"
            )
        return cls(uses, kind, settings, training)

    def key(self, direction: Direction) -> str:
        """SHA-256 of what the fit depends on: code, settings, direction, volumes and covariates."""
        own = self.training
        covariates = own.covariates.of(own.subjects, own.subjects)
        return key_of(
            "fit volumes",
            correction_code(self.uses),
            stage_code("correct"),
            self.settings.model_dump(mode="json"),
            str(direction),
            [list(own.subjects), own.source.tolist(), own.target.tolist()],
            *([] if covariates is None else [dict(covariates)]),
        )

    def fitted(self) -> FittedCorrection:
        """Fit the correction on all training subjects."""
        own = self.training
        covariates = own.covariates.of(own.subjects, own.subjects)
        with method_call():
            correction = self.kind(self.settings)
            correction.fit(own.source, own.target, covariates)
        return FittedCorrection(correction, own)

    def inner_errors(self) -> dict[str, float]:
        """Cross-validate within the training subjects: tissue to mean absolute error, mm3.

        A tissue is not in it where the errors are not known.
        """
        own = self.training
        with method_call():
            errors = inner_errors(
                lambda: self.kind(self.settings),
                *(own.source, own.target, own.subjects),
                covariates=own.covariates,
            ).mean(axis=0)
        return {t: float(e) for t, e in zip(TISSUES, errors, strict=True) if np.isfinite(e)}
