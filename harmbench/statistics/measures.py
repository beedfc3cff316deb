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
    "count_visits",
    "expected_visits",
    "subject_values",
    "visit_values",
]

MEASURE = ["method", "direction", "segmenter", "metric", "tissue"]
"""Columns that name a measure."""

PLACE = MEASURE[1:]
"""Columns of a measure without the method: methods are compared where these are equal."""

ALL = "all"
"""Group label of all subjects together."""


_SUBJECT = [*MEASURE, "subject", "group", "fold"]


def visit_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: one row per measure, subject and visit.

    Returns:
        The columns of `MEASURE`, then subject, group, fold, visit and value. The value is NaN where
        no seed gave one.
    """
    means: pd.DataFrame = (
        frame.groupby([*_SUBJECT, "visit"], sort=True)["value"].mean().reset_index()
    )
    return means


def subject_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds, then over a subject's visits: one row per measure and subject.

    The subject is the unit of every statistic: one with many visits counts once.

    Returns:
        The columns of `MEASURE`, then subject, group, fold and value. The value is NaN where no
        seed gave one.
    """
    means: pd.DataFrame = (
        visit_values(frame).groupby(_SUBJECT, sort=True)["value"].mean().reset_index()
    )
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


def count_visits(frame: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Count different visits of subjects, for each value of some columns.

    Args:
        frame: rows with these columns, subject and visit.
        columns: such as `MEASURE`.
    """
    counts: pd.Series = (
        frame[[*columns, "subject", "visit"]].drop_duplicates().groupby(columns, sort=True).size()
    )
    return counts


def expected_visits(frame: pd.DataFrame, index: pd.Index) -> pd.Series:
    """Count, for each measure, the visits of subjects that any method has in the same `PLACE`.

    Args:
        frame: rows with the columns of `MEASURE`, subject and visit.
        index: the measures to count for.

    Returns:
        Numbers of visits on `index`; of subjects, where each has one.
    """
    found = count_visits(frame, PLACE)
    where = pd.MultiIndex.from_frame(index.to_frame(index=False)[PLACE])
    numbers = found.reindex(where).fillna(0).to_numpy().astype(int)
    expected: pd.Series = pd.Series(numbers, index=index)
    return expected
