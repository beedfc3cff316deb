"""What a change of scanner in the middle of a study costs: noise, detectable change, subjects per arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, nan, sqrt

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from harmbench.results import REAL_SCANS, RESCAN
from harmbench.study.subject_bootstrap import DEFAULT, Resampling, bounds, subject_draws

__all__ = [
    "SwitchCost",
    "Trial",
    "detectable_effect_percent",
    "subjects_per_arm",
    "switch_cost",
    "switch_costs",
]

_TWO_SIDED = 1.96
_RELATIVE = "relative_volume_difference"
_KEYS = ("direction", "segmenter", "tissue")


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial with two arms of equal size, whose end point is the change of a tissue's volume.

    Attributes:
        effect_percent: difference of the change between the arms, in percent of the volume.
        power: of the trial, in (0, 1).
        significance: of a two-sided test, in (0, 1).
        people_sd_percent: SD of the true change between people, in percent; 0 counts measurement
            alone.
    """

    effect_percent: float = 0.25
    power: float = 0.8
    significance: float = 0.05
    people_sd_percent: float = 0.0

    def __post_init__(self) -> None:
        """Check the values, see `subjects_per_arm`."""
        if not self.people_sd_percent >= 0:
            raise ValueError("people_sd_percent must not be below 0")
        subjects_per_arm(1.0, self.effect_percent, self.power, self.significance)

    def arm(self, sd_percent: float) -> float:
        """Return the subjects per arm for a measurement with an SD, in percent; not rounded."""
        sd = sqrt(sd_percent**2 + self.people_sd_percent**2)
        return subjects_per_arm(sd, self.effect_percent, self.power, self.significance)


@dataclass(frozen=True, slots=True)
class SwitchCost:
    """What a change of scanner does to the measured change of one tissue.

    Attributes:
        subjects: number of subjects it was estimated from.
        bias_percent: mean of the measured change where there was none, in percent of the reference
            volume. It cancels between the arms of a trial.
        sd_percent: its standard deviation over subjects, in percent. It includes the noise of both scans.
        sd_low, sd_high: interval of the SD over subjects.
        smallest_change_percent: the smallest change of one person that can be seen, 1.96 SD.
        stay_sd_percent: the SD of a rescan on the target scanner; NaN where it is not known.
        arm: subjects per arm of a trial with the switch in the middle.
        arm_stay: of the same trial on one scanner; NaN where that is not known.
        ratio: the first over the second, before rounding, and at least 1; NaN where it is not known.
    """

    subjects: int
    bias_percent: float
    sd_percent: float
    sd_low: float
    sd_high: float
    smallest_change_percent: float
    stay_sd_percent: float
    arm: float
    arm_stay: float
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
    trial: Trial | None = None,
    *,
    subjects: Sequence[str] | None = None,
    stay_sd_percent: float = nan,
    how: Resampling = DEFAULT,
) -> SwitchCost:
    """Return what a change of scanner costs with a method, for one tissue.

    A subject's change is measured from one scanner to the other. The difference of the harmonized to
    the target volume, of two scans of the same brain, is the error of that change. It includes the noise
    of both scans, as the difference of a rescan does. A switch is never less noisy than a rescan: where
    few subjects or a reference that counts twice give a smaller SD, the SD of the rescan is used.
    Each visit of a subject counts on its own, since a trial measures one; the interval is over subjects.

    Args:
        harmonized: volumes after the method, shape (visits,), mm3.
        reference: volumes on the target scanner, same shape, mm3, above 0.
        trial: what the change is measured for.
        subjects: whose each visit is; by default each is of another subject.
        stay_sd_percent: SD of the difference of a rescan on the target scanner, in percent; NaN where
            it is not known.
        how: how the interval of the SD is computed.

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
    if stay_sd_percent < 0:
        raise ValueError("stay_sd_percent must not be below 0")
    names = [*map(str, range(found.size))] if subjects is None else list(subjects)
    if len(names) != found.size or len(set(names)) < 2:
        raise ValueError(
            f"expected at least 2 subjects and one for each of {found.size} visits, got "
            f"{len(set(names))} in {len(names)}"
        )
    whose, _ = pd.factorize(np.asarray(names))
    added = 100 * (found - wanted) / wanted
    return _cost(added, whose, trial or Trial(), stay_sd_percent, how)


def _cost(
    added: NDArray[np.float64],
    whose: NDArray[np.intp],
    trial: Trial,
    stay_sd_percent: float,
    how: Resampling,
) -> SwitchCost:
    """Return the cost from measured changes, in percent, of subjects who did not change.

    Args:
        added: changes, shape (visits,).
        whose: number of the subject of each, from 0 without gaps, same shape.
        trial, stay_sd_percent, how: as for `switch_cost`.
    """
    sd = float(added.std(ddof=1))
    arm, arm_stay, ratio = trial.arm(sd), nan, nan
    if np.isfinite(stay_sd_percent):
        arm = trial.arm(max(sd, stay_sd_percent))
        arm_stay = trial.arm(stay_sd_percent)
        ratio = arm / arm_stay if arm_stay > 0 else nan
    low, high = _sd_interval(added, whose, how)
    return SwitchCost(
        subjects=int(whose.max()) + 1,
        bias_percent=float(added.mean()),
        sd_percent=sd,
        sd_low=low,
        sd_high=high,
        smallest_change_percent=_TWO_SIDED * sd,
        stay_sd_percent=float(stay_sd_percent),
        arm=float(ceil(arm)),
        arm_stay=arm_stay if np.isnan(arm_stay) else float(ceil(arm_stay)),
        ratio=ratio,
    )


def _sd_interval(
    values: NDArray[np.float64], whose: NDArray[np.intp], how: Resampling
) -> tuple[float, float]:
    """Return the interval over subjects of the SD (ddof 1) of values; `whose` gives the subject of each."""
    centred = values - values.mean()
    sums = np.zeros((int(whose.max()) + 1, 3))
    np.add.at(sums, whose, np.stack([np.ones_like(centred), centred, centred**2], axis=1))
    count, total, squares = (subject_draws(len(sums), how) @ sums).T
    variance = np.clip(squares - total**2 / count, 0, None) / np.maximum(count - 1, 1)
    return bounds(np.sqrt(variance), how)


def switch_costs(
    results: pd.DataFrame, trial: Trial | None = None, how: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return what a change of scanner costs with each method of a run.

    The rescans' rows, where a run has them, give the noise of staying on the target scanner. The order of
    two rescans is arbitrary, so their SD is the root mean square difference. Each visit of a subject counts
    on its own, since a trial measures one; intervals are over subjects.

    Args:
        results: results table.
        trial: what the change is measured for.
        how: how the intervals are computed.

    Returns:
        Columns method, direction, segmenter, tissue, and those of `SwitchCost`; one row for each with
        at least two subjects.
    """
    trial = trial or Trial()
    own = results[(results["metric"] == _RELATIVE) & results["value"].notna()]
    keys = ["method", *_KEYS, "subject", "visit"]
    by_visit = own.groupby(keys, sort=True)["value"].mean().reset_index()
    stay = _stay(by_visit[by_visit["method"] == RESCAN])
    rows: list[dict[str, object]] = []
    for key, part in by_visit.groupby(["method", *_KEYS], sort=True):
        method, *place = (str(value) for value in key)
        if method in REAL_SCANS or part["subject"].nunique() < 2:
            continue
        sd = stay.get(tuple(place), nan)
        whose, _ = pd.factorize(part["subject"])
        found = _cost(part["value"].to_numpy(dtype=np.float64), whose, trial, sd, how)
        named = dict(zip(_KEYS, place, strict=True))
        rows.append({"method": method, **named, **asdict(found)})
    columns = ["method", *_KEYS, *(field.name for field in fields(SwitchCost))]
    return pd.DataFrame(rows, columns=columns)


def _stay(rescans: pd.DataFrame) -> Mapping[tuple[str, ...], float]:
    """SD of the difference of rescans, in percent, by direction, segmenter and tissue."""
    squares = rescans.assign(square=rescans["value"] ** 2)
    found = {}
    for key, part in squares.groupby(list(_KEYS), sort=True):
        by_subject = part.groupby("subject", sort=True)["square"].mean()
        if len(by_subject) > 1:
            found[tuple(str(value) for value in key)] = sqrt(float(by_subject.mean()))
    return found
