"""One number per tissue, added: the mean difference between the two scanners."""

import numpy as np

from harmbench.errors import MethodError
from harmbench.volume_correction import (
    Covariates,
    VolumeCorrection,
    Volumes,
    checked_pairs,
    checked_volumes,
)

__all__ = ["VolumeOffset"]


class VolumeOffset(VolumeCorrection):
    """Add the training subjects' mean difference, target minus source.

    Where a correction would give less than 0 mm3 it gives 0.
    """

    title = "Volume offset"
    reference = "Corrective term from paired scans, as in Sinnecker et al. 2022 (cited by Durrer et al. 2023)"

    offset: Volumes | None = None

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Take the mean difference of each tissue; see `VolumeCorrection.fit`."""
        one, two = checked_pairs(source, target, self.least_subjects)
        self.offset = (two - one).mean(axis=0)

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Add the mean difference; see `VolumeCorrection.correct`."""
        if self.offset is None:
            raise MethodError("volume_offset: correct was called before fit")
        return np.maximum(checked_volumes(volumes, "volumes", self.offset.size) + self.offset, 0)
