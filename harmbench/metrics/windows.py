"""Compiled local similarity of two volumes: means, variances and covariance in Gaussian windows.

What scikit-image's `structural_similarity` computes, to the last bit where neither is compiled with
fused operations: sums are in double precision and in the same order, each pass along an axis is rounded
to the volumes' precision. Rows are summed as vectors, which is several times as fast.

Volumes are C-ordered, shape (x, y, z), float32 or float64 alike. Beyond the border they are continued by
reflection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array, Double

__all__ = ["RADIUS", "local_similarity"]

Function = TypeVar("Function", bound=Callable[..., Any])

RADIUS = 5
"""Voxels of a window on either side of its centre."""


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(function, cache=True, nogil=True))


@_compiled
def _add_rows(
    out: Array,
    w: Double,
    r0: Array,
    r1: Array,
    r2: Array,
    r3: Array,
    r4: Array,
    r5: Array,
    r6: Array,
    r7: Array,
    r8: Array,
    r9: Array,
    r10: Array,
) -> None:
    """Write the weighted sum of eleven rows into `out`, from the outermost pair inwards."""
    for i in range(out.size):
        total = np.float64(r5[i]) * w[5]
        total += (np.float64(r0[i]) + np.float64(r10[i])) * w[0]
        total += (np.float64(r1[i]) + np.float64(r9[i])) * w[1]
        total += (np.float64(r2[i]) + np.float64(r8[i])) * w[2]
        total += (np.float64(r3[i]) + np.float64(r7[i])) * w[3]
        total += (np.float64(r4[i]) + np.float64(r6[i])) * w[4]
        out[i] = total


@_compiled
def _mirrored(i: int, extent: int) -> int:
    """Return the voxel that stands for `i`, at most `extent` beyond either end."""
    if i < 0:
        return -1 - i
    return 2 * extent - 1 - i if i >= extent else i


@_compiled
def _filter_planes(image: Array, w: Double, start: int, out: Array) -> None:
    """Filter along x: plane i of `out` is that of the volume's plane `start` + i."""
    nx, ny, _ = image.shape
    at = np.zeros(2 * RADIUS + 1, np.int64)
    for x in range(out.shape[0]):
        for d in range(at.size):
            at[d] = _mirrored(start + x + d - RADIUS, nx)
        for y in range(ny):
            _add_rows(
                out[x, y],
                w,
                image[at[0], y],
                image[at[1], y],
                image[at[2], y],
                image[at[3], y],
                image[at[4], y],
                image[at[5], y],
                image[at[6], y],
                image[at[7], y],
                image[at[8], y],
                image[at[9], y],
                image[at[10], y],
            )


@_compiled
def _filter_in_planes(image: Array, w: Double) -> None:
    """Filter along y, then along z, in place."""
    nx, ny, nz = image.shape
    plane = np.empty((ny, nz), image.dtype)
    wide = np.empty(nz + 2 * RADIUS, image.dtype)
    at = np.zeros(2 * RADIUS + 1, np.int64)
    for x in range(nx):
        plane[:] = image[x]
        for y in range(ny):
            for d in range(at.size):
                at[d] = _mirrored(y + d - RADIUS, ny)
            row = wide[RADIUS : RADIUS + nz]
            _add_rows(
                row,
                w,
                plane[at[0]],
                plane[at[1]],
                plane[at[2]],
                plane[at[3]],
                plane[at[4]],
                plane[at[5]],
                plane[at[6]],
                plane[at[7]],
                plane[at[8]],
                plane[at[9]],
                plane[at[10]],
            )
            for d in range(1, RADIUS + 1):
                wide[RADIUS - d] = wide[RADIUS + _mirrored(-d, nz)]
                wide[RADIUS + nz - 1 + d] = wide[RADIUS + _mirrored(nz - 1 + d, nz)]
            _add_rows(
                image[x, y],
                w,
                wide[0:nz],
                wide[1 : 1 + nz],
                wide[2 : 2 + nz],
                wide[3 : 3 + nz],
                wide[4 : 4 + nz],
                wide[5 : 5 + nz],
                wide[6 : 6 + nz],
                wide[7 : 7 + nz],
                wide[8 : 8 + nz],
                wide[9 : 9 + nz],
                wide[10 : 10 + nz],
            )


@_compiled
def _product(one: Array, other: Array) -> Array:
    """Return the product of two volumes."""
    out = np.empty_like(one)
    nx, ny, nz = one.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                out[x, y, z] = one[x, y, z] * other[x, y, z]
    return out


@_compiled
def _combine(
    ux: Array, uy: Array, uxx: Array, uyy: Array, uxy: Array, c1: float, c2: float
) -> None:
    """Write the similarity into `ux`, in the precision of the volumes."""
    kind = ux.dtype.type
    two, one, other = kind(2), kind(c1), kind(c2)
    for x in range(ux.shape[0]):
        for y in range(ux.shape[1]):
            for z in range(ux.shape[2]):
                a, b = ux[x, y, z], uy[x, y, z]
                va = uxx[x, y, z] - a * a
                vb = uyy[x, y, z] - b * b
                vab = uxy[x, y, z] - a * b
                above = (two * a * b + one) * (two * vab + other)
                below = (a * a + b * b + one) * (va + vb + other)
                ux[x, y, z] = above / below


def local_similarity(
    one: Array, other: Array, weights: Double, c1: float, c2: float, start: int, stop: int
) -> NDArray[Any]:
    """Return the structural similarity of planes `start` to `stop` of two volumes, or parts of volumes.

    Args:
        one, other: shape (x, y, z), C-ordered, of one precision; no axis shorter than `RADIUS`.
        weights: of the window along each axis, shape (11,), symmetric.
        c1, c2: the constants that steady the two quotients.
        start, stop: the first plane along x, and the one after the last. In a part of a volume, `RADIUS`
            planes lie on either side of them, or all that there are.
    """
    filtered: list[NDArray[Any]] = []
    for image, factor in ((one, None), (other, None), (one, one), (other, other), (one, other)):
        found = np.empty((stop - start, *one.shape[1:]), dtype=one.dtype)
        averaged = image if factor is None else _product(image, factor)
        _filter_planes(averaged, weights, start, found)
        _filter_in_planes(found, weights)
        filtered.append(found)
    ux, uy, uxx, uyy, uxy = filtered
    _combine(ux, uy, uxx, uyy, uxy, c1, c2)
    return ux
