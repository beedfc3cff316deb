"""Compiled sweeps of the `hmrf` segmenter's hidden Markov random field.

For the arrays see `kernels`. The field is swept in place and in raster order, so what a voxel sees
depends on the order; the sweeps are arranged such that they can share threads all the same.
"""

from __future__ import annotations

import numpy as np

from harmbench.segmentation.hmrf.kernels import (
    Double,
    Index,
    Single,
    compiled,
    exponentiate,
    single_exp,
    small_exp,
)
from harmbench.segmentation.hmrf.workers import Workers

__all__ = ["sweeps"]

_BLOCK = 8
"""Number of planes that one sweep goes through at a time."""
_LANES = 3
"""Rows, each of another sweep, that a thread updates together."""
_SMALL = 0.34
"""Greatest weight along x for which `small_exp` will do."""


@compiled()
def _own_and_below(
    e: Single,
    south: Single,
    own: Single,
    north: Single,
    south_below: Single,
    below: Single,
    north_below: Single,
    w: Single,
) -> None:
    """Write what the plane below and the row's own add, but for the voxel before along x."""
    for i in range(e.size):
        e[i] = (
            w[0] * own[i + 2]
            + w[1] * (south[i + 1] + north[i + 1])
            + w[3] * (south[i] + south[i + 2] + north[i] + north[i + 2])
        ) + (
            w[2] * below[i + 1]
            + w[4] * (below[i] + below[i + 2])
            + w[5] * (south_below[i + 1] + north_below[i + 1])
        )


@compiled()
def _above_and_value(
    e: Single,
    south: Single,
    above: Single,
    north: Single,
    w: Single,
    values: Single,
    mean: float,
    precision: float,
) -> None:
    """Add what the plane above adds, and the log density of N(mean, 1/precision)."""
    mu, half = np.float32(mean), np.float32(0.5 * precision)
    shift = np.float32(0.5 * np.log(precision))
    for i in range(e.size):
        gap = values[i] - mu
        e[i] += (
            w[2] * above[i + 1]
            + w[4] * (above[i] + above[i + 2])
            + w[5] * (south[i + 1] + north[i + 1])
        ) + (shift - gap * gap * half)


@compiled()
def _prepare(
    e: Single,
    p: Single,
    values: Single,
    z: int,
    y: int,
    lo: int,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    """Write the unscaled posteriors of a row, without the voxel before along x, into e[:-1, :n].

    `values`, shape (n,), holds the row's part from `lo` on; e has shape (class + 1, x).
    """
    n = values.size
    a, b = lo - 1, lo + n + 1
    for k in range(p.shape[0]):
        row, own, below, above = e[k, :n], p[k, z], p[k, z - 1], p[k, z + 1]
        _own_and_below(
            row,
            own[y - 1, a:b],
            own[y, a:b],
            own[y + 1, a:b],
            below[y - 1, a:b],
            below[y, a:b],
            below[y + 1, a:b],
            w,
        )
        _above_and_value(
            row,
            above[y - 1, a:b],
            above[y, a:b],
            above[y + 1, a:b],
            w,
            values,
            mu[k],
            1 / var[k],
        )
    exponentiate(e, n)


@compiled()
def _settle(e: Single, mask: Single, along: np.float32) -> None:
    """Add the voxel before along x, which is just updated, and scale; e has shape (class + 1, x).

    Only this is left to add: exp(a + b) = exp(a) exp(b).
    """
    classes = e.shape[0] - 1
    before = np.zeros(classes, np.float32)
    for i in range(mask.size):
        total = np.float32(1) - mask[i]
        for k in range(classes):
            before[k] = e[k, i] * single_exp(along * before[k])
            total += before[k]
        scale = mask[i] / total
        for k in range(classes):
            before[k] *= scale
            e[k, i] = before[k]


@compiled(inline="always")
def _next(
    e: Single,
    mask: Single,
    i: int,
    along: np.float32,
    one: np.float32,
    two: np.float32,
    three: np.float32,
) -> tuple[np.float32, np.float32, np.float32]:
    """Settle voxel `i` of a row of three classes; what is given and returned is `along` posteriors."""
    one = e[0, i] * small_exp(one)
    two = e[1, i] * small_exp(two)
    three = e[2, i] * small_exp(three)
    scale = mask[i] / ((one + two) + (three + (np.float32(1) - mask[i])))
    e[0, i], e[1, i], e[2, i] = one * scale, two * scale, three * scale
    return (along * one) * scale, (along * two) * scale, (along * three) * scale


@compiled(fastmath=False)
def _settle_three(e: Single, mask: Single, n: int, along: np.float32) -> None:
    """As `_settle`, for three rows of three classes at once, which do not wait for each other.

    Each voxel waits for the one before it, some 50 cycles; three rows fill this time. Sums keep their
    order: which of the three a row is depends on the number of threads, and its result must not.

    Args:
        e: (row, class + 1, x).
        mask: (row, x).
        n: length of the longest row; `mask` is 0 beyond a row's end.
        along: weight of the voxel before, at most `_SMALL`.
    """
    zero = np.float32(0)
    a0, a1, a2 = zero, zero, zero
    b0, b1, b2 = zero, zero, zero
    c0, c1, c2 = zero, zero, zero
    ea, eb, ec = e[0], e[1], e[2]
    ma, mb, mc = mask[0], mask[1], mask[2]
    for i in range(n):
        a0, a1, a2 = _next(ea, ma, i, along, a0, a1, a2)
        b0, b1, b2 = _next(eb, mb, i, along, b0, b1, b2)
        c0, c1, c2 = _next(ec, mc, i, along, c0, c1, c2)


@compiled()
def _sweep_lanes(
    start: int,
    stop: int,
    planes: Index,
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    """Update ranges of planes that do not need each other, row by row together.

    Args:
        start, stop: which of `planes`, at most `_LANES`.
        planes: (range, 2), first plane and the one after the last.
        p, values, inside, first, last, w, mu, var: as for `sweeps`.
    """
    classes, _, ny, nx = p.shape
    together = classes == 3 and w[0] <= _SMALL
    e = np.zeros((_LANES, classes + 1, nx), np.float32)
    mask = np.zeros((_LANES, nx), np.float32)
    sizes = np.zeros(_LANES, np.int64)
    for step in range(_BLOCK):
        for y in range(1, ny - 1):
            longest = 0
            for lane in range(stop - start):
                z = planes[start + lane, 0] + step
                there = z < planes[start + lane, 1]
                lo = first[z, y] if there else 1
                n = last[z, y] + 1 - lo if there else 0
                mask[lane, n : sizes[lane]] = 0
                sizes[lane] = n
                if n <= 0:
                    continue
                longest = max(longest, n)
                mask[lane, :n] = inside[z, y, lo : lo + n]
                _prepare(e[lane], p, values[z, y, lo : lo + n], z, y, lo, w, mu, var)
                if not together:
                    _settle(e[lane], mask[lane, :n], w[0])
            if together and longest > 0:
                _settle_three(e, mask, longest, w[0])
            for lane in range(stop - start):
                z, n = planes[start + lane, 0] + step, sizes[lane]
                for k in range(classes):
                    if n > 0:
                        p[k, z, y, first[z, y] : first[z, y] + n] = e[lane, k, :n]


def sweeps(
    workers: Workers,
    count: int,
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    """Sweep `count` times over the posteriors in raster order (x fastest, z slowest), in place.

    One update is p_k proportional to exp(sum_n w_n p_k(n)) N(value; mu_k, var_k), n over the 18
    neighbours that share a face or an edge (Zhang, Brady & Smith 2001).

    A plane needs the one below after this sweep and the one above after the sweep before. Sweep s
    goes through blocks of planes that lie s planes lower than those of the first sweep, s steps
    behind it: what is worked on in one step is independent, so the raster order's result comes out
    with any number of threads, and the sweeps share what they bring into the cache.

    Args:
        workers: threads.
        count: number of sweeps.
        p: (class, z, y, x), changed; 0 outside the brain.
        values: (z, y, x), log intensities less the log bias field.
        inside, first, last: see `kernels`.
        w: (6,), beta over the distance to neighbours along x, y, z, xy, xz, yz.
        mu, var: (class,), means and variances.
    """
    planes = p.shape[1] - 2
    blocks = -(-(planes + count - 1) // _BLOCK)
    for step in range(blocks + count - 1):
        starts = [1 + (step - sweep) * _BLOCK - sweep for sweep in range(count)]
        ranges = [(max(1, start), min(planes + 1, start + _BLOCK)) for start in starts]
        ranges = [(start, stop) for start, stop in ranges if start < stop]
        lanes = min(_LANES, -(-len(ranges) // workers.threads))
        groups = [(at, min(at + lanes, len(ranges))) for at in range(0, len(ranges), lanes)]
        found = np.array(ranges, dtype=np.int32)
        workers.run(_sweep_lanes, groups, (found, p, values, inside, first, last, w, mu, var))
