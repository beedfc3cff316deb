"""How far a method is from a rescan: its errors over those of a second scan on the target scanner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from harmbench.metrics.base import Metric
from harmbench.metrics.declarations import GRADIENT_CORRELATION
from harmbench.results import REAL_SCANS, RESCAN
from harmbench.statistics.measures import MEASURE, PLACE
from harmbench.study.subject_bootstrap import DEFAULT, Resampling, bounds, subject_draws

__all__ = ["FloorRatio", "error_of", "floor_ratio", "floor_ratios"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FloorRatio:
    """RMS error of a method over the RMS error of a rescan; 1: as good as a rescan.

    Attributes:
        subjects: number of subjects with both errors.
        method_rms, rescan_rms: root mean square errors, in the metric's unit.
        ratio: the first over the second; NaN where rescans have no error.
        low, high: interval over subjects.
    """

    subjects: int
    method_rms: float
    rescan_rms: float
    ratio: float
    low: float
    high: float


def error_of(metric: Metric, values: ArrayLike) -> Floats | None:
    """Return how far scores are from the best possible one, in the metric's unit.

    Returns:
        Same shape as `values`, 0 or above; `None` where a metric has no best value that a distance can
        be taken to: a description, or a logarithm (dB).
    """
    found = np.asarray(values, dtype=np.float64)
    if metric.better == "none" or metric.unit == "dB":
        return None
    if metric.better == "zero":
        return np.abs(found)
    best = metric.lower if metric.better == "lower" else metric.upper
    return np.abs(found - best) if math.isfinite(best) else None


def floor_ratio(
    method_errors: ArrayLike, rescan_errors: ArrayLike, how: Resampling = DEFAULT
) -> FloorRatio:
    """Compare the errors of a method with those of rescans of the same subjects.

    Args:
        method_errors, rescan_errors: one RMS error for each subject, shape (subjects,); NaN where a
            subject has none.
        how: how the interval is computed.

    Raises:
        ValueError: the shapes differ.
    """
    method, rescan = (np.asarray(e, dtype=np.float64) for e in (method_errors, rescan_errors))
    if method.ndim != 1 or method.shape != rescan.shape:
        raise ValueError(f"expected one error a subject, got {method.shape} and {rescan.shape}")
    both = np.isfinite(method) & np.isfinite(rescan)
    count = int(both.sum())
    if not count:
        return FloorRatio(0, *([math.nan] * 5))
    squares = np.stack([method[both] ** 2, rescan[both] ** 2], axis=1)
    one, floor = np.sqrt(squares.mean(axis=0))
    low = high = math.nan
    if count > 1 and floor > 0:
        sums = subject_draws(count, how) @ squares
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = bounds(np.sqrt(sums[:, 0] / sums[:, 1]), how)
    ratio = float(one / floor) if floor > 0 else math.nan
    return FloorRatio(count, float(one), float(floor), ratio, low, high)


def floor_ratios(
    results: pd.DataFrame, metrics: Mapping[str, Metric], how: Resampling = DEFAULT
) -> pd.DataFrame:
    """Compare every method with the rescans of a results table, on every metric with a best value.

    Args:
        results: results table; rows of the method `RESCAN` are the rescans' scores.
        metrics: declarations by name.
        how: how the intervals are computed.

    Returns:
        One row for each measure (the columns of `statistics.MEASURE`), with subjects, method_rms,
        rescan_rms, ratio, low and high. Empty where there are no rescans.
    """
    rows = []
    rescanned = bool((results["method"] == RESCAN).any())
    errors = _errors(results if rescanned else results.iloc[:0], metrics)
    for place, own in errors.groupby(PLACE, sort=False):
        wide = own.pivot_table(index="subject", columns="method", values="error", sort=False)
        if RESCAN not in wide.columns:
            continue
        for method in wide.columns:
            if method in REAL_SCANS:
                continue
            found = floor_ratio(wide[method].to_numpy(), wide[RESCAN].to_numpy(), how)
            named = dict(zip(PLACE, place, strict=True))
            rows.append(
                {
                    "method": method,
                    **named,
                    "subjects": found.subjects,
                    "method_rms": found.method_rms,
                    "rescan_rms": found.rescan_rms,
                    "ratio": found.ratio,
                    "low": found.low,
                    "high": found.high,
                }
            )
    columns = [*MEASURE, "subjects", "method_rms", "rescan_rms", "ratio", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _errors(results: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """RMS error of each measure and subject, over seeds and visits."""
    parts = []
    for name, own in results.groupby("metric", sort=False):
        # A comparison with the source says nothing about a rescan of the target.
        metric = None if name == GRADIENT_CORRELATION.name else metrics.get(str(name))
        errors = None if metric is None else error_of(metric, own["value"].to_numpy())
        if errors is not None:
            parts.append(own[[*MEASURE, "subject"]].assign(square=errors**2))
    keys = [*MEASURE, "subject"]
    if not parts:
        return pd.DataFrame(columns=[*keys, "error"])
    means = pd.concat(parts).groupby(keys, sort=True)["square"].mean()
    found: pd.DataFrame = (means**0.5).rename("error").reset_index()
    return found
