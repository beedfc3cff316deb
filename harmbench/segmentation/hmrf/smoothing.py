"""Compiled smoothing of the `hmrf` segmenter's bias field. For the arrays see `kernels`."""

from __future__ import annotations

import numpy as np

from harmbench.segmentation.hmrf.kernels import Index, Single, compiled

__all__ = ["smooth"]


@compiled()
def _add_pairs(out: Single, field: Single, at: int, step: int, half: Single, stop: int) -> None:
    """Add half[d] * (field[at - d * step] + field[at + d * step]) for d from 1 to stop - 1.

    `at` is where the row `out`, shape (n,), begins in `field`. Four distances are added in one pass
    over the row. Indices are unsigned: a negative one would count from the end, and the test for this
    would keep the loop from being vectorized.
    """
    d, n, one = 1, np.uint64(out.size), np.uint64(step)
    while d + 4 <= stop:
        a, b = np.uint64(at - d * step), np.uint64(at + d * step)
        a2, b2 = a - one, b + one
        a3, b3 = a2 - one, b2 + one
        a4, b4 = a3 - one, b3 + one
        h, h2, h3, h4 = half[d], half[d + 1], half[d + 2], half[d + 3]
        for i in range(n):
            total = out[i] + h * (field[a + i] + field[b + i])
            total += h2 * (field[a2 + i] + field[b2 + i])
            total += h3 * (field[a3 + i] + field[b3 + i])
            out[i] = total + h4 * (field[a4 + i] + field[b4 + i])
        d += 4
    while d < stop:
        a, b, h = np.uint64(at - d * step), np.uint64(at + d * step), half[d]
        for i in range(n):
            out[i] += h * (field[a + i] + field[b + i])
        d += 1


@compiled()
def _smooth_row(
    out: Single, field: Single, at: int, step: int, half: Single, before: int, after: int
) -> None:
    """Write a row, shape (n,), that has `before` and `after` neighbours at multiples of `step`."""
    n, weight = out.size, half[0]
    own = field[at : at + n]
    for i in range(n):
        out[i] = weight * own[i]
    pairs = min(half.size, 1 + min(before, after))
    _add_pairs(out, field, at, step, half, pairs)
    side = step if after > before else -step
    for d in range(pairs, min(half.size, 1 + max(before, after))):
        own, weight = field[at + d * side : at + d * side + n], half[d]
        for i in range(n):
            out[i] += weight * own[i]


@compiled()
def smooth(
    start: int,
    stop: int,
    field: Single,
    half: Single,
    axis: int,
    first: Index,
    last: Index,
    out: Single,
) -> None:
    """Convolve along one axis with a symmetric kernel; the field is 0 outside the array.

    Args:
        start, stop: range of planes of the result.
        field: (n, z, y, x).
        half: (radius + 1,), the kernel from its centre outwards.
        axis: 1, 2 or 3.
        first, last: (z, y), the part of each row that is wanted.
        out: shape of `field`; written from `first` to `last` and left alone elsewhere.
    """
    number, nz, ny, nx = field.shape
    flat, radius = field.reshape(field.size), half.size - 1
    wide: Single = np.zeros(nx + 2 * radius, np.float32)
    planes = stop - start
    for f in range(number):
        for i in range(planes * ny):
            # Along z, rows of one y come one after the other: their neighbours stay in the cache.
            z, y = (start + i % planes, i // planes) if axis == 1 else (start + i // ny, i % ny)
            lo, n = first[z, y], last[z, y] + 1 - first[z, y]
            if n <= 0:
                continue
            row, source, at = out[f, z, y, lo : lo + n], flat, ((f * nz + z) * ny + y) * nx + lo
            step, before, after = ny * nx, z, nz - 1 - z
            if axis == 2:
                step, before, after = nx, y, ny - 1 - y
            elif axis == 3:
                own = field[f, z, y]
                for x in range(nx):
                    wide[radius + x] = own[x]
                source, at, step, before, after = wide, radius + lo, 1, radius, radius
            _smooth_row(row, source, at, step, half, before, after)
