"""Paired differences of methods over the subjects that both were measured on."""

from __future__ import annotations

import pandas as pd

from harmbench.results import BASELINE
from harmbench.statistics.intervals import intervals
from harmbench.statistics.measures import MEASURE, PLACE, by_subject, subject_values

__all__ = ["paired_differences"]


def paired_differences(
    frame: pd.DataFrame,
    baseline: str = BASELINE,
    magnitude: frozenset[str] = frozenset(),
) -> pd.DataFrame:
    """Estimate the mean difference of each method to `baseline` over the subjects that both have.

    The interval is about subjects (see `intervals`); verdicts use one that knows folds.

    Args:
        frame: results table.
        baseline: the method that is subtracted.
        magnitude: metrics of which absolute values are compared (those whose best value is 0).

    Returns:
        Indexed by measure, all methods but `baseline`: `n_pairs`, `difference`, `difference_low`,
        `difference_high`. Empty where the table has no rows of `baseline`.
    """
    names = ["n_pairs", "difference", "difference_low", "difference_high"]
    values = subject_values(frame)
    values["value"] = values["value"].where(
        ~values["metric"].isin(sorted(magnitude)), values["value"].abs()
    )
    at = [*PLACE, "subject"]
    base = values.loc[values["method"] == baseline, [*at, "value"]]
    others = values[values["method"] != baseline]
    both = others.merge(base, on=at, suffixes=("", "_base"))
    both["value"] = both["value"] - both["value_base"]
    both = both[both["value"].notna()]
    if both.empty:
        empty = pd.MultiIndex.from_arrays([[]] * len(MEASURE), names=MEASURE)
        none: pd.DataFrame = pd.DataFrame(columns=names, index=empty, dtype=float)
        return none
    found = intervals(by_subject(both))
    taken = found[["n", "mean", "low", "high"]].to_numpy()
    paired: pd.DataFrame = pd.DataFrame(taken, columns=names, index=found.index)
    return paired
