"""ComBat on tissue volumes, harmonized to the target scanner."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harmbench.errors import MethodError
from harmbench.settings import Settings
from harmbench.volume_correction import (
    Covariates,
    VolumeCorrection,
    Volumes,
    checked_pairs,
    checked_volumes,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VolumeCombat", "VolumeCombatSettings"]

_SOURCE, _TARGET = "source", "target"


class VolumeCombatSettings(Settings):
    """Settings of `volume_combat`."""

    parametric: bool = Field(True, description="parametric priors of the empirical Bayes estimate")
    mean_only: bool = Field(False, description="adjust the mean alone, not the variance")


class VolumeCombat(VolumeCorrection[VolumeCombatSettings]):
    """ComBat with the target scanner as the reference batch (library combatlearn).

    Tissues are the features. Covariates are kept: their effect is estimated with that of the scanner, and
    is not removed. ComBat does not know that both scans are of the same person: that is how
    studies without travelling subjects use it. Its priors are over scanners, for each tissue; those of
    Johnson et al. are over features. With both, part of the shift remains.
    """

    Config = VolumeCombatSettings
    title = "Volume ComBat"
    reference = "Fortin et al., NeuroImage 2018; Johnson, Li & Rabinovic, Biostatistics 2007"
    least_subjects = 3

    _model: Any = None
    _tissues: int = 0
    _levels: Mapping[str, tuple[str, ...]] = {}

    @classmethod
    def subjects_needed(cls, covariates: Covariates | None = None) -> int:
        """Return `least_subjects`, and one more for each column of the covariates."""
        levels = _levels(covariates).values()
        return cls.least_subjects + sum(len(own[1:]) if own else 1 for own in levels)

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Estimate location and scale of the source scanner; see `VolumeCorrection.fit`.

        Raises:
            MethodError: see `VolumeCorrection.fit`; or a tissue has the same volume in everybody, there
                are too few subjects for the covariates, or covariates cannot be told apart.
        """
        from combatlearn.core import ComBatModel

        one, two = checked_pairs(source, target, self.least_subjects)
        both = np.concatenate([one, two])
        if (np.ptp(both, axis=0) == 0).any():
            raise MethodError("volume_combat: a tissue has the same volume in all training scans")
        model = ComBatModel(
            method="fortin",
            parametric=self.config.parametric,
            mean_only=self.config.mean_only,
            reference_batch=_TARGET,
        )
        levels = _levels(covariates)
        columns = _columns(covariates, levels, len(one))
        columns = {name: np.concatenate([own, own]) for name, own in columns.items()}
        _require_subjects(columns, len(one), self.subjects_needed(covariates))
        _require_distinct(columns, len(one))
        batch = np.array([_SOURCE] * len(one) + [_TARGET] * len(two))
        with warnings.catch_warnings():
            # What it says of odd designs is for its own users; results that are not finite are refused.
            warnings.simplefilter("ignore", UserWarning)
            model.fit(both, batch=batch, **_arguments(columns))
        self._model, self._tissues, self._levels = model, one.shape[1], levels

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Adjust volumes to the target scanner; see `VolumeCorrection.correct`.

        Where ComBat would give less than 0 mm3 it gives 0.
        """
        if self._model is None:
            raise MethodError("volume_combat: correct was called before fit")
        array = checked_volumes(volumes, "volumes", self._tissues)
        if sorted(covariates or ()) != sorted(self._levels):
            raise MethodError(
                f"volume_combat: fitted with the covariates {', '.join(self._levels) or 'none'}, "
                f"called with {', '.join(covariates or ()) or 'none'}"
            )
        columns = _columns(covariates, self._levels, len(array))
        batch = np.full(len(array), _SOURCE)
        found = self._model.transform(array, batch=batch, **_arguments(columns))
        corrected = np.asarray(found, dtype=np.float64)
        if not np.isfinite(corrected).all():
            raise MethodError("volume_combat: the estimate is not finite; use another correction")
        return np.maximum(corrected, 0)


def _levels(covariates: Covariates | None) -> dict[str, tuple[str, ...]]:
    """Return the labels of each covariate in a fixed order; none for one of numbers."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in sorted((covariates or {}).items()):
        numbers = all(isinstance(value, int | float) for value in values)
        found[name] = () if numbers else tuple(sorted(set(map(str, values))))
    return found


def _columns(
    covariates: Covariates | None, levels: Mapping[str, tuple[str, ...]], subjects: int
) -> dict[str, Volumes]:
    """Covariates as columns of numbers: a label is 1 in its own column, and the first label has none.

    combatlearn codes labels by those that a call has, so that a subject corrected alone would be taken for
    one with the first label; this coding is that of the fit.

    Raises:
        MethodError: a covariate has not one value for each subject, or one that the fit did not have.
    """
    found: dict[str, Volumes] = {}
    for name, own in levels.items():
        values = (covariates or {})[name]
        if len(values) != subjects:
            raise MethodError(
                f"volume_combat: {len(values)} values of {name} for {subjects} subjects"
            )
        if not own:
            found[name] = np.array(values, dtype=np.float64)
            continue
        unknown = sorted({str(value) for value in values} - set(own))
        if unknown:
            raise MethodError(
                f"volume_combat: {name} '{unknown[0]}' is unknown, fitted with {', '.join(own)}"
            )
        for level in own[1:]:
            found[f"{name}={level}"] = np.array([str(v) == level for v in values], dtype=np.float64)
    return found


def _require_subjects(columns: Mapping[str, Volumes], subjects: int, least: int) -> None:
    """Raise `MethodError` where there are too few subjects for the columns of the covariates."""
    if subjects < least:
        raise MethodError(
            f"volume_combat: {subjects} training subjects, expected at least {least} with "
            f"{', '.join(columns)}; choose fewer covariates"
        )


def _require_distinct(columns: Mapping[str, Volumes], subjects: int) -> None:
    """Raise `MethodError` where the fit cannot tell covariates apart."""
    if not columns:
        return
    rows = 2 * subjects
    design = [np.ones(rows), np.repeat([1.0, 0.0], subjects)]
    for own in columns.values():
        spread = float(own.std())
        design.append((own - own.mean()) / (spread if spread > 0 else 1.0))
    matrix: Volumes = np.column_stack(design).astype(np.float64)
    if int(np.linalg.matrix_rank(matrix)) < len(design):
        raise MethodError(
            f"volume_combat: {subjects} training subjects cannot tell {', '.join(columns)} apart; choose "
            "fewer covariates"
        )


def _arguments(columns: Mapping[str, Volumes]) -> dict[str, pd.DataFrame]:
    """Covariates as combatlearn takes them."""
    import pandas as pd

    return {"continuous_covariates": pd.DataFrame(dict(columns))} if columns else {}
