"""ComBat on tissue volumes, harmonized to the target scanner."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
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

    Tissues are the features. ComBat does not know that both scans are of the same person: that is how
    studies without travelling subjects use it.
    """

    Config = VolumeCombatSettings
    title = "Volume ComBat"
    reference = "Fortin et al., NeuroImage 2018; Johnson, Li & Rabinovic, Biostatistics 2007"
    least_subjects = 3

    _model: Any = None
    _tissues: int = 0
    _covariates: tuple[str, ...] = ()

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Estimate location and scale of the source scanner; see `VolumeCorrection.fit`.

        Raises:
            MethodError: see `VolumeCorrection.fit`; or a tissue has the same volume in everybody.
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
        batch = np.array([_SOURCE] * len(one) + [_TARGET] * len(two))
        with warnings.catch_warnings():
            # What it says of odd designs is for its own users; results that are not finite are refused.
            warnings.simplefilter("ignore", UserWarning)
            model.fit(both, batch=batch, **_arguments(covariates, len(one), copies=2))
        self._model, self._tissues = model, one.shape[1]
        self._covariates = tuple(sorted(covariates or ()))

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Adjust volumes to the target scanner; see `VolumeCorrection.correct`.

        Where ComBat would give less than 0 mm3 it gives 0.
        """
        if self._model is None:
            raise MethodError("volume_combat: correct was called before fit")
        array = checked_volumes(volumes, "volumes", self._tissues)
        if tuple(sorted(covariates or ())) != self._covariates:
            raise MethodError(
                f"volume_combat: fitted with the covariates {', '.join(self._covariates) or 'none'}, "
                f"called with {', '.join(sorted(covariates or ())) or 'none'}"
            )
        batch = np.full(len(array), _SOURCE)
        found = self._model.transform(array, batch=batch, **_arguments(covariates, len(array)))
        corrected = np.asarray(found, dtype=np.float64)
        if not np.isfinite(corrected).all():
            raise MethodError("volume_combat: the estimate is not finite; use another correction")
        return np.maximum(corrected, 0)


def _arguments(
    covariates: Covariates | None, subjects: int, copies: int = 1
) -> dict[str, pd.DataFrame]:
    """Covariates as combatlearn takes them: continuous and discrete columns apart."""
    import pandas as pd

    found: dict[str, dict[str, Sequence[float | str]]] = {"continuous": {}, "discrete": {}}
    for name, values in (covariates or {}).items():
        if len(values) != subjects:
            raise MethodError(
                f"volume_combat: {len(values)} values of {name} for {subjects} subjects"
            )
        numbers = all(isinstance(value, int | float) for value in values)
        found["continuous" if numbers else "discrete"][name] = list(values) * copies
    return {f"{kind}_covariates": pd.DataFrame(own) for kind, own in found.items() if own}
