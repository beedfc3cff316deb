"""How many people must be scanned twice: error against the number of training subjects.

The curve is a + b n^-c (a power law with a floor; Viering & Loog, IEEE TPAMI 2023). Extrapolation is
unreliable: no number beyond `FURTHEST` times the largest measured size is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from harmbench.study.subject_bootstrap import DEFAULT, Resampling, bounds, subject_draws

__all__ = [
    "FURTHEST",
    "PairsNeeded",
    "PowerLaw",
    "fit_power_law",
    "pairs_needed",
]

Floats = NDArray[np.float64]
FitStatus = Literal["ok", "too-few-sizes", "no-improvement", "undetermined"]

FURTHEST = 4.0
"""Largest number of subjects that is given, as a multiple of the largest measured size."""

_LEAST_SIZES = 4
_GRID = np.geomspace(0.05, 3.0, 150)
# Share of the spread over sizes that the curve must explain.
_EXPLAINED = 0.5
_NO_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """An error a + b n^-c after training on n subjects.

    Attributes:
        a, b, c: NaN where nothing was fitted.
        status: `ok`; `too-few-sizes` (fewer than four: as many parameters as points);
            `no-improvement` (the error does not fall with n, or the curve explains less than half of its
            spread over sizes); `undetermined` (a is 0, or c is 0.05 or 3, the ends of its range: the
            bend of the curve lies outside the measured sizes, so its floor is not known).
    """

    a: float
    b: float
    c: float
    status: FitStatus

    def error(self, sizes: ArrayLike) -> Floats:
        """Return the error after training on so many subjects, same shape as `sizes`."""
        return np.asarray(self.a + self.b * np.asarray(sizes, dtype=np.float64) ** -self.c)


@dataclass(frozen=True, slots=True)
class PairsNeeded:
    """The number of training subjects at which a method's error falls below another error.

    Attributes:
        pairs: smallest n; infinite where the curve does not fall below the other error within `FURTHEST`
            times the largest size; NaN where the curve is not usable.
        low, high: interval over test subjects; an upper bound may be infinite.
        at_once: whether the smallest measured size suffices; `pairs` is then an upper bound.
        beyond: whether the number lies beyond the largest measured size: an extrapolation.
        curve: the fitted curve.
    """

    pairs: float
    low: float
    high: float
    at_once: bool
    beyond: bool
    curve: PowerLaw


def fit_power_law(sizes: ArrayLike, errors: ArrayLike) -> PowerLaw:
    """Fit a + b n^-c with a and b not below 0 by least squares.

    For a given c the problem is linear in a and b (variable projection; Golub & Pereyra 1973). So only c
    is searched: on a grid, then between the neighbours of the best point of the grid.

    Args:
        sizes: numbers of training subjects, above 0, all different.
        errors: mean error at each size, same shape, finite.

    Raises:
        ValueError: shapes differ, or a value is out of range.
    """
    n, e = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if n.ndim != 1 or n.shape != e.shape:
        raise ValueError(f"shapes differ: sizes {n.shape}, errors {e.shape}")
    if (n <= 0).any() or len(set(n.tolist())) < n.size or not np.isfinite(e).all():
        raise ValueError("sizes must be above 0 and different, errors finite")
    if n.size < _LEAST_SIZES:
        return PowerLaw(math.nan, math.nan, math.nan, "too-few-sizes")
    curves = _fit(n, e[None])
    best = int(curves.place[0])
    around = _GRID[max(best - 1, 0)], _GRID[min(best + 1, _GRID.size - 1)]
    c = float(
        optimize.minimize_scalar(
            lambda value: float(_linear(n, e[None], value)[2][0]), bounds=around, method="bounded"
        ).x
    )
    a, b, _ = (float(values[0]) for values in _linear(n, e[None], c))
    status: FitStatus = "ok"
    if curves.flat[0]:
        status = "no-improvement"
    elif curves.at_border[0]:
        status = "undetermined"
    return PowerLaw(a, b, c, status)


@dataclass(frozen=True, slots=True, eq=False)
class _Curves:
    """Curves that were fitted to several rows of errors, arrays of shape (rows,).

    Attributes:
        a, b, c: parameters; c on `_GRID`.
        place: index of c in `_GRID`.
        flat: whether the error does not fall with n, or the curve explains too little of its spread.
    """

    a: Floats
    b: Floats
    c: Floats
    place: NDArray[np.intp]
    flat: NDArray[np.bool_]

    @property
    def at_border(self) -> NDArray[np.bool_]:
        """Whether c or a lies at an end of its range."""
        outermost = (self.place == 0) | (self.place == _GRID.size - 1)
        return np.asarray(outermost | (self.a <= _NO_FLOOR * self.b))


def _fit(n: Floats, errors: Floats) -> _Curves:
    """Fit each row of `errors`, shape (rows, sizes), on the grid of c."""
    solved = [_linear(n, errors, float(c)) for c in _GRID]
    rests = np.stack([rest for _, _, rest in solved])
    place = rests.argmin(axis=0)
    rows = np.arange(len(errors))
    a, b = (np.stack([one[part] for one in solved])[place, rows] for part in (0, 1))
    spread = ((errors - errors.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    unexplained = rests[place, rows] > (1 - _EXPLAINED) * spread
    return _Curves(a, b, _GRID[place], place, (b <= 0) | (spread == 0) | unexplained)


def _linear(n: Floats, errors: Floats, c: float) -> tuple[Floats, Floats, Floats]:
    """Least squares of a and b, not below 0, for one c and each row of `errors`.

    Returns:
        a, b and the sum of squared residuals, each of shape (rows,).
    """
    x = n**-c
    centred = x - x.mean()
    means = errors.mean(axis=1)
    b = (errors @ centred) / (centred @ centred)
    a = means - b * x.mean()
    b, a = np.where(a < 0, errors @ x / (x @ x), b), np.maximum(a, 0)
    a, b = np.where(b < 0, means, a), np.maximum(b, 0)
    rests = ((errors - a[:, None] - b[:, None] * x) ** 2).sum(axis=1)
    return a, b, rests


def pairs_needed(
    sizes: ArrayLike,
    errors: ArrayLike,
    thresholds: ArrayLike,
    factor: float = 1.0,
    how: Resampling = DEFAULT,
) -> PairsNeeded:
    """Return the number of training subjects at which a mean error falls below another one.

    The interval comes from resampling test subjects, each with its errors at all sizes and its error to
    beat.

    Args:
        sizes: numbers of training subjects, shape (sizes,).
        errors: errors of the test subjects at each size, shape (subjects, sizes), lower is better.
        thresholds: error to beat of each of these subjects, shape (subjects,): of the untreated scans,
            of a volume correction, or of a rescan.
        factor: the mean threshold is multiplied by this, such as 1.2 for rescans.
        how: how the interval is computed.

    Raises:
        ValueError: shapes do not fit, or a value is not finite.
    """
    n = np.asarray(sizes, dtype=np.float64)
    own, other = np.asarray(errors, dtype=np.float64), np.asarray(thresholds, dtype=np.float64)
    if own.ndim != 2 or own.shape[1:] != n.shape or other.shape != own.shape[:1]:
        raise ValueError(f"shapes differ: {n.shape}, {own.shape}, {other.shape}")
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise ValueError("errors must be finite")
    mean, limit = own.mean(axis=0), factor * other.mean()
    curve = fit_power_law(n, mean)
    if curve.status == "too-few-sizes":
        return PairsNeeded(math.nan, math.nan, math.nan, False, False, curve)
    a, b, c = (np.array([value]) for value in (curve.a, curve.b, curve.c))
    refined = replace(_fit(n, mean[None]), a=a, b=b, c=c)
    number = float(_crossings(refined, n, mean[None], np.array([limit]))[0])
    low = high = math.nan
    if len(own) > 1:
        weights = subject_draws(len(own), how) / len(own)
        means = weights @ own
        low, high = bounds(_crossings(_fit(n, means), n, means, factor * (weights @ other)), how)
    return PairsNeeded(
        pairs=number,
        low=low,
        high=high,
        at_once=number == float(n.min()),
        beyond=float(n.max()) < number < math.inf,
        curve=curve,
    )


def _crossings(curves: _Curves, n: Floats, means: Floats, limits: Floats) -> Floats:
    """Smallest n at which each curve is not above its limit, shape (rows,); see `PairsNeeded.pairs`."""
    smallest, largest = float(n.min()), float(n.max())
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        number = (curves.b / (limits - curves.a)) ** (1 / curves.c)
    number = np.where((curves.a >= limits) | (number > FURTHEST * largest), math.inf, number)
    # A curve whose floor is not known is not extrapolated.
    number = np.where(curves.at_border & (number > largest), math.nan, number)
    number = np.where(number < smallest, smallest, number)
    # More subjects do not help: either any number does, or none.
    flat = np.where(means.mean(axis=1) <= limits, smallest, math.inf)
    return np.where(curves.flat, flat, number)
