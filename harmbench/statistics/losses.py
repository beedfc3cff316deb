"""From the results table to losses: errors for which smaller is better, one per subject and method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.metrics.base import Metric
from harmbench.statistics.differences import Losses

__all__ = ["errors_of", "loss_sign", "make_losses"]

Array = NDArray[np.float64]


def loss_sign(metric: Metric) -> int:
    """The factor that makes a loss of a value, or of its magnitude for a signed measure."""
    return -1 if metric.better == "higher" else 1


def errors_of(values: Array, metric: Metric) -> Array:
    """Return how far values are from the best value of a metric; NaN where it has none.

    An error has the unit of the metric: 1 minus the Dice coefficient, for example.
    """
    if metric.better == "lower":
        return values - max(metric.lower, 0.0)
    if metric.better == "higher" and math.isfinite(metric.upper):
        return metric.upper - values
    return np.abs(values) if metric.better == "zero" else np.full_like(values, np.nan)


def make_losses(
    frame: pd.DataFrame,
    measures: Sequence[tuple[Metric, str]],
    methods: Sequence[str],
    original: str,
    equivalence: float,
) -> tuple[Losses, tuple[str, ...]]:
    """Average over seeds and visits, and arrange losses in an array.

    Args:
        frame: rows of one direction and segmenter of a results table.
        measures: declaration and tissue; the primary endpoint first.
        methods: in the order wanted.
        original: the method whose errors the region of equivalence is a share of.
        equivalence: that share.

    Returns:
        The losses, and the subjects in their order. Where methods were run on different folds, all
        subjects are in one: folds then tell nothing, and nothing can be judged.
    """
    subjects = sorted(set(frame["subject"]))
    shape = (len(measures), len(subjects), len(methods))
    values, region = np.full(shape, np.nan), np.full(shape[:2], np.nan)
    for number, (metric, tissue) in enumerate(measures):
        rows = frame[(frame["metric"] == metric.name) & (frame["tissue"] == tissue)]
        if rows.empty:
            continue
        if metric.better == "zero":
            rows = rows.assign(value=rows["value"].abs())
        # Seeds first, so that each visit of a subject counts once.
        visits = rows.groupby(["subject", "method", "visit"], as_index=False)["value"].mean()
        each = visits.groupby(["subject", "method"], as_index=False)["value"].mean()
        wide = each.pivot_table(index="subject", columns="method", values="value")
        wide = wide.reindex(index=subjects, columns=list(methods))
        found = wide.to_numpy(dtype=np.float64)
        values[number] = found * loss_sign(metric)
        if original in methods:
            base = found[:, list(methods).index(original)]
            region[number] = equivalence * errors_of(base, metric)
    return Losses(values, _folds(frame, subjects), region), tuple(subjects)


def _folds(frame: pd.DataFrame, subjects: Sequence[str]) -> NDArray[np.int_]:
    pairs = frame[["subject", "fold"]].drop_duplicates().set_index("subject")["fold"]
    if pairs.index.has_duplicates:
        return np.zeros(len(subjects), dtype=int)
    return pairs.reindex(list(subjects)).to_numpy(dtype=int)
