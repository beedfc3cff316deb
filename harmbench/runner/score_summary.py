"""Scores of many volumes in few lines: each metric with its better direction, its mean and the source's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from harmbench.metrics.base import Better
from harmbench.metrics.suite import METRICS

__all__ = ["SOURCE_VALUE", "short_number", "summarize_scores"]

SOURCE_VALUE = "source_value"
"""Column with what the untreated source scores against the same reference."""

_BETTER: Mapping[Better, str] = MappingProxyType(
    {"lower": "lower", "higher": "higher", "zero": "near 0", "none": "-"}
)


def summarize_scores(scores: pd.DataFrame) -> list[dict[str, str]]:
    """Average scores over volumes.

    Args:
        scores: columns metric, tissue, value and unit; `SOURCE_VALUE`, where sources were given.

    Returns:
        One row for each metric and tissue, as text that fits a line of 80 characters: metric, better,
        unit, n (volumes with a value; `3/4` where others have none), mean, and, where sources were
        given, source: their own mean over the volumes that have both values.
    """
    found = []
    for (metric, tissue), rows in scores.groupby(["metric", "tissue"], sort=False):
        measured = rows["value"].notna()
        count = int(measured.sum())
        unit = str(rows["unit"].iloc[0])
        row = {
            "metric": f"{metric} {tissue}".strip(),
            "better": _BETTER[METRICS[str(metric)].better],
            "unit": "" if unit == "1" else unit,
            "n": str(count) if count == len(rows) else f"{count}/{len(rows)}",
            "mean": short_number(rows["value"].mean()),
        }
        if SOURCE_VALUE in scores.columns:
            row["source"] = short_number(rows.loc[measured, SOURCE_VALUE].mean())
        found.append(row)
    return found


def short_number(value: float) -> str:
    """Print a number in few letters; a dash where it is missing."""
    return "-" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
