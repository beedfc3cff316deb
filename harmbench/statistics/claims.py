"""What may be claimed of methods: better, worse or equivalent, corrected for the number of tests.

Two kinds of claims are made for each direction: how each method stands against the original on each
measure, and which method leads on each measure. Of each kind, the probability of at least one false
claim is at most `LEVEL`, over all measures together.

A claim must hold on the subjects that both methods were measured on, and also where each failed
subject gets the worst value that any method has in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harmbench.statistics.differences import Differences, Losses, compare, with_worst
from harmbench.statistics.intervals import CONFIDENCE, estimate

__all__ = [
    "LEVEL",
    "PRIMARY_SHARE",
    "Claims",
    "Leads",
    "Tests",
    "adjust",
    "find_leads",
    "holm",
    "make_claims",
    "mean_losses",
    "no_gains",
    "run_tests",
    "shown",
    "with_leads",
]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEVEL = 1 - CONFIDENCE
"""Highest probability of at least one false claim of a kind."""

PRIMARY_SHARE = 0.8
"""Part of `LEVEL` that is for the primary endpoint; the secondary measures share the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Tests:
    """Tests of pairs of methods, not corrected; all arrays have shape (measures, pairs).

    Attributes:
        pairs: indices of the first and the second method.
        found: the differences on common subjects.
        p: two-sided, of the weaker of both analyses: on common subjects, and with failed subjects as
            worst. 1 where these disagree on the sign.
        p_equal: of equivalence, of the weaker of both.
        p_no_gain: that the first is not better by the region or more, of the weaker of both.
    """

    pairs: tuple[tuple[int, int], ...]
    found: Differences
    p: Array
    p_equal: Array
    p_no_gain: Array


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


def run_tests(losses: Losses, pairs: Sequence[tuple[int, int]]) -> Tests:
    """Test pairs of methods on all measures."""
    one = compare(losses, pairs)
    if np.isfinite(losses.array).all():
        return Tests(tuple(pairs), one, one.p, one.p_equal, one.p_no_gain)
    other = compare(with_worst(losses), pairs)
    agree = np.sign(one.value) == np.sign(other.value)
    p = np.where(agree, np.maximum(one.p, other.p), np.where(np.isnan(one.p), np.nan, 1.0))
    equal = np.maximum(one.p_equal, other.p_equal)
    return Tests(tuple(pairs), one, p, equal, np.maximum(one.p_no_gain, other.p_no_gain))


def no_gains(tests: Tests, rivals: Sequence[int] | None = None) -> Array:
    """Test on each measure that no rival is better than what it is paired with by the region or more.

    It must be shown of each rival (intersection-union test; Berger, Technometrics 1982, 24:295-300), so
    no correction for their number is needed; over measures, Holm's.

    Args:
        tests: of pairs, each of a rival and the one thing that they are all compared with.
        rivals: which pairs count, by default all.

    Returns:
        Corrected p-values, shape (measures,); NaN where a rival cannot be judged.
    """
    p = tests.p_no_gain if rivals is None else tests.p_no_gain[:, list(rivals)]
    return holm(p.max(axis=1)) if p.shape[1] else np.full(len(p), np.nan)


def make_claims(tests: Tests) -> Claims:
    """Correct tests for all of them together, and say what they show."""
    found = tests.found
    adjusted = adjust(tests.p)
    different = shown(adjusted)
    return Claims(
        found=found,
        p_adjusted=adjusted,
        better=different & (found.value < 0),
        worse=different & (found.value > 0),
        equivalent=shown(adjust(tests.p_equal)),
        failures_decide=shown(adjust(found.p)) & ~different,
    )


def find_leads(means: Array, tests: Tests) -> Leads:
    """Test on each measure whether the best method is better than every other.

    That it is better than each of them is shown where the least sure of these differences is
    (intersection-union test; Berger, Technometrics 1982, 24:295-300), so no correction for the number
    of rivals is needed.

    Args:
        means: mean loss of each method, failed subjects counted as worst (see `mean_losses`), shape
            (measures, methods); NaN for methods that are not ranked.
        tests: of every pair of ranked methods.
    """
    count = np.isfinite(means).sum(axis=1)
    best = np.where(count > 1, np.where(np.isfinite(means), means, np.inf).argmin(axis=1), -1)
    p = np.full((len(means), 1), np.nan)
    pairs = np.array(tests.pairs, dtype=int).reshape(-1, 2)
    for measure in np.flatnonzero(best >= 0):
        first = best[measure]
        measured = np.isfinite(means[measure, pairs]).all(axis=1)
        rivals = np.flatnonzero(measured & (pairs == first).any(axis=1))
        sign = np.where(pairs[rivals, 0] == first, 1.0, -1.0)
        mine = tests.p[measure, rivals]
        in_favour = sign * tests.found.value[measure, rivals] < 0
        p[measure] = np.where(in_favour | np.isnan(mine), mine, 1.0).max()
    return Leads(best, adjust(p)[:, 0])


def with_leads(claims: Claims, pairs: Sequence[tuple[int, int]], leads: Leads) -> Claims:
    """Add what leads imply: the leader is better than each method that it was compared with.

    Args:
        claims: of pairs of methods.
        pairs: indices of the first and the second method of each.
        leads: on the same measures, of methods among which all of these are.
    """
    members = np.array(pairs, dtype=int).reshape(-1, 2)
    best, led = leads.best[:, None], shown(leads.p_adjusted)[:, None]
    first, second = led & (members[:, 0] == best), led & (members[:, 1] == best)
    implied = first | second
    smaller = np.fmin(claims.p_adjusted, leads.p_adjusted[:, None])
    return replace(
        claims,
        p_adjusted=np.where(implied, smaller, claims.p_adjusted),
        better=claims.better | first,
        worse=claims.worse | second,
        failures_decide=claims.failures_decide & ~implied,
    )


def mean_losses(losses: Losses, ranked: Sequence[int]) -> Array:
    """Average over folds and subjects, failed subjects counted as worst; shape (measures, methods)."""
    filled = with_worst(losses).array
    measures, subjects, methods = filled.shape
    flat = filled.transpose(1, 0, 2).reshape(subjects, measures * methods)
    means = estimate(flat, losses.folds).value.reshape(measures, methods)
    others = np.setdiff1d(np.arange(methods), np.array(ranked, dtype=int))
    means[:, others] = np.nan
    return means
