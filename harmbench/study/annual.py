"""Change per year between the visits of real subjects, where their dates are known.

The truth is not known there. What is known is the change between the same people's scans on the target
scanner: a method that keeps change has the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    A subject counts with its first and its last dated visit, if `LEAST_YEARS` or more lie between them. The
    comparison is over one period: it uses only visits with a volume and a date on both sides.

    Args:
        visits: the columns of `VISIT_COLUMNS`, one row for each visit; a date may be empty, and what
            belongs to the target scanner NaN.

    Returns:
        One row for each method, direction, segmenter and tissue: `subjects`; `years`, the mean time
        between visits; `percent_per_year` from `low` to `high` (95 %, over subjects), compounded; the
        same of the target scanner's scans of those who can be compared, and the mean paired
        `difference` to it, in percent per year.
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


def _change(visits: pd.DataFrame) -> tuple[float, float, float, float] | None:
    """Return what is known of one subject.

    Returns:
        Years and change per year by the method, over all of its visits; change per year by the method and
        on the target scanner over the visits that both have, NaN where there are too few. `None` without
        the first two.
    """
    own = _dated(visits["value"], visits["date"])
    target = _dated(visits["target_value"], visits["target_date"])
    change = _per_year([one for one in own if one is not None])
    if change is None:
        return None
    pairs = [(a, b) for a, b in zip(own, target, strict=True) if a is not None and b is not None]
    compared = _per_year([a for a, _ in pairs]), _per_year([b for _, b in pairs])
    if compared[0] is None or compared[1] is None:
        return (*change, np.nan, np.nan)
    return (*change, compared[0][1], compared[1][1])


def _dated(volumes: Iterable[float], dates: Iterable[str]) -> list[Dated | None]:
    """Return each visit's volume with its date; `None` where one of them is not known."""
    visits = [Dated(float(v), str(date)) for v, date in zip(volumes, dates, strict=True)]
    return [
        visit
        if visit.volume_mm3 > 0 and years_between(visit.date, visit.date) is not None
        else None
        for visit in visits
    ]


def _per_year(visits: Sequence[Dated]) -> tuple[float, float] | None:
    """Years from the first to the last visit, and change per year in percent; `None` if too close."""
    dated = sorted(visits, key=lambda one: datetime.fromisoformat(one.date).replace(tzinfo=None))
    if len(dated) < 2:
        return None
    first, last = dated[0], dated[-1]
    years = years_between(first.date, last.date)
    if years is None or years < LEAST_YEARS:
        return None
    change = annualized_percent_change([first.volume_mm3], [last.volume_mm3], [years])
    return years, float(change[0])


def _row(changes: NDArray[np.float64]) -> dict[str, float]:
    """Summarize changes of shape (subjects, 4), in the order of `_change`."""
    wide = pd.DataFrame(
        {"own": changes[:, 1], "target": changes[:, 3], "difference": changes[:, 2] - changes[:, 3]}
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
