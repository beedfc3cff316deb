"""Compiled loops of the `hmrf` segmenter: the mixture, the random field and the bias field.

Arrays are single precision and C-ordered, shape (z, y, x) or (class, z, y, x), with one voxel of
zeros around the brain's box, so that no neighbour needs a bounds check. A row is a line along x;
`first` and `last`, shape (z, y), hold its outermost brain voxels (`first > last`: no brain).
`inside` is 1 in the brain and 0 elsewhere. Sums are gathered per plane in double precision and
added up in the order of the planes, so no result depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba import prange
from numpy.typing import NDArray

__all__ = ["bias_terms", "moments", "posteriors", "single_exp", "smooth", "sweeps"]

Single = NDArray[np.float32]
Double = NDArray[np.float64]
Index = NDArray[np.int32]
Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered, which is what lets loops be vectorized; NaN and infinity keep their meaning.
_BLOCK = 8  # planes that one sweep goes through at a time

_MATHS = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(**options: Any) -> Callable[[Function], Function]:
    """`numba.njit` with the machine code kept on disk, and the function's type kept."""
    made = numba.njit(cache=True, fastmath=_MATHS, error_model="numpy", nogil=True, **options)
    return cast(Callable[[Function], Function], made)


@_compiled(inline="always")
def single_exp(x: np.float32) -> np.float32:
    """Exponential in single precision, without a library call, so that loops of it vectorize.

    Relative error below 2e-7 for x in [-87, 87]; x beyond is taken as the bound. Range reduction by
    ln 2 in two parts (Cody & Waite 1980), then the Taylor polynomial on [-ln(2)/2, ln(2)/2].
    """
    x = min(max(x, np.float32(-87)), np.float32(87))
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


@_compiled()
def _exponentiate(e: Single) -> None:
    """Replace rows e[:-1] by exp(e - max over the rows); e[-1] is scratch."""
    classes, n = e.shape[0] - 1, e.shape[1]
    top = e[classes]
    top[:] = e[0]
    for k in range(1, classes):
        for i in range(n):
            top[i] = max(top[i], e[k, i])
    for k in range(classes):
        row = e[k]
        for i in range(n):
            row[i] = single_exp(row[i] - top[i])


@_compiled()
def _log_likelihood(row: Single, values: Single, mean: float, precision: float) -> None:
    """Add the log density of N(mean, 1/precision), without its constant, to `row`."""
    mu, half = np.float32(mean), np.float32(0.5 * precision)
    shift = np.float32(0.5 * np.log(precision))
    for i in range(row.size):
        gap = values[i] - mu
        row[i] += shift - gap * gap * half


@_compiled(parallel=True)
def posteriors(
    p: Single, values: Single, inside: Single, first: Index, last: Index, mu: Double, var: Double
) -> None:
    """Write the class posteriors of a Gaussian mixture with equal weights into `p`.

    Args:
        p: (class, z, y, x), overwritten in the brain, left alone elsewhere.
        values: (z, y, x), log intensities.
        inside, first, last: see the module.
        mu, var: (class,), means and variances.
    """
    classes, nz, ny, _ = p.shape
    for z in prange(1, nz - 1):
        for y in range(1, ny - 1):
            lo, hi = first[z, y], last[z, y] + 1
            if lo >= hi:
                continue
            e = np.zeros((classes + 1, hi - lo), np.float32)
            for k in range(classes):
                _log_likelihood(e[k], values[z, y, lo:hi], mu[k], 1 / var[k])
            _exponentiate(e)
            total, mask = e[classes], inside[z, y, lo:hi]
            total[:] = 0
            for k in range(classes):
                for i in range(hi - lo):
                    total[i] += e[k, i]
            for k in range(classes):
                row = p[k, z, y, lo:hi]
                for i in range(hi - lo):
                    row[i] = e[k, i] * mask[i] / total[i]


@_compiled()
def _add_own_plane(e: Single, south: Single, own: Single, north: Single, w: Single) -> None:
    """Add the neighbours in the row's own plane, but for the one before along x."""
    for i in range(e.size):
        e[i] += (
            w[0] * own[i + 2]
            + w[1] * (south[i + 1] + north[i + 1])
            + w[3] * (south[i] + south[i + 2] + north[i] + north[i + 2])
        )


@_compiled()
def _add_plane(e: Single, south: Single, own: Single, north: Single, w: Single) -> None:
    """Add the neighbours in the plane above or below."""
    for i in range(e.size):
        e[i] += (
            w[2] * own[i + 1]
            + w[4] * (own[i] + own[i + 2])
            + w[5] * (south[i + 1] + north[i + 1])
        )


@_compiled()
def _sweep_row(
    p: Single, values: Single, mask: Single, z: int, y: int, lo: int, w: Single, mu: Double, var: Double
) -> None:
    """Update one row in place; `values` and `mask` hold its part from `lo` on."""
    classes, n = p.shape[0], values.size
    hi = lo + n
    e = np.zeros((classes + 1, n), np.float32)
    for k in range(classes):
        row = e[k]
        plane = p[k, z]
        a, b = lo - 1, hi + 1
        _add_own_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        plane = p[k, z - 1]
        _add_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        plane = p[k, z + 1]
        _add_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        _log_likelihood(row, values, mu[k], 1 / var[k])
    _exponentiate(e)
    # Only the voxel just updated, one step back along x, is left to add: exp(a + b) = exp(a) exp(b).
    before = np.zeros(classes, np.float32)
    for i in range(n):
        total = np.float32(1) - mask[i]
        for k in range(classes):
            before[k] = e[k, i] * single_exp(w[0] * before[k])
            total += before[k]
        scale = mask[i] / total
        for k in range(classes):
            before[k] *= scale
            p[k, z, y, lo + i] = before[k]


@_compiled()
def _sweep_plane(
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    z: int,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    for y in range(1, p.shape[2] - 1):
        lo, hi = first[z, y], last[z, y] + 1
        if lo < hi:
            _sweep_row(p, values[z, y, lo:hi], inside[z, y, lo:hi], z, y, lo, w, mu, var)


@_compiled(parallel=True)
def sweeps(
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    w: Single,
    mu: Double,
    var: Double,
    count: int,
) -> None:
    """Sweep `count` times over the posteriors in raster order (x fastest, z slowest), in place.

    One update is p_k proportional to exp(sum_n w_n p_k(n)) N(value; mu_k, var_k), n over the 18
    neighbours that share a face or an edge (Zhang, Brady & Smith 2001, Sec. III).

    A plane needs the one below after this sweep and the one above after the sweep before. Sweep s
    goes through blocks of planes that lie s planes lower than those of the first sweep, s steps
    behind it: what is worked on in one step is independent, so the raster order's result comes out
    with any number of threads, and the sweeps share what they bring into the cache.

    Args:
        p: (class, z, y, x), changed; 0 outside the brain.
        values: (z, y, x), log intensities less the log bias field.
        inside, first, last: see the module.
        w: (6,), beta over the distance to neighbours along x, y, z, xy, xz, yz.
        mu, var: (class,), means and variances.
        count: number of sweeps.
    """
    nz = p.shape[1]
    blocks = (nz - 2 + count - 1) // _BLOCK + 1
    for step in range(blocks + count - 1):
        for sweep in prange(count):
            start = 1 + (step - sweep) * _BLOCK - sweep
            for z in range(max(1, start), min(nz - 1, start + _BLOCK)):
                _sweep_plane(p, values, inside, first, last, z, w, mu, var)


@_compiled(parallel=True)
def moments(p: Single, values: Single, first: Index, last: Index, centre: Double) -> Double:
    """Sum p_k, p_k (value - centre_k) and p_k (value - centre_k)^2 over each plane.

    Returns:
        (z, class, 3) sums.
    """
    classes, nz, ny, _ = p.shape
    sums = np.zeros((nz, classes, 3))
    for z in prange(1, nz - 1):
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
    return sums


@_compiled(parallel=True)
def bias_terms(p: Single, y: Single, mu: Double, var: Double, out: Single) -> None:
    """Write sum_k p_k (y - mu_k) / var_k into out[0] and sum_k p_k / var_k into out[1].

    Args:
        p: (class, z, y, x).
        y: (z, y, x), log intensities.
        mu, var: (class,).
        out: (2, z, y, x), overwritten.
    """
    classes, nz, ny, nx = p.shape
    for z in prange(nz):
        for row in range(ny):
            above, below = out[0, z, row], out[1, z, row]
            above[:] = 0
            below[:] = 0
            for k in range(classes):
                mean, precision = np.float32(mu[k]), np.float32(1 / var[k])
                values, weights = y[z, row], p[k, z, row]
                for x in range(nx):
                    weight = weights[x] * precision
                    above[x] += weight * (values[x] - mean)
                    below[x] += weight


@_compiled()
def _add_scaled(total: Single, one: Single, other: Single, weight: np.float32) -> None:
    for i in range(total.size):
        total[i] += weight * (one[i] + other[i])


@_compiled(parallel=True)
def smooth(field: Single, half: Single, axis: int, out: Single) -> None:
    """Convolve along one axis with a symmetric kernel; the field is 0 outside the array.

    Args:
        field: (n, z, y, x).
        half: (radius + 1,), the kernel from its centre outwards.
        axis: 1, 2 or 3.
        out: shape of `field`, overwritten.
    """
    n, nz, ny, nx = field.shape
    radius = half.size - 1
    for item in prange(n * nz):
        f, z = item // nz, item % nz
        empty = np.zeros(nx, np.float32)
        wide = np.zeros(nx + 2 * radius, np.float32)
        for y in range(ny):
            row = out[f, z, y]
            for x in range(nx):
                row[x] = half[0] * field[f, z, y, x]
            wide[radius : radius + nx] = field[f, z, y]
            for d in range(1, radius + 1):
                one, other = empty, empty
                if axis == 3:
                    one = wide[radius - d : radius - d + nx]
                    other = wide[radius + d : radius + d + nx]
                elif axis == 2:
                    one = field[f, z, y - d] if y >= d else empty
                    other = field[f, z, y + d] if y + d < ny else empty
                else:
                    one = field[f, z - d, y] if z >= d else empty
                    other = field[f, z + d, y] if z + d < nz else empty
                _add_scaled(row, one, other, half[d])
