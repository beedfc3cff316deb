"""Change per year between the visits of real subjects, where their dates are known.

The truth is not known there. What is known is the change between the same people's scans on the target
scanner: a method that keeps change has the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.statistics.intervals import intervals
from harmbench.study.agreement import annualized_percent_change

__all__ = ["LEAST_YEARS", "VISIT_COLUMNS", "Dated", "annual_changes", "years_between"]

LEAST_YEARS: Final = 0.25
"""Visits closer than this have no change per year: their noise would be multiplied by more than four."""

_DAYS = 365.25
_PLACE = ["method", "direction", "segmenter", "tissue"]
_COLUMNS = [
    *_PLACE,
    *("subjects", "years", "percent_per_year", "low", "high"),
    *("target_subjects", "target_percent_per_year"),
    *("difference", "difference_low", "difference_high"),
]

VISIT_COLUMNS = (*_PLACE, "subject", "value", "date", "target_value", "target_date")
"""Columns of a table of visits: volumes in mm3 and dates of the scans that they were measured in."""


@dataclass(frozen=True, slots=True)
class Dated:
    """A volume in mm3, and the date of its scan in ISO 8601."""

    volume_mm3: float
    date: str


def years_between(first: str, last: str) -> float | None:
    """Years between two dates in ISO 8601, without time zones; `None` where one is no date."""
    try:
        one, two = (datetime.fromisoformat(date).replace(tzinfo=None) for date in (first, last))
    except ValueError:
        return None
    return (two - one).total_seconds() / (_DAYS * 24 * 3600)


def annual_changes(visits: pd.DataFrame) -> pd.DataFrame:
    """Average each method's change per year over subjects, and compare it with the target scanner's.

    A subject counts with its first and its last dated visit, if `LEAST_YEARS` or more lie between them.

    Args:
        visits: the columns of `VISIT_COLUMNS`, one row for each visit; a date may be empty, and what
            belongs to the target scanner NaN.

    Returns:
        One row for each method, direction, segmenter and tissue: `subjects`; `years`, the mean time
        between visits; `percent_per_year` from `low` to `high` (95 %, over subjects), compounded; the
        same of the target scanner's scans of those who have some, and the mean paired `difference` to
        it, in percent per year.
    """
    rows = []
    for place, own in visits.groupby(_PLACE, sort=True):
        changes = [_change(part) for _, part in own.groupby("subject", sort=True)]
        known = [change for change in changes if change is not None]
        if known:
            rows.append(
                dict(zip(_PLACE, place, strict=True)) | _row(np.array(known, dtype=np.float64))
            )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _change(visits: pd.DataFrame) -> tuple[float, float, float] | None:
    """Years, and change per year by the method and on the target scanner (NaN where not known)."""
    pairs = zip(visits["value"], visits["date"], strict=True)
    own = _per_year([Dated(float(value), str(date)) for value, date in pairs])
    if own is None:
        return None
    pairs = zip(visits["target_value"], visits["target_date"], strict=True)
    target = _per_year([Dated(float(value), str(date)) for value, date in pairs])
    return (*own, np.nan if target is None else target[1])


def _per_year(visits: Sequence[Dated]) -> tuple[float, float] | None:
    """Years from the first to the last dated visit, and change per year in percent."""
    dated = [
        visit
        for visit in visits
        if visit.volume_mm3 > 0 and years_between(visit.date, visit.date) is not None
    ]
    dated.sort(key=lambda visit: datetime.fromisoformat(visit.date).replace(tzinfo=None))
    if len(dated) < 2:
        return None
    first, last = dated[0], dated[-1]
    years = years_between(first.date, last.date)
    if years is None or years < LEAST_YEARS:
        return None
    change = annualized_percent_change([first.volume_mm3], [last.volume_mm3], [years])
    return years, float(change[0])


def _row(changes: NDArray[np.float64]) -> dict[str, float]:
    """Summarize changes of shape (subjects, 3): years, by the method, on the target scanner."""
    wide = pd.DataFrame(
        {"own": changes[:, 1], "target": changes[:, 2], "difference": changes[:, 1] - changes[:, 2]}
    )
    found = intervals(wide)
    return {
        "subjects": int(found["n"]["own"]),
        "years": float(changes[:, 0].mean()),
        "percent_per_year": float(found["mean"]["own"]),
        "low": float(found["low"]["own"]),
        "high": float(found["high"]["own"]),
        "target_subjects": int(found["n"]["target"]),
        "target_percent_per_year": float(found["mean"]["target"]),
        "difference": float(found["mean"]["difference"]),
        "difference_low": float(found["low"]["difference"]),
        "difference_high": float(found["high"]["difference"]),
    }
