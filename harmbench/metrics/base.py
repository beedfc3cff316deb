"""The declaration of a metric: unit, range and better direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Better", "Metric", "Scope", "Score"]

Better = Literal["lower", "higher", "zero", "none"]
Scope = Literal["image", "tissue", "lesion"]


@dataclass(frozen=True, slots=True)
class Metric:
    """The declaration of one metric.

    Attributes:
        name: identifier in results tables, such as `mse`.
        title: name for tables and figures, such as `MSE (whole volume)`.
        unit: such as `mm`, `mm3`, `%`, `dB`, or `1` for a dimensionless number.
        lower, upper: bounds of the possible values.
        better: `lower`, `higher`, `zero` (nearer to zero) or `none` (a description, not a score).
        scope: `image` (one value per volume), `tissue` (one value per tissue class) or `lesion` (one
            value per volume of a subject with a mask of lesions).
        description: one sentence, with the source of the formula.
    """

    name: str
    title: str
    unit: str
    lower: float
    upper: float
    better: Better
    scope: Scope
    description: str

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the declared range."""
        return math.isfinite(value) and self.lower <= value <= self.upper


@dataclass(frozen=True, slots=True)
class Score:
    """One measured value. `tissue` is empty for image metrics.

    `status` is `ok`; `empty` where a class is missing from one segmentation and the value is the
    documented penalty; or `undefined` where the metric has no value and `value` is NaN.
    """

    metric: str
    value: float
    tissue: str = ""
    status: str = "ok"
