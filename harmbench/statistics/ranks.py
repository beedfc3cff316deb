"""Ranks of methods, by the better direction that each metric declares."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harmbench.metrics.base import Metric
from harmbench.results import REAL_SCANS
from harmbench.statistics.measures import PLACE

__all__ = ["rank_methods"]


def rank_methods(summary: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.Series:
    """Rank the methods on each measure by `fold_mean`, 1 is best, ties share the better rank.

    Only rows with `complete` are ranked, never the ceiling, and no metric whose declaration has no
    better direction.

    Args:
        summary: columns of `MEASURE`, group, `fold_mean` and `complete`.
        metrics: declarations by name; an undeclared metric is not ranked.

    Returns:
        Ranks on the index of `summary`, NaN where there is none.
    """
    better = summary["metric"].map(lambda name: metrics[name].better if name in metrics else "none")
    score = summary["fold_mean"].copy()
    score = score.where(better != "higher", -score)
    score = score.where(better != "zero", score.abs())
    ranked = summary["complete"] & ~summary["method"].isin(REAL_SCANS) & (better != "none")
    places = [summary[column] for column in ("group", *PLACE)]
    ranks: pd.Series = score.where(ranked).groupby(places).rank("min")
    return ranks
