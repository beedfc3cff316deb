"""Exact distances between voxel surfaces by searching outwards from each point.

Two segmentations of one brain mostly lie within a few voxels of each other, so the nearest point is
found after a few dozen steps; a distance transform would visit every voxel of the box instead.
Points without a near neighbour are searched in a k-d tree. Both searches are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["distances_mm", "find_nearest", "surface_points"]

Function = TypeVar("Function", bound=Callable[..., Any])

_REACH = 6.0
"""Radius of the search in voxels of mean size: a ball of about 900 voxels."""


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(function, cache=True, nogil=True))


def distances_mm(
    points: NDArray[np.int64],
    others: NDArray[np.int64],
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Distance from each of `points` to the nearest of `others`, in mm, shape (n,).

    Args:
        points, others: voxel indices inside `shape`, shape (n, 3) and (m, 3), m > 0.
        shape: of the volume that both lie in.
        spacing_mm: distance between voxel centres along each axis.
    """
    reach_mm = _REACH * math.prod(spacing_mm) ** (1 / 3)
    radius = [int(reach_mm / step) for step in spacing_mm]
    steps, squares = _ball(radius, spacing_mm, reach_mm)
    # With a margin as wide as the ball, no step needs a check of the bounds.
    padded = tuple(extent + 2 * margin for extent, margin in zip(shape, radius, strict=True))
    strides = np.array([padded[1] * padded[2], padded[2], 1], dtype=np.int64)
    grid = np.zeros(math.prod(padded), dtype=np.bool_)
    grid[(others + radius) @ strides] = True
    found = find_nearest((points + radius) @ strides, grid, steps @ strides, squares)
    far = np.flatnonzero(found < 0)
    if far.size:
        found[far], _ = cKDTree(others * np.asarray(spacing_mm)).query(points[far] * spacing_mm)
    return found


def _ball(
    radius: list[int], spacing_mm: tuple[float, float, float], reach_mm: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps to all voxels within reach, nearest first, and their squared lengths in mm2."""
    axes = [np.arange(-r, r + 1) for r in radius]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int64)
    squares = ((steps * np.asarray(spacing_mm)) ** 2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    order = order[squares[order] <= reach_mm**2]
    return steps[order], squares[order]


@_compiled
def find_nearest(
    places: NDArray[np.int64],
    grid: NDArray[np.bool_],
    steps: NDArray[np.int64],
    squares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the length of the first of `steps` from each place at which `grid` is set; -1 if none.

    Args:
        places: flat indices into `grid`, shape (n,).
        grid: flat, padded so that no step leaves it.
        steps: flat offsets, nearest first, shape (m,).
        squares: squared lengths of `steps`, shape (m,).
    """
    found = np.full(places.size, -1.0)
    for i in range(places.size):
        for j in range(steps.size):
            if grid[places[i] + steps[j]]:
                found[i] = math.sqrt(squares[j])
                break
    return found


@_compiled
def surface_points(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices, shape (n, 3), of the voxels of `mask` with a face neighbour outside it.

    Positions beyond the volume count as outside.
    """
    nx, ny, nz = mask.shape
    points = np.empty((np.count_nonzero(mask), 3), dtype=np.int64)
    count = 0
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                if not mask[x, y, z]:
                    continue
                inner = 0 < x < nx - 1 and 0 < y < ny - 1 and 0 < z < nz - 1
                if not (
                    inner
                    and mask[x - 1, y, z]
                    and mask[x + 1, y, z]
                    and mask[x, y - 1, z]
                    and mask[x, y + 1, z]
                    and mask[x, y, z - 1]
                    and mask[x, y, z + 1]
                ):
                    points[count, 0], points[count, 1], points[count, 2] = x, y, z
                    count += 1
    return points[:count].copy()
