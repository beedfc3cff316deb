"""Compiled loops of the `hmrf` segmenter's bias field. For the arrays see `kernels`."""

from __future__ import annotations

import numpy as np

from harmbench.segmentation.hmrf.kernels import Double, Index, Single, compiled

__all__ = ["bias_of", "bias_terms", "remove_bias", "smooth"]


@compiled()
def bias_terms(
    start: int, stop: int, p: Single, y: Single, mu: Double, var: Double, out: Single
) -> None:
    """Write sum_k p_k (y - mu_k) / var_k into out[0] and sum_k p_k / var_k into out[1].

    Args:
        start, stop: range of planes.
        p: (class, z, y, x).
        y: (z, y, x), log intensities.
        mu, var: (class,).
        out: (2, z, y, x), overwritten.
    """
    classes, _, ny, nx = p.shape
    for z in range(start, stop):
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


@compiled()
def bias_of(
    start: int,
    stop: int,
    terms: Single,
    inside: Single,
    first: Index,
    last: Index,
    bias: Single,
    sums: Double,
) -> None:
    """Write the ratio of two terms, and its sum and the number of voxels of each plane's brain.

    Args:
        start, stop: range of planes.
        terms: (2, z, y, x), the second above 0 in the brain.
        inside, first, last: see `kernels`.
        bias: (z, y, x), overwritten from `first` to `last`.
        sums: (z, 2), overwritten.
    """
    for z in range(start, stop):
        total = voxels = 0.0
        for y in range(bias.shape[1]):
            for x in range(first[z, y], last[z, y] + 1):
                bias[z, y, x] = 0
                if inside[z, y, x] > 0:
                    bias[z, y, x] = terms[0, z, y, x] / terms[1, z, y, x]
                    total += np.float64(bias[z, y, x])
                    voxels += 1
        sums[z, 0], sums[z, 1] = total, voxels


@compiled()
def remove_bias(
    start: int,
    stop: int,
    y: Single,
    inside: Single,
    first: Index,
    last: Index,
    mean: np.float32,
    bias: Single,
    values: Single,
) -> None:
    """Subtract `mean` from the bias field in the brain, and write `y` less bias into `values`.

    Arrays have shape (z, y, x); `bias` and `values` change from `first` to `last` only.
    """
    for z in range(start, stop):
        for row in range(y.shape[1]):
            lo, hi = first[z, row], last[z, row] + 1
            field, mask = bias[z, row, lo:hi], inside[z, row, lo:hi]
            given, out = y[z, row, lo:hi], values[z, row, lo:hi]
            for i in range(hi - lo):
                field[i] = (field[i] - mean) * mask[i]
                out[i] = given[i] - field[i]


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
    flat: Single = field.reshape(field.size)
    radius = half.size - 1
    wide: Single = np.zeros(nx + 2 * radius, np.float32)
    planes = stop - start
    for f in range(number):
        for i in range(planes * ny):
            # Along z, rows of one y come one after the other: their neighbours stay in the cache.
            z, y = (start + i % planes, i // planes) if axis == 1 else (start + i // ny, i % ny)
            lo, n = first[z, y], last[z, y] + 1 - first[z, y]
            if n <= 0:
                continue
            source, at = flat, ((f * nz + z) * ny + y) * nx + lo
            step, before, after = ny * nx, z, nz - 1 - z
            if axis == 2:
                step, before, after = nx, y, ny - 1 - y
            elif axis == 3:
                own = field[f, z, y]
                for x in range(nx):
                    wide[radius + x] = own[x]
                source, at, step, before, after = wide, radius + lo, 1, radius, radius
            _smooth_row(out[f, z, y, lo : lo + n], source, at, step, half, before, after)
