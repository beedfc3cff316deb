"""Compiled sweeps of the `hmrf` segmenter's hidden Markov random field.

For the arrays see `kernels`. The field is swept in place and in raster order, so a voxel sees the
new posteriors of the voxels before it and the old ones of the voxels after it. Two arrangements keep
this order and allow for vector instructions and threads:

- Within a plane, the voxels of one diagonal x + 2 y do not need each other. Planes are copied into
  buffers in which a diagonal is contiguous (`_load`), swept there, and copied back (`_unload`).
- A plane needs the one below after this sweep and the one above after the sweep before. The sweeps
  therefore follow each other at a distance of one block of planes (`Workers.pipeline`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from typing_extensions import Self

from harmbench.segmentation.hmrf.kernels import (
    Double,
    Index,
    Single,
    add_log_likelihood,
    compiled,
    exponentiate,
    normalize,
)
from harmbench.segmentation.hmrf.workers import Workers

__all__ = ["sweeps"]

_BLOCK = 4
"""Number of planes that one sweep goes through at a time."""
_AHEAD = 2
"""Number of blocks that the first sweep may be further ahead of the last than it must be."""
_LANES = 16
"""Diagonals are updated in multiples of this; a gap of as many voxels lies between two of them."""
_PITCH = 96
"""Least distance between diagonals in a buffer, which is enough for boxes of 160 voxels along x."""


class _Ring(NamedTuple):
    """Buffers of some planes, each stored by diagonals; plane z is at z modulo their number.

    Voxel (x, y) of a plane lies at x * pitch + y * (2 pitch + 1). This places the voxels of the diagonal
    u = x + 2 y at u * pitch + y, next to each other, and all others elsewhere.

    Attributes:
        p: (class, plane, voxel), posteriors, 0 outside the brain.
        values: (plane, voxel), log intensities less the log bias field.
        inside: (plane, voxel), 1 in the brain, 0 elsewhere.
        first, last: (plane, diagonal), least and greatest y of the brain; `first > last`: no brain.
    """

    p: Single
    values: Single
    inside: Single
    first: Index
    last: Index

    @classmethod
    def of(cls, classes: int, planes: int, ny: int, nx: int) -> Self:
        """Make empty buffers for planes of this size."""
        diagonals = nx + 2 * ny
        size = diagonals * _pitch(nx) + ny
        first, last = np.zeros((2, planes, diagonals), np.int32)
        p = np.zeros((classes, planes, size), np.float32)
        values, inside = np.zeros((2, planes, size), np.float32)
        return cls(p, values, inside, first, last)


def _pitch(nx: int) -> int:
    """Return the distance between diagonals for planes with `nx` voxels along x."""
    pitch = _PITCH
    while pitch < (nx + 1) // 2 + _LANES:
        pitch *= 2
    return pitch


@compiled()
def _load(
    start: int,
    stop: int,
    ring: _Ring,
    pitch: int,
    fresh: bool,
    p: Single,
    values: Single,
    inside: Single,
    first: Index,
    last: Index,
) -> None:
    """Copy planes into the ring; with `fresh`, all classes are equally probable whatever `p` says."""
    classes, _, ny, _ = p.shape
    equal = np.float32(1) / np.float32(classes)
    for z in range(start, stop):
        at = z % ring.inside.shape[0]
        ring.first[at] = ny
        ring.last[at] = -1
        lowest, highest, own = ring.first[at], ring.last[at], ring.values[at]
        mask, q = ring.inside[at], ring.p[:, at]
        for y in range(ny):
            for x in range(first[z, y], last[z, y] + 1):
                voxel = x * pitch + y * (2 * pitch + 1)
                own[voxel] = values[z, y, x]
                mask[voxel] = inside[z, y, x]
                lowest[x + 2 * y] = min(lowest[x + 2 * y], y)
                highest[x + 2 * y] = y
                if not fresh:
                    for k in range(classes):
                        q[k, voxel] = p[k, z, y, x]
        if fresh:
            for u in range(lowest.size):
                a, n = u * pitch + lowest[u], max(0, highest[u] + 1 - lowest[u])
                given = mask[a : a + n]
                for k in range(classes):
                    made = q[k, a : a + n]
                    for i in range(n):
                        made[i] = given[i] * equal


@compiled()
def _unload(
    start: int, stop: int, ring: _Ring, pitch: int, p: Single, first: Index, last: Index
) -> None:
    """Copy the posteriors of planes out of the ring, and clear their brain for the planes to come."""
    classes, _, ny, _ = p.shape
    for z in range(start, stop):
        at = z % ring.inside.shape[0]
        q = ring.p[:, at]
        for y in range(ny):
            for x in range(first[z, y], last[z, y] + 1):
                for k in range(classes):
                    p[k, z, y, x] = q[k, x * pitch + y * (2 * pitch + 1)]
        for u in range(ring.first.shape[1]):
            a, b = u * pitch + ring.first[at, u], u * pitch + ring.last[at, u] + 1
            if a < b:
                ring.inside[at, a:b] = 0
                q[:, a:b] = 0


@cache
def _sweep_with(pitch: int) -> Callable[..., None]:
    """Compile the sweep for one pitch: loops are vectorized because it is a constant in them.

    The function refers to numbers only, so that its machine code is found on disk again.
    """
    row = 2 * pitch + 1
    corner = pitch + row

    @compiled()
    def sweep(start: int, stop: int, ring: _Ring, w: Single, mu: Double, var: Double) -> None:
        classes, planes, _ = ring.p.shape
        e = np.zeros((classes + 1, pitch), np.float32)
        for z in range(start, stop):
            at, under, over = z % planes, (z - 1) % planes, (z + 1) % planes
            for u in range(ring.first.shape[1]):
                a = u * pitch + ring.first[at, u]
                n = (ring.last[at, u] - ring.first[at, u] + _LANES) // _LANES * _LANES
                if n <= 0:
                    continue
                for k in range(classes):
                    out = e[k, :n]
                    # Each begins at the first of the neighbours in its plane.
                    own = ring.p[k, at, a - corner : a + n + corner]
                    below = ring.p[k, under, a - row : a + n + row]
                    above = ring.p[k, over, a - row : a + n + row]
                    for i in range(n):
                        out[i] = (
                            w[0] * (own[i + row] + own[i + row + 2 * pitch])
                            + w[1] * (own[i + pitch] + own[i + pitch + 2 * row])
                            + w[3] * (own[i] + own[i + 2 * pitch])
                            + w[3] * (own[i + 2 * row] + own[i + 2 * corner])
                        ) + (
                            w[2] * (below[i + row] + above[i + row])
                            + w[4] * (below[i + row - pitch] + below[i + row + pitch])
                            + w[4] * (above[i + row - pitch] + above[i + row + pitch])
                            + w[5] * (below[i] + below[i + 2 * row] + above[i] + above[i + 2 * row])
                        )
                    add_log_likelihood(out, ring.values[at, a : a + n], mu[k], 1 / var[k])
                exponentiate(e, n)
                normalize(e, ring.inside[at, a : a + n])
                for k in range(classes):
                    out, own = ring.p[k, at, a : a + n], e[k, :n]
                    for i in range(n):
                        out[i] = own[i]

    return sweep


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
    *,
    fresh: bool = False,
) -> None:
    """Sweep `count` times over the posteriors in raster order (x fastest, z slowest), in place.

    One update is p_k proportional to exp(sum_n w_n p_k(n)) N(value; mu_k, var_k), n over the 18
    neighbours that share a face or an edge (Zhang, Brady & Smith 2001). The result does not depend
    on the number of threads.

    Args:
        workers: threads.
        count: number of sweeps.
        p: (class, z, y, x), changed; 0 outside the brain.
        values: (z, y, x), log intensities less the log bias field.
        inside, first, last: see `kernels`.
        w: (6,), beta over the distance to neighbours along x, y, z, xy, xz, yz.
        mu, var: (class,), means and variances.
        fresh: whether to begin with equal posteriors instead of those in `p`.
    """
    classes, nz, ny, nx = p.shape
    stages = count + 2
    ring = _Ring.of(classes, (stages + _AHEAD + 1) * _BLOCK + stages, ny, nx)
    pitch = _pitch(nx)
    sweep = _sweep_with(pitch)

    def work(stage: int, block: int) -> None:
        start = block * _BLOCK - stage
        stop = start + _BLOCK
        if stage == 0:
            brain = (values, inside, first, last)
            _load(start, min(stop, nz), ring, pitch, fresh, p, *brain)
        elif stage <= count:
            sweep(max(start, 1), min(stop, nz - 1), ring, w, mu, var)
        else:
            _unload(max(start, 0), min(stop, nz), ring, pitch, p, first, last)

    workers.pipeline(work, stages, -(-(nz + stages - 1) // _BLOCK), stages + _AHEAD)
