"""Statistics of the tidy results table: fold summaries, bootstrap intervals over subjects, ranks.

All functions are pure: they take a results table (see `harmbench.results.COLUMNS`) and return a new
one. A *measure* is one (method, direction, segmenter, metric, tissue).

Missing values are never dropped silently. Means run over what was measured, and beside each mean
stands how many measurements failed; a method that was not measured on every subject that another
method was measured on gets no rank, since leaving out hard subjects would improve its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm
from typing_extensions import Unpack

from harmbench.metrics.base import Metric
from harmbench.results import BASELINE, CEILING, FAILURES

__all__ = [
    "ALL",
    "MEASURE",
    "BootstrapSettings",
    "bootstrap",
    "count_measurements",
    "fold_statistics",
    "paired_bootstrap",
    "rank_methods",
    "subject_values",
    "summarize",
]

MEASURE = ["method", "direction", "segmenter", "metric", "tissue"]
"""Columns that name a measure."""

ALL = "all"
"""Group label of all subjects together."""

IntervalKind = Literal["bca", "percentile"]


class BootstrapSettings(TypedDict, total=False):
    """Keyword arguments of `bootstrap`, for those who pass them on."""

    confidence: float
    resamples: int
    seed: int
    kind: IntervalKind


_PLACE = ["direction", "segmenter", "metric", "tissue"]
_SUMMARY = [
    *["group", *MEASURE, "unit", "rank", "complete"],
    *["fold_mean", "fold_variance", "fold_sd", "folds"],
    *["n", "mean", "sd", "low", "high"],
    *["n_pairs", "difference", "difference_low", "difference_high"],
    *["n_ok", "n_empty", "n_undefined", "n_failed", "n_absent"],
]


def subject_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Average over seeds: one row per measure and subject.

    Returns:
        The columns of `MEASURE`, then subject, group, fold and value. The value is NaN where no
        seed gave one.
    """
    keys = [*MEASURE, "subject", "group", "fold"]
    means: pd.DataFrame = frame.groupby(keys, sort=True)["value"].mean().reset_index()
    return means


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
    """Count the measurements (subjects x seeds) of each measure by how they ended.

    Returns:
        Indexed by measure: `n_ok`; `n_empty` (the value is a penalty, and counts in the means);
        `n_undefined`; `n_failed` (failed cells and segmentations, and any other missing value);
        `n_absent`, subjects without a row though another method has one in this direction, as
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
    present = frame.groupby(MEASURE, sort=True)["subject"].nunique()
    expected = _by_place(frame, present.index)
    counts["n_absent"] = expected - present
    return counts


def _by_place(frame: pd.DataFrame, index: pd.Index) -> pd.Series:
    """Give each measure the number of subjects that any method has where it stands."""
    found = frame.groupby(_PLACE, sort=True)["subject"].nunique()
    where = pd.MultiIndex.from_frame(index.to_frame(index=False)[_PLACE])
    numbers = found.reindex(where).fillna(0).to_numpy().astype(int)
    expected: pd.Series = pd.Series(numbers, index=index)
    return expected


def bootstrap(
    wide: pd.DataFrame,
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    kind: IntervalKind = "bca",
) -> pd.DataFrame:
    """Bootstrap the mean of each column over its rows (subjects).

    All columns with the same subjects share their resamples, so that differences between columns
    are paired; a column's interval doesn't depend on which other columns are there.

    Args:
        wide: shape (subjects, columns); NaN where a subject has no value.
        confidence: coverage of the interval, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: seed of the resampling.
        kind: `bca`, bias-corrected and accelerated (Efron 1987; Efron & Tibshirani 1993, Ch. 14),
            or `percentile`.

    Returns:
        Indexed by the columns of `wide`: `n`, `mean`, `sd` (ddof 1), `low` and `high`. The interval
        is NaN with fewer than two subjects, and a point where all values are equal.
    """
    values = wide.sort_index().to_numpy(dtype=np.float64)
    observed = np.isfinite(values)
    low = np.full(values.shape[1], np.nan)
    high = low.copy()
    patterns, which = np.unique(observed, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(which.ravel() == number)
        if pattern.sum() >= 2:
            sample = values[np.ix_(pattern, columns)]
            low[columns], high[columns] = _interval(sample, confidence, resamples, seed, kind)
    filled = pd.DataFrame(values, columns=wide.columns)
    intervals: pd.DataFrame = pd.DataFrame(
        {
            "n": observed.sum(axis=0),
            "mean": filled.mean().to_numpy(),
            "sd": filled.std(ddof=1).to_numpy(),
            "low": low,
            "high": high,
        },
        index=wide.columns,
    )
    return intervals


def _interval(
    sample: NDArray[np.float64], confidence: float, resamples: int, seed: int, kind: IntervalKind
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interval of the mean of each column of `sample`, shape (subjects, columns), no NaN."""
    n = len(sample)
    rng = np.random.default_rng(seed)
    # How often each subject is drawn: a resample's mean is then one matrix product for all columns.
    draws = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    centre = sample.mean(axis=0)
    deviation = sample - centre
    means = draws @ deviation / n  # (resamples, columns), around 0
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    levels = np.repeat(tails[:, None], sample.shape[1], axis=1)
    if kind == "bca":
        levels = _bca_levels(means, deviation, tails)
    bounds = [np.quantile(means[:, column], levels[:, column]) for column in range(sample.shape[1])]
    low, high = np.transpose(bounds)
    constant = np.ptp(sample, axis=0) == 0
    low[constant] = high[constant] = 0
    return centre + low, centre + high


def _bca_levels(
    means: NDArray[np.float64], deviation: NDArray[np.float64], tails: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantile levels of the BCa interval, shape (2, columns)."""
    squares = (deviation**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A resample that draws each subject once ties with the sample, but for rounding.
        tie = 1e-12 * np.sqrt(squares)
        below = ((means < -tie).mean(axis=0) + (means <= tie).mean(axis=0)) / 2
        bias = norm.ppf(below)
        # For the mean the jackknife is closed: leaving out i moves it by -deviation_i / (n - 1).
        acceleration = (deviation**3).sum(axis=0) / (6 * squares**1.5)
        shifted = bias + norm.ppf(tails)[:, None]
        levels = norm.cdf(bias + shifted / (1 - acceleration * shifted))
    plain = np.broadcast_to(tails[:, None], levels.shape)
    return cast(NDArray[np.float64], np.where(np.isfinite(levels), levels, plain))


def _wide(values: pd.DataFrame) -> pd.DataFrame:
    """Turn subject values into one row per subject and one column per measure with any value."""
    measured = values[values["value"].notna()]
    wide: pd.DataFrame = measured.pivot_table(
        index="subject", columns=MEASURE, values="value", aggfunc="mean"
    )
    return wide


def paired_bootstrap(
    frame: pd.DataFrame,
    baseline: str = BASELINE,
    magnitude: frozenset[str] = frozenset(),
    **settings: Unpack[BootstrapSettings],
) -> pd.DataFrame:
    """Bootstrap the mean difference of each method to `baseline` over the subjects that both have.

    Args:
        frame: results table.
        baseline: the method that is subtracted.
        magnitude: metrics of which absolute values are compared (those whose best value is 0).
        **settings: passed to `bootstrap`.

    Returns:
        Indexed by measure, all methods but `baseline`: `n_pairs`, `difference`, `difference_low`,
        `difference_high`. Empty where the table has no rows of `baseline`.
    """
    names = ["n_pairs", "difference", "difference_low", "difference_high"]
    values = subject_values(frame)
    values["value"] = values["value"].where(
        ~values["metric"].isin(sorted(magnitude)), values["value"].abs()
    )
    at = [*_PLACE, "subject"]
    base = values.loc[values["method"] == baseline, [*at, "value"]]
    others = values[values["method"] != baseline]
    both = others.merge(base, on=at, suffixes=("", "_base"))
    both["value"] = both["value"] - both["value_base"]
    both = both[both["value"].notna()]
    if both.empty:
        empty = pd.MultiIndex.from_arrays([[]] * len(MEASURE), names=MEASURE)
        none: pd.DataFrame = pd.DataFrame(columns=names, index=empty, dtype=float)
        return none
    found = bootstrap(_wide(both), **settings)
    taken = found[["n", "mean", "low", "high"]].to_numpy()
    paired: pd.DataFrame = pd.DataFrame(taken, columns=names, index=found.index)
    return paired


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
    ranked = summary["complete"] & (summary["method"] != CEILING) & (better != "none")
    places = [summary[column] for column in ("group", *_PLACE)]
    ranks: pd.Series = score.where(ranked).groupby(places).rank("min")
    return ranks


def summarize(
    frame: pd.DataFrame,
    metrics: Mapping[str, Metric],
    *,
    ddof: int = 1,
    baseline: str = BASELINE,
    **settings: Unpack[BootstrapSettings],
) -> pd.DataFrame:
    """Everything that tables show: one row per group and measure.

    Groups are `ALL` and, where there are at least two, each group of subjects.

    Args:
        frame: results table with at least one row.
        metrics: declarations by name, for ranks.
        ddof: see `fold_statistics`.
        baseline: the method that paired differences are taken to.
        **settings: passed to `bootstrap`.

    Returns:
        The columns group, those of `MEASURE`, unit, rank, complete (the method was measured on
        every subject that any method was), those of `fold_statistics`, `bootstrap`,
        `paired_bootstrap` and `count_measurements`.
    """
    magnitude = frozenset(name for name, metric in metrics.items() if metric.better == "zero")
    groups = sorted(set(frame["group"]))
    parts = []
    for group in [ALL, *(groups if len(groups) > 1 else [])]:
        part = frame if group == ALL else frame[frame["group"] == group]
        units = part.groupby(MEASURE, sort=True)["unit"].first()
        whole = pd.concat([units, fold_statistics(part, ddof), count_measurements(part)], axis=1)
        values = subject_values(part)
        whole = whole.join(bootstrap(_wide(values), **settings))
        whole = whole.join(paired_bootstrap(part, baseline, magnitude, **settings))
        whole["n"] = whole["n"].fillna(0).astype(int)
        measured = values[values["value"].notna() & (values["method"] != CEILING)]
        union = _by_place(measured, whole.index)
        whole["complete"] = (whole["n"] > 0) & (whole["n"] >= union)
        parts.append(whole.reset_index().assign(group=group))
    summary = pd.concat(parts, ignore_index=True)
    summary["rank"] = rank_methods(summary, metrics)
    ordered: pd.DataFrame = summary[_SUMMARY]
    return ordered
