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
    add_log_likelihood,
    compiled,
    exponentiate,
    single_exp,
)
from harmbench.segmentation.hmrf.workers import Workers

__all__ = ["sweeps"]

_BLOCK = 8
"""Number of planes that one sweep goes through at a time."""


@compiled()
def _add_own_plane(e: Single, south: Single, own: Single, north: Single, w: Single) -> None:
    """Add the neighbours in the row's own plane, but for the one before along x."""
    for i in range(e.size):
        e[i] += (
            w[0] * own[i + 2]
            + w[1] * (south[i + 1] + north[i + 1])
            + w[3] * (south[i] + south[i + 2] + north[i] + north[i + 2])
        )


@compiled()
def _add_plane(e: Single, south: Single, own: Single, north: Single, w: Single) -> None:
    """Add the neighbours in the plane above or below."""
    for i in range(e.size):
        e[i] += (
            w[2] * own[i + 1] + w[4] * (own[i] + own[i + 2]) + w[5] * (south[i + 1] + north[i + 1])
        )


@compiled()
def _sweep_row(
    p: Single,
    values: Single,
    mask: Single,
    z: int,
    y: int,
    lo: int,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    """Update one row in place; `values` and `mask` hold its part from `lo` on."""
    classes, n = p.shape[0], values.size
    e = np.zeros((classes + 1, n), np.float32)
    a, b = lo - 1, lo + n + 1
    for k in range(classes):
        row = e[k]
        plane = p[k, z]
        _add_own_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        plane = p[k, z - 1]
        _add_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        plane = p[k, z + 1]
        _add_plane(row, plane[y - 1, a:b], plane[y, a:b], plane[y + 1, a:b], w)
        add_log_likelihood(row, values, mu[k], 1 / var[k])
    exponentiate(e)
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


@compiled()
def _sweep_planes(
    start: int,
    stop: int,
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
    w: Single,
    mu: Double,
    var: Double,
) -> None:
    for z in range(start, stop):
        for y in range(1, p.shape[2] - 1):
            lo, hi = first[z, y], last[z, y] + 1
            if lo < hi:
                _sweep_row(p, values[z, y, lo:hi], inside[z, y, lo:hi], z, y, lo, w, mu, var)


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
        workers.run(
            _sweep_planes,
            [(start, stop) for start, stop in ranges if start < stop],
            (p, values, inside, first, last, w, mu, var),
        )
