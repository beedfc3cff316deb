"""What a change of scanner in the middle of a study costs: noise, detectable change, subjects per arm."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["SwitchCost", "detectable_effect_percent", "subjects_per_arm", "switch_cost"]

_TWO_SIDED = 1.96


@dataclass(frozen=True, slots=True)
class SwitchCost:
    """What a change of scanner adds to the change of one tissue in one person.

    Attributes:
        subjects: from whom it was estimated.
        bias_percent: mean of the added change, in percent of the reference volume. It cancels between
            the arms of a trial.
        sd_percent: standard deviation of the added change over subjects, in percent.
        smallest_change_percent: the smallest change of one person that can be seen, 1.96 SD.
        subjects_per_arm: of a two-arm trial with the switch in the middle.
        subjects_per_arm_without: of the same trial on one scanner.
        ratio: the first over the second; NaN where the second is not known.
    """

    subjects: int
    bias_percent: float
    sd_percent: float
    smallest_change_percent: float
    subjects_per_arm: float
    subjects_per_arm_without: float
    ratio: float


def detectable_effect_percent(
    slowing: float = 0.25, yearly_percent: float = 0.5, years: float = 2.0
) -> float:
    """Return the difference of change between the arms of a trial, in percent of the volume.

    Args:
        slowing: share of the yearly change that the treatment prevents, above 0 and up to 1.
        yearly_percent: change per year without treatment, in percent of the volume.
        years: length of the trial.

    Raises:
        ValueError: a value is out of range.
    """
    if not 0 < slowing <= 1 or yearly_percent <= 0 or years <= 0:
        raise ValueError("slowing must be in (0, 1], yearly_percent and years above 0")
    return slowing * yearly_percent * years


def subjects_per_arm(
    sd: float, effect: float, power: float = 0.8, significance: float = 0.05
) -> float:
    """Return n = 2 sd^2 (z_{1-a/2} + z_power)^2 / effect^2 for two arms of equal size.

    The normal approximation for a difference of two means (Julious, Statistics in Medicine 2004).

    Args:
        sd: standard deviation of the change in one arm, not below 0.
        effect: difference of the means of the two arms, same unit, above 0.
        power: of the trial, in (0, 1).
        significance: of a two-sided test, in (0, 1).

    Returns:
        Subjects in each arm, not rounded.

    Raises:
        ValueError: a value is out of range.
    """
    if not (sd >= 0 and effect > 0 and 0 < power < 1 and 0 < significance < 1):
        raise ValueError("sd must not be below 0, effect above 0, power and significance in (0, 1)")
    quantiles = stats.norm.ppf(1 - significance / 2) + stats.norm.ppf(power)
    return float(2 * sd**2 * quantiles**2 / effect**2)


def switch_cost(
    harmonized: ArrayLike,
    reference: ArrayLike,
    *,
    effect_percent: float,
    own_sd_percent: float,
    power: float = 0.8,
    significance: float = 0.05,
) -> SwitchCost:
    """Return what a change of scanner costs with a method, for one tissue.

    A subject's change is measured from one scanner to the other: the method's error in percent adds
    to it. Its variance adds to that of the change on one scanner.

    Args:
        harmonized: volumes after the method, shape (subjects,), mm3.
        reference: volumes on the target scanner, same shape, mm3, above 0.
        effect_percent: the effect to find, see `detectable_effect_percent`.
        own_sd_percent: standard deviation of the change on one scanner, in percent: of people, and of
            a rescan; 0 where it is not known.
        power, significance: of the trial.

    Raises:
        ValueError: fewer than 2 subjects, other shapes, or a value that is out of range.
    """
    found, wanted = np.asarray(harmonized, float), np.asarray(reference, float)
    if found.ndim != 1 or found.shape != wanted.shape or found.size < 2:
        raise ValueError(
            f"expected volumes of at least 2 subjects, shapes {found.shape} and {wanted.shape}"
        )
    if not np.isfinite(found).all() or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise ValueError("volumes must be finite, those of the reference above 0")
    if own_sd_percent < 0:
        raise ValueError("own_sd_percent must not be below 0")
    added = 100 * (found - wanted) / wanted
    sd = float(added.std(ddof=1))
    design = {"effect": effect_percent, "power": power, "significance": significance}
    with_switch = subjects_per_arm(sqrt(sd**2 + own_sd_percent**2), **design)
    without = subjects_per_arm(own_sd_percent, **design)
    ratio = with_switch / without if without > 0 else (nan if with_switch == 0 else inf)
    return SwitchCost(
        subjects=found.size,
        bias_percent=float(added.mean()),
        sd_percent=sd,
        smallest_change_percent=_TWO_SIDED * sd,
        subjects_per_arm=ceil(with_switch),
        subjects_per_arm_without=ceil(without),
        ratio=ratio,
    )
