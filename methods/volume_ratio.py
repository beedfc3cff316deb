"""One number per tissue, multiplied: the ratio between the two scanners."""

import numpy as np

from harmbench.errors import MethodError
from harmbench.volume_correction import (
    Covariates,
    VolumeCorrection,
    Volumes,
    checked_pairs,
    checked_volumes,
)

__all__ = ["VolumeRatio"]


class VolumeRatio(VolumeCorrection):
    """Multiply by the ratio of the training subjects' mean volumes, target to source.

    The ratio of means is the ratio estimator of survey sampling (Cochran 1977, ch. 6). A single small
    volume moves it less than the mean of ratios.
    """

    title = "Volume ratio"
    reference = "Ratio estimator (Cochran, Sampling Techniques, 1977, ch. 6)"

    ratio: Volumes | None = None

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Take the ratio of the mean volumes of each tissue; see `VolumeCorrection.fit`.

        Raises:
            MethodError: see `VolumeCorrection.fit`; or a tissue is empty in all source scans.
        """
        one, two = checked_pairs(source, target, self.least_subjects)
        means = one.mean(axis=0)
        if (means == 0).any():
            raise MethodError("volume_ratio: a tissue is empty in all training scans of the source")
        self.ratio = np.asarray(two.mean(axis=0) / means)

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Multiply by the ratio; see `VolumeCorrection.correct`."""
        if self.ratio is None:
            raise MethodError("volume_ratio: correct was called before fit")
        return checked_volumes(volumes, "volumes", self.ratio.size) * self.ratio
