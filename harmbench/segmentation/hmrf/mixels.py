"""Compiled loops of the `hmrf` segmenter's partial volumes.

A voxel is one of several mixel types: a pure tissue, or a mixture of two. With K classes, types
0..K-1 are pure, then follow the pairs in the order (0,1), (0,2), ..., (1,2), ...; the number of
types stands for outside the brain. For the other arrays see `kernels`.
"""

from __future__ import annotations

import numpy as np

from harmbench.segmentation.hmrf.kernels import Index, Single, compiled, single_exp

__all__ = ["fractions", "mixel_likelihood", "mixel_sweep"]


@compiled()
def _mixture_densities(
    value: np.float32, means: Single, halves: Single, shifts: Single, out: Single
) -> None:
    """Write the log density of a value, without its constant, for each fraction of one mixture."""
    for d in range(means.size):
        gap = value - means[d]
        out[d] = shifts[d] - gap * gap * halves[d]


@compiled()
def _largest(row: Single) -> np.float32:
    top = row[0]
    for d in range(1, row.size):
        top = max(top, row[d])
    return np.float32(top)


@compiled()
def _sum_exp(row: Single, top: np.float32) -> np.float32:
    total = np.float32(0)
    for d in range(row.size):
        total += single_exp(row[d] - top)
    return np.float32(total)


@compiled()
def mixel_likelihood(
    start: int,
    stop: int,
    values: Single,
    first: Index,
    last: Index,
    pure: Single,
    means: Single,
    halves: Single,
    shifts: Single,
    step: float,
    out: Single,
) -> None:
    """Write each type's log likelihood, without its constant, into `out`.

    A mixture's likelihood is its density summed over the fractions times their `step`.

    Args:
        start, stop: range of planes.
        values: (z, y, x), intensities without bias field.
        first, last: (z, y), brain voxels of each row.
        pure: (class, 3), mean, half precision and log precision / 2 of each pure tissue.
        means, halves, shifts: (pair, fraction), the same three of each mixture.
        step: distance between fractions.
        out: (type, z, y, x), overwritten within `first` to `last`.
    """
    classes, pairs = pure.shape[0], means.shape[0]
    log_step = np.float32(np.log(step))
    densities = np.empty(means.shape[1], np.float32)
    for z in range(start, stop):
        for y in range(values.shape[1]):
            for x in range(first[z, y], last[z, y] + 1):
                value = values[z, y, x]
                for k in range(classes):
                    gap = value - pure[k, 0]
                    out[k, z, y, x] = pure[k, 2] - gap * gap * pure[k, 1]
                for q in range(pairs):
                    _mixture_densities(value, means[q], halves[q], shifts[q], densities)
                    top = _largest(densities)
                    total = np.log(_sum_exp(densities, top))
                    out[classes + q, z, y, x] = top + total + log_step


@compiled()
def mixel_sweep(types: Index, likelihood: Single, w: Single, clique: Single) -> None:
    """Give each voxel its most probable type given its neighbours', once, in raster order.

    Iterated conditional modes (Besag 1986) of log likelihood + sum_n w_n clique[type, type_n], over
    the 18 neighbours in the brain that share a face or an edge.

    Args:
        types: (z, y, x), changed in place.
        likelihood: (type, z, y, x), log likelihoods.
        w: (6,), weights of neighbours along x, y, z, xy, xz, yz.
        clique: (type, type).
    """
    nz, ny, nx = types.shape
    count = clique.shape[0]
    near = np.zeros(count + 1, np.float32)
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                if types[z, y, x] == count:
                    continue
                near[:] = 0
                for i in (-1, 1):
                    near[types[z, y, x + i]] += w[0]
                    near[types[z, y + i, x]] += w[1]
                    near[types[z + i, y, x]] += w[2]
                    for j in (-1, 1):
                        near[types[z, y + i, x + j]] += w[3]
                        near[types[z + i, y, x + j]] += w[4]
                        near[types[z + i, y + j, x]] += w[5]
                best, best_score = 0, -np.inf
                for k in range(count):
                    score = np.float64(likelihood[k, z, y, x])
                    for other in range(count):
                        score += np.float64(near[other] * clique[k, other])
                    if score > best_score:
                        best, best_score = k, score
                types[z, y, x] = best


@compiled()
def fractions(
    start: int,
    stop: int,
    values: Single,
    types: Index,
    pairs: Index,
    grid: Single,
    means: Single,
    halves: Single,
    shifts: Single,
    out: Single,
) -> None:
    """Write each class's share of every voxel into `out`: 0 or 1, or a mixture's likeliest split.

    Args:
        start, stop: range of planes.
        values: (z, y, x), intensities without bias field.
        types: (z, y, x), mixel types.
        pairs: (pair, 2), the classes of each mixture.
        grid: (fraction,), shares of a pair's first class.
        means, halves, shifts: (pair, fraction), as for `mixel_likelihood`.
        out: (class, z, y, x), 0 on entry.
    """
    classes = out.shape[0]
    _, ny, nx = types.shape
    outside = classes + pairs.shape[0]
    densities = np.empty(grid.size, np.float32)
    for z in range(start, stop):
        for y in range(ny):
            for x in range(nx):
                kind = types[z, y, x]
                if kind == outside:
                    continue
                if kind < classes:
                    out[kind, z, y, x] = 1
                    continue
                q = kind - classes
                _mixture_densities(values[z, y, x], means[q], halves[q], shifts[q], densities)
                share = grid[np.argmax(densities)]
                out[pairs[q, 0], z, y, x] = share
                out[pairs[q, 1], z, y, x] = np.float32(1) - share
