"""Errors against the number of training subjects: from results to curves and the pairs that are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.metrics.base import Metric
from harmbench.results import BASELINE, REAL_SCANS, RESCAN
from harmbench.statistics import intervals
from harmbench.statistics.measures import PLACE
from harmbench.study.learning_curve import PairsNeeded, PowerLaw, fit_power_law, pairs_needed
from harmbench.study.rescan import error_of
from harmbench.study.worth import CHOSEN, Choices, with_chosen

__all__ = ["OPPONENTS", "RESCAN_FACTOR", "SizeCurve", "size_curves", "sized_errors"]

Floats = NDArray[np.float64]

RESCAN_FACTOR = 1.2
"""A method reaches a rescan where its error is at most this factor times the rescan's."""

OPPONENTS: Mapping[str, float] = {BASELINE: 1.0, CHOSEN: 1.0, RESCAN: RESCAN_FACTOR}
"""What a curve is compared with: method to the factor that its mean error is multiplied by."""

_SUBJECT = ["method", *PLACE, "subject", "size"]


@dataclass(frozen=True, slots=True, eq=False)
class SizeCurve:
    """The errors of one method on one measure after training on different numbers of subjects.

    Attributes:
        method, direction, segmenter, metric, tissue: what was measured.
        sizes: numbers of training subjects, shape (sizes,), the smallest first.
        subjects: number of test subjects that have a value at every size.
        error: mean error over them, in the metric's unit, shape (sizes,).
        low, high: 95 % interval over subjects, shape (sizes,).
        limits: opponent to its mean error over the same subjects, times its factor; NaN where it was
            not measured.
        needed: opponent to the number of pairs, `None` where it was not measured.
        curve: the fit.
    """

    method: str
    direction: str
    segmenter: str
    metric: str
    tissue: str
    sizes: Floats
    subjects: int
    error: Floats
    low: Floats
    high: Floats
    limits: Mapping[str, float]
    needed: Mapping[str, PairsNeeded | None]
    curve: PowerLaw

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield one row for each size, for a CSV file."""
        for place, size in enumerate(self.sizes):
            yield {
                **{name: getattr(self, name) for name in ("method", *PLACE)},
                "train_subjects": float(size),
                "subjects": self.subjects,
                "error": float(self.error[place]),
                "low": float(self.low[place]),
                "high": float(self.high[place]),
            }


def sized_errors(table: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """Return errors by subject and number of training subjects.

    Folds may differ by a subject or two in the number of training subjects. Cells that learned from all of
    them get the mean of these numbers over folds as their size.

    Args:
        table: a results table with the column `train_subjects`.
        metrics: declarations by name; metrics without a best value are left out.

    Returns:
        method, direction, segmenter, metric, tissue, subject, size, error: the RMS over seeds and visits
        of the distance to the metric's best value, in the metric's unit.
    """
    largest = table.groupby(["direction", "fold"])["train_subjects"].transform("max")
    is_full = table["train_subjects"] == largest
    folds = table[is_full].groupby(["direction", "fold"])["train_subjects"].first()
    means = folds.groupby("direction").mean()
    size = table["train_subjects"].astype(float).where(~is_full, table["direction"].map(means))
    parts = []
    for name, own in table.assign(size=size).groupby("metric", sort=False):
        metric = metrics.get(str(name))
        errors = None if metric is None else error_of(metric, own["value"].to_numpy())
        if errors is not None:
            parts.append(own[_SUBJECT].assign(square=errors**2))
    if not parts:
        return pd.DataFrame(columns=[*_SUBJECT, "error"])
    squares = pd.concat(parts).groupby(_SUBJECT, sort=True)["square"].mean()
    found: pd.DataFrame = (squares**0.5).rename("error").reset_index()
    return found


def size_curves(
    table: pd.DataFrame,
    metrics: Mapping[str, Metric],
    choices: Choices | None = None,
) -> list[SizeCurve]:
    """Make a curve of every method and measure that has several training sizes.

    Args:
        table: a results table with the column `train_subjects`.
        metrics: declarations by name.
        choices: which volume correction training subjects choose (see `study.worth.choose`).
    """
    if choices:
        chosen = with_chosen(table.drop(columns="train_subjects"), choices)
        chosen = chosen[chosen["method"] == CHOSEN]
        # It learned from all training subjects: one row per subject, at the largest size.
        largest = table.groupby(["direction", "fold"])["train_subjects"].max()
        keys = pd.MultiIndex.from_frame(chosen[["direction", "fold"]])
        table = pd.concat([table, chosen.assign(train_subjects=largest.reindex(keys).to_numpy())])
    errors = sized_errors(table, metrics)
    curves = []
    for place, own in errors.groupby(PLACE, sort=False):
        against = {
            str(name): rows.groupby("subject")["error"].mean()
            for name, rows in own.groupby("method", sort=False)
            if name in OPPONENTS
        }
        for method, rows in own.groupby("method", sort=False):
            if method in {BASELINE, CHOSEN, *REAL_SCANS} or rows["size"].nunique() < 2:
                continue
            wide = rows.pivot_table(index="subject", columns="size", values="error").dropna()
            if len(wide):
                named = dict(zip(PLACE, map(str, place), strict=True))
                curves.append(_curve(str(method), named, wide, against))
    return curves


def _curve(
    method: str, place: Mapping[str, str], wide: pd.DataFrame, against: Mapping[str, pd.Series]
) -> SizeCurve:
    """Make a curve from errors, one row per subject and one column per size."""
    sizes = wide.columns.to_numpy(dtype=np.float64)
    found = intervals(wide)
    limits: dict[str, float] = {}
    needed: dict[str, PairsNeeded | None] = {}
    for name, factor in OPPONENTS.items():
        other = against.get(name)
        both = wide if other is None else wide[wide.index.isin(other.dropna().index)]
        if other is None or both.empty:
            limits[name], needed[name] = math.nan, None
            continue
        limit = other.reindex(both.index).to_numpy(dtype=np.float64)
        limits[name] = factor * float(limit.mean())
        needed[name] = pairs_needed(sizes, both.to_numpy(), limit, factor)
    return SizeCurve(
        method=method,
        **place,
        sizes=sizes,
        subjects=len(wide),
        error=wide.to_numpy().mean(axis=0),
        low=found["low"].to_numpy(),
        high=found["high"].to_numpy(),
        limits=limits,
        needed=needed,
        curve=fit_power_law(sizes, wide.to_numpy().mean(axis=0)),
    )
