"""Compiled loops of the `hmrf` segmenter: the Gaussian mixture.

Arrays are single precision and C-ordered, shape (z, y, x) or (class, z, y, x), with one voxel of
zeros around the brain's box, so that no neighbour needs a bounds check. A row is a line along x;
`first` and `last`, shape (z, y), hold its outermost brain voxels (`first > last`: no brain).
`inside` is 1 in the brain and 0 elsewhere.

Functions with the arguments `start` and `stop` work on those planes only and release the interpreter
lock, so that threads can share a volume. Sums are kept per plane in double precision and
added up in the order of the planes: no result depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Double, Single

__all__ = [
    "Double",
    "Index",
    "Single",
    "add_log_likelihood",
    "compiled",
    "exponentiate",
    "moments",
    "most_probable",
    "normalize",
    "posteriors",
    "single_exp",
]

Index = NDArray[np.int32]
Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered, so that loops can be vectorized; NaN and infinity keep their meaning.
_MATHS = {"reassoc", "contract", "nsz", "arcp"}


def compiled(**options: Any) -> Callable[[Function], Function]:
    """`numba.njit` with the machine code kept on disk, and the function's type kept.

    Rows are copied by loops in what it compiles: the error that an assignment of one array to a part of
    another could raise takes two seconds to compile.

    The code on disk is renewed when the function's own file changes, not when a file that it
    imports does: after an edit here, touch `sweeps.py`, `mixels.py` and `smoothing.py` too.
    """
    usual: dict[str, Any] = {
        "cache": True,
        "fastmath": _MATHS,
        "error_model": "numpy",
        "nogil": True,
    }
    made = numba.njit(**(usual | options))
    return cast(Callable[[Function], Function], made)


@compiled(inline="always")
def single_exp(x: np.float32) -> np.float32:
    """Exponential in single precision, without a library call, so that loops of it vectorize.

    Relative error below 3e-7 for x in [-60, 60]; x beyond is taken as the bound, so that products
    of results stay clear of denormal numbers, which are slow. Range reduction by
    ln 2 in two parts (Cody & Waite 1980), then the Taylor polynomial on [-ln(2)/2, ln(2)/2].
    """
    x = min(max(x, np.float32(-60)), np.float32(60))
    power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    t = x - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    series = np.float32(1 / 5040) * t + np.float32(1 / 720)
    series = series * t + np.float32(1 / 120)
    series = series * t + np.float32(1 / 24)
    series = series * t + np.float32(1 / 6)
    series = series * t + np.float32(0.5)
    series = (series * t + np.float32(1)) * t + np.float32(1)
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.float32(series * scale)


@compiled()
def exponentiate(e: Single, n: int) -> None:
    """Replace e[:-1, :n] by exp(e - max over the classes); e has shape (class + 1, x), e[-1] is scratch."""
    classes = e.shape[0] - 1
    top, row = e[classes, :n], e[0, :n]
    for i in range(n):
        top[i] = row[i]
    for k in range(1, classes):
        row = e[k, :n]
        for i in range(n):
            top[i] = max(top[i], row[i])
    for k in range(classes):
        row = e[k, :n]
        for i in range(n):
            row[i] = single_exp(row[i] - top[i])


@compiled()
def normalize(e: Single, mask: Single) -> None:
    """Scale e[:-1, :n] to add up to `mask`, shape (n,); e has shape (class + 1, x), e[-1] is scratch."""
    classes, n = e.shape[0] - 1, mask.size
    total = e[classes, :n]
    total[:] = 0
    for k in range(classes):
        row = e[k, :n]
        for i in range(n):
            total[i] += row[i]
    for i in range(n):
        total[i] = mask[i] / total[i]
    for k in range(classes):
        row = e[k, :n]
        for i in range(n):
            row[i] *= total[i]


@compiled()
def add_log_likelihood(row: Single, values: Single, mean: float, precision: float) -> None:
    """Add the log density of N(mean, 1/precision), without its constant, to `row`, shape (n,)."""
    mu, half = np.float32(mean), np.float32(0.5 * precision)
    shift = np.float32(0.5 * np.log(precision))
    for i in range(row.size):
        gap = values[i] - mu
        row[i] += shift - gap * gap * half


@compiled()
def posteriors(
    start: int,
    stop: int,
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    mu: Double,
    var: Double,
) -> None:
    """Write the class posteriors of a Gaussian mixture with equal weights into `p`.

    Args:
        start, stop: range of planes.
        p: (class, z, y, x), overwritten in the brain, left alone elsewhere.
        values: (z, y, x), log intensities.
        inside, first, last: see the module.
        mu, var: (class,), means and variances.
    """
    classes, _, ny, _ = p.shape
    for z in range(start, stop):
        for y in range(1, ny - 1):
            lo, hi = first[z, y], last[z, y] + 1
            if lo >= hi:
                continue
            e = np.zeros((classes + 1, hi - lo), np.float32)
            for k in range(classes):
                add_log_likelihood(e[k], values[z, y, lo:hi], mu[k], 1 / var[k])
            exponentiate(e, hi - lo)
            total, mask = e[classes], inside[z, y, lo:hi]
            total[:] = 0
            for k in range(classes):
                for i in range(hi - lo):
                    total[i] += e[k, i]
            for k in range(classes):
                row = p[k, z, y, lo:hi]
                for i in range(hi - lo):
                    row[i] = e[k, i] * mask[i] / total[i]


@compiled()
def moments(
    start: int,
    stop: int,
    p: Single,
    values: Single,
    first: Index,
    last: Index,
    centre: Double,
    sums: Double,
) -> None:
    """Write the sums over each plane of p_k, p_k (value - centre_k) and p_k (value - centre_k)^2.

    Args:
        start, stop: range of planes.
        p: (class, z, y, x).
        values: (z, y, x).
        first, last: see the module.
        centre: (class,).
        sums: (z, class, 3), overwritten.
    """
    classes, _, ny, _ = p.shape
    for z in range(start, stop):
        sums[z] = 0
        for y in range(1, ny - 1):
            lo, hi = first[z, y], last[z, y] + 1
            if lo >= hi:
                continue
            row = values[z, y, lo:hi]
            for k in range(classes):
                weights = p[k, z, y, lo:hi]
                zeroth = one = two = 0.0
                for i in range(hi - lo):
                    gap = np.float64(row[i]) - centre[k]
                    weight = np.float64(weights[i])
                    zeroth += weight
                    one += weight * gap
                    two += weight * gap * gap
                sums[z, k, 0] += zeroth
                sums[z, k, 1] += one
                sums[z, k, 2] += two


@compiled()
def most_probable(
    start: int, stop: int, p: Single, brain: NDArray[np.bool_], out: NDArray[np.uint8]
) -> None:
    """Write the number of the class of the highest posterior, from 1, into `out`; 0 outside the brain.

    Args:
        start, stop: range of planes.
        p: (class, z, y, x).
        brain, out: (z, y, x); `out` is overwritten.
    """
    classes, _, ny, nx = p.shape
    for z in range(start, stop):
        for y in range(ny):
            for x in range(nx):
                best = 0
                for k in range(1, classes):
                    if p[k, z, y, x] > p[best, z, y, x]:
                        best = k
                out[z, y, x] = best + 1 if brain[z, y, x] else 0
