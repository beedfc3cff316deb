"""What a statistic is of: the columns that name a measure, and its values per subject.

A *measure* is one (method, direction, segmenter, metric, tissue) of a results table (see
`harmbench.results.COLUMNS`).
"""

from __future__ import annotations

import pandas as pd

__all__ = [
    "ALL",
    "MEASURE",
    "PLACE",
    "by_subject",
    "expected_subjects",
    "subject_values",
]

MEASURE = ["method", "direction", "segmenter", "metric", "tissue"]
"""Columns that name a measure."""

PLACE = MEASURE[1:]
"""Columns of a measure without the method: methods are compared where these are equal."""

ALL = "all"
"""Group label of all subjects together."""


def subject_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: one row per measure and subject.

    Returns:
        The columns of `MEASURE`, then subject, group, fold and value. The value is NaN where no
        seed gave one.
    """
    keys = [*MEASURE, "subject", "group", "fold"]
    means: pd.DataFrame = frame.groupby(keys, sort=True)["value"].mean().reset_index()
    return means


def by_subject(values: pd.DataFrame) -> pd.DataFrame:
    """Turn subject values into one row per subject and one column per measure with any value.

    Args:
        values: see `subject_values`.

    Returns:
        Shape (subjects, measures); NaN where a subject has no value.
    """
    measured = values[values["value"].notna()]
    wide: pd.DataFrame = measured.pivot_table(
        index="subject", columns=MEASURE, values="value", aggfunc="mean"
    )
    return wide


def expected_subjects(frame: pd.DataFrame, index: pd.Index) -> pd.Series:
    """Count, for each measure, the subjects that any method has in the same `PLACE`.

    Args:
        frame: rows with the columns of `MEASURE` and subject.
        index: the measures to count for.

    Returns:
        Numbers of subjects on `index`.
    """
    found = frame.groupby(PLACE, sort=True)["subject"].nunique()
    where = pd.MultiIndex.from_frame(index.to_frame(index=False)[PLACE])
    numbers = found.reindex(where).fillna(0).to_numpy().astype(int)
    expected: pd.Series = pd.Series(numbers, index=index)
    return expected
