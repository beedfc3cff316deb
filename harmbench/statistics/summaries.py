"""Summaries of measures: means over folds and subjects, counts of failures, and all of it in one table."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harmbench.metrics.base import Metric
from harmbench.results import BASELINE, FAILURES, REAL_SCANS, RESCAN
from harmbench.statistics.comparisons import paired_differences
from harmbench.statistics.intervals import intervals
from harmbench.statistics.measures import (
    ALL,
    MEASURE,
    by_subject,
    count_visits,
    expected_visits,
    subject_values,
    visit_values,
)
from harmbench.statistics.ranks import rank_methods

__all__ = ["count_measurements", "fold_statistics", "summarize"]

_SUMMARY = [
    *["group", *MEASURE, "unit", "rank", "complete"],
    *["fold_mean", "fold_variance", "fold_sd", "folds"],
    *["n", "mean", "sd", "low", "high"],
    *["n_pairs", "difference", "difference_low", "difference_high"],
    *["n_ok", "n_empty", "n_undefined", "n_failed", "n_absent"],
]


def fold_statistics(frame: pd.DataFrame, ddof: int = 1) -> pd.DataFrame:
    """Average within each fold, then over folds, as the paper's tables do.

    The paper does not say which divisor is behind its spread over four folds, and whether that is a
    variance or a standard deviation. With `ddof` 0 the variance is 3/4 of what it is with `ddof` 1.

    Args:
        frame: results table.
        ddof: the variance over F folds divides by F - `ddof`; 1, the default and what reports show, is
            the unbiased estimate.

    Returns:
        Indexed by measure: `fold_mean` (mean over folds of the mean over a fold's subjects),
        `fold_variance` and `fold_sd`, its square root, over the fold means (NaN for `ddof` folds or
        fewer), and `folds`, the number of folds with a value.
    """
    values = subject_values(frame)
    per_fold = values.groupby([*MEASURE, "fold"], sort=True)["value"].mean()
    over = per_fold.groupby(level=MEASURE, sort=True)
    statistics: pd.DataFrame = pd.DataFrame(
        {
            "fold_mean": over.mean(),
            "fold_variance": over.var(ddof=ddof),
            "fold_sd": over.std(ddof=ddof),
            "folds": over.count(),
        }
    )
    return statistics


def count_measurements(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the measurements (subjects x visits x seeds) of each measure by how they ended.

    Returns:
        Indexed by measure: `n_ok`; `n_empty` (the value is a penalty, and counts in the means);
        `n_undefined`; `n_failed` (failed cells and segmentations, and any other missing value);
        `n_absent`, visits of subjects without a row though another method has one in this direction, as
        after an interrupted run.
    """
    status = frame["status"]
    missing = frame["value"].isna()
    flags = pd.DataFrame(
        {
            "n_ok": (status == "ok") & ~missing,
            "n_empty": (status == "empty") & ~missing,
            "n_undefined": status == "undefined",
            "n_failed": status.isin(FAILURES) | (missing & (status != "undefined")),
        }
    ).astype(int)
    keyed = pd.concat([frame[MEASURE], flags], axis=1)
    counts: pd.DataFrame = keyed.groupby(MEASURE, sort=True).sum()
    present = count_visits(frame, MEASURE)
    expected = expected_visits(frame, present.index)
    # Only some subjects have a rescan: that is no gap in a run.
    rescans = counts.index.get_level_values("method") == RESCAN
    counts["n_absent"] = (expected - present).where(~rescans, 0)
    return counts


def summarize(
    frame: pd.DataFrame,
    metrics: Mapping[str, Metric],
    *,
    ddof: int = 1,
    baseline: str = BASELINE,
) -> pd.DataFrame:
    """Compute everything that tables show: one row per group and measure.

    Groups are `ALL` and, where there are at least two, each group of subjects.

    Args:
        frame: results table with at least one row.
        metrics: declarations by name, for ranks.
        ddof: see `fold_statistics`.
        baseline: the method that paired differences are taken to.

    Returns:
        The columns group, those of `MEASURE`, unit, rank, complete (the method was measured on
        every visit of every subject that any method was), those of `fold_statistics`, `intervals`,
        `paired_differences` and `count_measurements`.
    """
    magnitude = frozenset(name for name, metric in metrics.items() if metric.better == "zero")
    groups = sorted(set(frame["group"]))
    parts = []
    for group in [ALL, *(groups if len(groups) > 1 else [])]:
        part = frame if group == ALL else frame[frame["group"] == group]
        units = part.groupby(MEASURE, sort=True)["unit"].first()
        whole = pd.concat([units, fold_statistics(part, ddof), count_measurements(part)], axis=1)
        values = subject_values(part)
        whole = whole.join(intervals(by_subject(values)))
        whole = whole.join(paired_differences(part, baseline, magnitude))
        whole["n"] = whole["n"].fillna(0).astype(int)
        visits = visit_values(part)
        measured = visits[visits["value"].notna()]
        union = expected_visits(measured[~measured["method"].isin(REAL_SCANS)], whole.index)
        own = count_visits(measured, MEASURE).reindex(whole.index).fillna(0)
        whole["complete"] = (own > 0) & (own >= union)
        parts.append(whole.reset_index().assign(group=group))
    summary = pd.concat(parts, ignore_index=True)
    summary["rank"] = rank_methods(summary, metrics)
    ordered: pd.DataFrame = summary[_SUMMARY]
    return ordered
