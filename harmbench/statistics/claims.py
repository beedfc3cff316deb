"""What may be claimed of methods: better, worse or equivalent, corrected for the number of tests.

Two kinds of claims are made for each direction: how each method stands against the original on each
measure, and which method leads on each measure. Of each kind, the probability of at least one false
claim is at most `LEVEL`, over all measures together.

A claim must hold on the subjects that both methods were measured on, and also where each failed
subject gets the worst value that any method has in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmbench.statistics.differences import Differences, Losses, compare, with_worst
from harmbench.statistics.intervals import CONFIDENCE, estimate

__all__ = [
    "LEVEL",
    "PRIMARY_SHARE",
    "Claims",
    "Leads",
    "adjust",
    "against",
    "best_of",
    "claims_of_pairs",
    "holm",
    "leads",
    "shown",
]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEVEL = 1 - CONFIDENCE
"""Highest probability of at least one false claim of a kind."""

PRIMARY_SHARE = 0.8
"""Part of `LEVEL` that is for the primary endpoint; the secondary measures share the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Differences with what may be claimed; all arrays have shape (measures, pairs).

    Attributes:
        found: the differences on common subjects.
        p_adjusted: two-sided p-value, corrected, of the weaker of both analyses.
        better, worse, equivalent: what is claimed of the first; an equivalent pair may also be
            better or worse: surely, and by little.
        failures_decide: a claim would stand on common subjects alone.
    """

    found: Differences
    p_adjusted: Array
    better: Flags
    worse: Flags
    equivalent: Flags
    failures_decide: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Leads:
    """Which method leads on each measure; arrays of shape (measures,).

    Attributes:
        best: index of the method with the smallest mean loss, failed subjects counted as worst; -1
            where fewer than two methods were measured.
        p_adjusted: corrected p-value of the claim that it is better than every other.
    """

    best: NDArray[np.int_]
    p_adjusted: Array


def holm(p: Array) -> Array:
    """Correct p-values for their number (Holm, Scandinavian Journal of Statistics 1979, 6:65-70).

    A test compares it with `multipletests` of statsmodels, which collects garbage in each call: 0.2 s.

    Args:
        p: any shape; NaN stays, and is not counted.
    """
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p.flat[known], kind="stable")]
    raised = p.flat[order] * np.arange(len(order), 0, -1)
    corrected.flat[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return corrected


def adjust(p: Array) -> Array:
    """Correct p-values of shape (measures, tests) for all of them together.

    Holm's correction within the primary endpoint (row 0), at `PRIMARY_SHARE` of the level, and within
    all secondary measures, at the rest. Where all claims on the primary endpoint stand, their share
    passes on to the secondary measures (fallback procedure of Wiens & Dmitrienko, Journal of
    Biopharmaceutical Statistics 2005, 15:929-942).
    """
    if len(p) == 1:
        return holm(p)
    primary = np.minimum(1.0, holm(p[0]) / PRIMARY_SHARE)
    secondary = holm(p[1:])
    alone = np.minimum(1.0, secondary / (1 - PRIMARY_SHARE))
    if np.isfinite(primary).any():
        after = np.maximum(secondary, np.nanmax(primary))
        alone = np.minimum(alone, after)
    return np.vstack([primary[None], alone])


def shown(p: Array) -> Flags:
    """Whether corrected p-values show a claim; NaN shows none."""
    return np.where(np.isfinite(p), p, 1.0) <= LEVEL


def _twice(losses: Losses, pairs: list[tuple[int, int]]) -> tuple[Differences, Array, Array]:
    """Compare on common subjects, and with failed subjects as worst.

    Returns:
        The differences on common subjects, and two p-values of the weaker of both analyses: of a
        difference in one direction, and of equivalence.
    """
    one = compare(losses, pairs)
    if np.isfinite(losses.values).all():
        return one, one.p, one.p_equal
    other = compare(with_worst(losses), pairs)
    agree = np.sign(one.value) == np.sign(other.value)
    p = np.where(agree, np.maximum(one.p, other.p), np.where(np.isnan(one.p), np.nan, 1.0))
    return one, p, np.maximum(one.p_equal, other.p_equal)


def claims_of_pairs(losses: Losses, pairs: list[tuple[int, int]]) -> Claims:
    """Test pairs of methods on all measures, corrected for all of them together."""
    found, p, p_equal = _twice(losses, pairs)
    adjusted = adjust(p)
    different, alone = shown(adjusted), shown(adjust(found.p))
    equivalent = shown(adjust(p_equal))
    return Claims(
        found=found,
        p_adjusted=adjusted,
        better=different & (found.value < 0),
        worse=different & (found.value > 0),
        equivalent=equivalent,
        failures_decide=alone & ~different,
    )


def against(losses: Losses, methods: list[int], base: int) -> Claims:
    """Test methods against one: the original, for example. Arrays of shape (measures, methods)."""
    return claims_of_pairs(losses, [(method, base) for method in methods])


def leads(losses: Losses, ranked: list[int]) -> Leads:
    """Test on each measure whether the best method is better than every other.

    That it is better than each of them is shown where the least of these differences is
    (intersection-union test, Berger 1982), so no correction for the number of rivals is needed.
    """
    measures = len(losses.values)
    best, p = np.full(measures, -1), np.full((measures, 1), np.nan)
    filled = with_worst(losses)
    pairs = [(one, other) for one in ranked for other in ranked if one < other]
    found, p_of_pairs, _ = _twice(losses, pairs)
    for measure in range(measures):
        means = _means(filled, measure, ranked)
        measured = [m for m, mean in zip(ranked, means, strict=True) if np.isfinite(mean)]
        if len(measured) < 2:
            continue
        first = best[measure] = ranked[int(np.nanargmin(means))]
        against_each = [
            _p_better(first, pair, float(found.value[measure, n]), float(p_of_pairs[measure, n]))
            for n, pair in enumerate(pairs)
            if first in pair and set(pair) <= set(measured)
        ]
        p[measure] = max(against_each) if np.isfinite(against_each).all() else np.nan
    return Leads(best, adjust(p)[:, 0])


def _p_better(first: int, pair: tuple[int, int], difference: float, p: float) -> float:
    """The p-value of a difference in favour of `first`; 1 where it is against it."""
    in_favour = difference < 0 if pair[0] == first else difference > 0
    return p if in_favour or np.isnan(p) else 1.0


def best_of(losses: Losses, methods: list[int]) -> int:
    """Return the method with the smallest mean loss on the first measure; -1 where none has any."""
    means = _means(with_worst(losses), 0, methods)
    return methods[int(np.nanargmin(means))] if np.isfinite(means).any() else -1


def _means(losses: Losses, measure: int, methods: list[int]) -> Array:
    return estimate(losses.values[measure][:, methods], losses.folds).value
