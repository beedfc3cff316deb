"""Measured against true change: how much of it a method keeps, adds and blurs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from harmbench.study.subject_bootstrap import DEFAULT, Resampling, bounds, subject_draws

__all__ = [
    "NO_SWITCH",
    "RATIO_CAP",
    "ChangeLine",
    "change_line",
    "change_lines",
    "sample_size_ratio",
]

Floats = NDArray[np.float64]

NO_SWITCH = "no-switch"
"""Name of the control that stays on the target scanner: nothing is harmonized."""

RATIO_CAP = 100.0
"""Largest ratio of sample sizes; larger ones are set to it."""

_LEAST_SLOPE = 1e-6
_KEYS = ("direction", "segmenter", "tissue")


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """The line of measured change on true change, both in percent of the first volume.

    Attributes:
        subjects, visits: numbers of subjects and of follow-up visits.
        slope: measured per true change: 1 keeps change, 0 erases it.
        offset: measured change in percent where the true change is 0.
        residual_sd: SD about the line in percent, of single visits.
        slope_low, slope_high, offset_low, offset_high, residual_sd_low, residual_sd_high: intervals
            over subjects.
    """

    subjects: int
    visits: int
    slope: float
    slope_low: float
    slope_high: float
    offset: float
    offset_low: float
    offset_high: float
    residual_sd: float
    residual_sd_low: float
    residual_sd_high: float

    @property
    def sees_change(self) -> bool:
        """Whether the interval of the slope lies above 0, by more than rounding."""
        return self.slope_low > _LEAST_SLOPE


def change_line(
    subjects: ArrayLike,
    true_percent: ArrayLike,
    measured_percent: ArrayLike,
    how: Resampling = DEFAULT,
) -> ChangeLine:
    """Fit the line of measured on true change by least squares.

    The truth has no error, so least squares is unbiased. The visits of one subject share the error of
    its first scan: intervals come from resampling whole subjects.

    Args:
        subjects: whose visit, shape (visits,).
        true_percent, measured_percent: change since the first visit, same shape, in percent.
        how: how the intervals are computed.

    Raises:
        ValueError: the shapes differ, a value is not finite, there are fewer than two subjects or three
            visits, or all true changes are equal.
    """
    who = np.asarray(subjects)
    true, measured = (np.asarray(v, dtype=np.float64) for v in (true_percent, measured_percent))
    if not who.shape == true.shape == measured.shape or true.ndim != 1:
        raise ValueError(f"shapes differ: {who.shape}, {true.shape}, {measured.shape}")
    if not (np.isfinite(true).all() and np.isfinite(measured).all()):
        raise ValueError("changes must be finite")
    names, whose = np.unique(who, return_inverse=True)
    if len(names) < 2 or true.size < 3 or np.ptp(true) == 0:
        raise ValueError("expected two subjects, three visits, and true changes that differ")
    terms = np.stack(
        [np.ones_like(true), true, measured, true**2, true * measured, measured**2], axis=1
    )
    sums = np.zeros((len(names), terms.shape[1]))
    np.add.at(sums, whose, terms)
    slope, offset, spread = (float(v[0]) for v in _line(sums.sum(axis=0, keepdims=True)))
    resampled = _line(subject_draws(len(names), how) @ sums)
    slopes, offsets, spreads = (bounds(values, how) for values in resampled)
    return ChangeLine(len(names), true.size, slope, *slopes, offset, *offsets, spread, *spreads)


def _line(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Slope, offset and residual SD from sums of 1, x, y, x^2, xy, y^2, shape (samples, 6)."""
    n, x, y, xx, xy, yy = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sxx, sxy, syy = xx - x**2 / n, xy - x * y / n, yy - y**2 / n
        slope = np.where(sxx > 1e-12 * np.maximum(xx, 1e-300), sxy / sxx, np.nan)
        rest = np.clip(syy - slope * sxy, 0, None)
        return slope, (y - slope * x) / n, np.sqrt(rest / np.maximum(n - 2, 1))


def sample_size_ratio(line: ChangeLine, stay: ChangeLine) -> float:
    """Return how many times more subjects a trial needs than on one scanner, up to `RATIO_CAP`.

    A slope below 1 shrinks a treatment's effect as much as it shrinks change, so the number of subjects is
    proportional to (residual SD / slope)^2.

    Returns:
        At least 0; NaN where the interval of either slope includes 0, or staying has no noise.
    """
    if not (line.sees_change and stay.sees_change) or stay.residual_sd == 0:
        return math.nan
    noise, other = line.residual_sd / line.slope, stay.residual_sd / stay.slope
    return min((noise / other) ** 2, RATIO_CAP)


def change_lines(rows: pd.DataFrame, how: Resampling = DEFAULT) -> pd.DataFrame:
    """Fit the line of every method, direction and tissue.

    Args:
        rows: columns method, direction, segmenter, tissue, subject, visit, true_percent and
            measured_percent (NaN where a visit could not be measured). The method `NO_SWITCH` stays on
            the target scanner.
        how: how the intervals are computed.

    Returns:
        Columns method, direction, segmenter, tissue, those of `ChangeLine`, ratio (of sample sizes,
        see `sample_size_ratio`) and missing (visits without a measurement). Where a line cannot be
        fitted, its columns are NaN.
    """
    lines: dict[tuple[str, ...], ChangeLine] = {}
    missing: dict[tuple[str, ...], int] = {}
    for key, part in rows.groupby(["method", *_KEYS], sort=True):
        named = tuple(str(value) for value in key)
        known = part[part["measured_percent"].notna()]
        missing[named] = len(part) - len(known)
        try:
            lines[named] = change_line(
                known["subject"], known["true_percent"], known["measured_percent"], how
            )
        except ValueError:
            continue
    found = [_named(key, lines, missing) for key in missing]
    columns = ["method", *_KEYS, *(field.name for field in fields(ChangeLine)), "ratio", "missing"]
    return pd.DataFrame(found, columns=columns)


def _named(
    key: tuple[str, ...],
    lines: Mapping[tuple[str, ...], ChangeLine],
    missing: Mapping[tuple[str, ...], int],
) -> dict[str, object]:
    line, stay = lines.get(key), lines.get((NO_SWITCH, *key[1:]))
    row: dict[str, object] = dict(zip(("method", *_KEYS), key, strict=True))
    row["missing"] = missing[key]
    row["ratio"] = sample_size_ratio(line, stay) if line and stay else math.nan
    return {**row, **(asdict(line) if line else {})}
