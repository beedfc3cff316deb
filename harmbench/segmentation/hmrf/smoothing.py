"""Compiled smoothing of the `hmrf` segmenter's bias field. For the arrays see `kernels`."""

from __future__ import annotations

import numpy as np

from harmbench.segmentation.hmrf.kernels import Single, compiled

__all__ = ["smooth"]


@compiled(inline="always")
def _neighbours(
    field: Single, wide: Single, empty: Single, z: int, y: int, axis: int, d: int
) -> tuple[Single, Single]:
    """Return the rows at a distance `d` on both sides of row y of plane z; `wide` has the row padded."""
    nz, ny, nx = field.shape
    radius = (wide.size - nx) // 2
    one: Single = empty
    other: Single = empty
    if axis == 3:
        one = wide[radius - d : radius - d + nx]
        other = wide[radius + d : radius + d + nx]
    elif axis == 2:
        one = field[z, y - d] if y >= d else empty
        other = field[z, y + d] if y + d < ny else empty
    else:
        one = field[z - d, y] if z >= d else empty
        other = field[z + d, y] if z + d < nz else empty
    return one, other


@compiled()
def _add_scaled(total: Single, one: Single, other: Single, weight: np.float32) -> None:
    for i in range(total.size):
        total[i] += weight * (one[i] + other[i])


@compiled()
def _add_two_scaled(
    total: Single,
    one: Single,
    other: Single,
    weight: np.float32,
    third: Single,
    fourth: Single,
    second_weight: np.float32,
) -> None:
    """As `_add_scaled` twice, with one way through `total`."""
    for i in range(total.size):
        near = total[i] + weight * (one[i] + other[i])
        total[i] = near + second_weight * (third[i] + fourth[i])


@compiled()
def _smooth_row(
    field: Single,
    half: Single,
    z: int,
    y: int,
    axis: int,
    wide: Single,
    empty: Single,
    row: Single,
) -> None:
    radius, nx = half.size - 1, row.size
    own = field[z, y]
    for x in range(nx):
        row[x] = half[0] * own[x]
    if axis == 3:
        wide[radius : radius + nx] = own
    for d in range(1, radius, 2):
        one, other = _neighbours(field, wide, empty, z, y, axis, d)
        third, fourth = _neighbours(field, wide, empty, z, y, axis, d + 1)
        _add_two_scaled(row, one, other, half[d], third, fourth, half[d + 1])
    if radius % 2:
        one, other = _neighbours(field, wide, empty, z, y, axis, radius)
        _add_scaled(row, one, other, half[radius])


@compiled()
def smooth(start: int, stop: int, field: Single, half: Single, axis: int, out: Single) -> None:
    """Convolve along one axis with a symmetric kernel; the field is 0 outside the array.

    Args:
        start, stop: range of planes of the result.
        field: (n, z, y, x).
        half: (radius + 1,), the kernel from its centre outwards.
        axis: 1, 2 or 3.
        out: shape of `field`, overwritten.
    """
    n, _, ny, nx = field.shape
    empty: Single = np.zeros(nx, np.float32)
    wide: Single = np.zeros(nx + 2 * (half.size - 1), np.float32)
    for f in range(n):
        # Along z, rows of one y come one after the other, so that their neighbours stay in the cache.
        if axis == 1:
            for y in range(ny):
                for z in range(start, stop):
                    _smooth_row(field[f], half, z, y, axis, wide, empty, out[f, z, y])
        else:
            for z in range(start, stop):
                for y in range(ny):
                    _smooth_row(field[f], half, z, y, axis, wide, empty, out[f, z, y])
