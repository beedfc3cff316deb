"""A line per tissue: slope and intercept between the two scanners."""

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

__all__ = ["VolumeLinear", "VolumeLinearSettings", "deming"]


class VolumeLinearSettings(Settings):
    """Settings of `volume_linear`."""

    error_ratio: float = Field(
        1.0,
        gt=0,
        description="variance of the measurement error on the target scanner over that on the source "
        "scanner",
    )


def deming(x: Volumes, y: Volumes, error_ratio: float = 1.0) -> tuple[float, float]:
    """Fit a line where both variables have errors (Deming 1943; Cornbleet & Gochman 1979).

    Args:
        x, y: values, shape (subjects,).
        error_ratio: variance of the errors of y over that of the errors of x.

    Returns:
        Slope and intercept. Without correlation between x and y there is no line: slope 1, and the
        mean difference as intercept.
    """
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    if sxy <= 0:
        slope = 1.0
    else:
        half = syy - error_ratio * sxx
        slope = (half + np.sqrt(half**2 + 4 * error_ratio * sxy**2)) / (2 * sxy)
    return float(slope), float(y.mean() - slope * x.mean())


class VolumeLinear(VolumeCorrection[VolumeLinearSettings]):
    """Map each tissue's volume by a Deming regression of target on source.

    Both volumes are measured with error. Least squares would count all of the error in the target
    alone: its slope would be too small, and differences between people, and changes of one person,
    would shrink. Deming regression with `error_ratio` 1 takes the two scanners as equally precise.
    """

    Config = VolumeLinearSettings
    title = "Volume line"
    reference = "Deming regression (Cornbleet & Gochman, Clinical Chemistry 1979)"
    least_subjects = 3

    lines: Volumes | None = None

    def fit(self, source: Volumes, target: Volumes, covariates: Covariates | None = None) -> None:
        """Fit a line for each tissue; see `VolumeCorrection.fit`."""
        one, two = checked_pairs(source, target, self.least_subjects)
        columns = zip(one.T, two.T, strict=True)
        self.lines = np.array([deming(x, y, self.config.error_ratio) for x, y in columns])

    def correct(self, volumes: Volumes, covariates: Covariates | None = None) -> Volumes:
        """Apply the lines; see `VolumeCorrection.correct`. Where a line gives less than 0, it gives 0."""
        if self.lines is None:
            raise MethodError("volume_linear: correct was called before fit")
        slopes, intercepts = self.lines.T
        mapped = checked_volumes(volumes, "volumes", slopes.size) * slopes + intercepts
        return np.asarray(np.maximum(mapped, 0))
