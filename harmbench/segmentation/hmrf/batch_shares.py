"""Partial volumes of the `hmrf` segmenter in torch: what `partial` estimates, on a GPU.

The random field of mixel types is swept once, as there: in raster order, but all voxels at a time
that do not wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmbench.segmentation.hmrf.batch import moments
from harmbench.segmentation.hmrf.estimation import neighbour_weights
from harmbench.segmentation.hmrf.partial import (
    FIELD_STRENGTH,
    STEP,
    Mixture,
    clique_table,
    mixture_of,
)

__all__ = ["batch_shares"]

_CHUNK = 1 << 18
"""Voxels whose fractions are compared at a time."""


def batch_shares(
    values: Tensor,
    inside: Tensor,
    posteriors: Tensor,
    means: Sequence[float],
    variances: Sequence[float],
    spacing_mm: Sequence[float],
) -> Tensor:
    """Estimate each class's share of every voxel of one volume.

    Args:
        values: (z, y, x), log(I + 1) without bias field; a margin of one voxel without brain.
        inside: (z, y, x), 1 in the brain.
        posteriors: (class, z, y, x), of the hard segmentation.
        means, variances: (class,), of `values`.
        spacing_mm: voxel spacing along x, y, z.

    Returns:
        (class, z, y, x) in [0, 1], adding up to 1 in the brain, 0 outside.
    """
    brain = inside > 0
    intensities = values.expm1() * inside
    centre = np.expm1(np.asarray(means))
    _, mean, variance = moments(posteriors[None], intensities[None], centre[None])
    mixture = mixture_of(mean[0], variance[0], centre, np.asarray(variances))
    likelihood, splits = _likelihood(intensities[brain], mixture)
    types = _sweep(likelihood, brain, spacing_mm)

    classes = mixture.pure.shape[0]
    found = torch.zeros((classes, types.numel()), device=values.device)
    for k in range(classes):
        found[k] = (types == k).float()
    for q, (one, other) in enumerate(mixture.pairs):
        mixed = types == classes + q
        found[one, mixed] = splits[q, mixed]
        found[other, mixed] = 1 - splits[q, mixed]
    out = torch.zeros((classes, *values.shape), device=values.device)
    out[:, brain] = found
    return out


def _likelihood(values: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Log likelihood of each mixel type, (type, n), and each mixture's best split, (pair, n)."""
    device = values.device
    pure, means, halves, shifts, grid = (
        torch.from_numpy(array).to(device)
        for array in (mixture.pure, mixture.means, mixture.halves, mixture.shifts, mixture.grid)
    )
    gap = values - pure[:, :1]
    rows = [pure[:, 2:] - gap.square() * pure[:, 1:2]]
    splits = torch.empty((means.shape[0], values.numel()), device=device)
    for q in range(means.shape[0]):
        row = torch.empty_like(values)
        for first in range(0, values.numel(), _CHUNK):
            part = slice(first, first + _CHUNK)
            log = shifts[q] - (values[part, None] - means[q]).square() * halves[q]
            row[part] = log.logsumexp(dim=1) + float(np.log(STEP))
            splits[q, part] = grid[log.argmax(dim=1)]
        rows.append(row[None])
    return torch.cat(rows), splits


def _sweep(likelihood: Tensor, brain: Tensor, spacing_mm: Sequence[float]) -> Tensor:
    """Give each voxel its most probable type given its neighbours', once, in raster order, (n,)."""
    device, count = likelihood.device, likelihood.shape[0]
    table = torch.from_numpy(clique_table(_classes(count))).to(device)
    # Outside the brain, the last type, goes with nothing.
    table = torch.cat([table, torch.zeros((count, 1), device=device)], dim=1).T.contiguous()
    steps, axes = _neighbours(brain.shape)
    weights = (FIELD_STRENGTH * neighbour_weights(spacing_mm)).astype(np.float32)[axes]
    near = torch.from_numpy(weights).to(device)
    flat = torch.from_numpy(steps).to(device)
    types = torch.full((brain.numel(),), count, device=device)
    places = torch.where(brain.flatten())[0]
    types[places] = likelihood.argmax(dim=0)

    # Every neighbour before a voxel in raster order has a smaller x + 2y + 3z, every later one a
    # larger, so that voxels of one sum can be updated at once: the result is the raster order's.
    z, y, x = torch.where(brain)
    sums, order = (x + 2 * y + 3 * z).sort(stable=True)
    places, likelihood = places[order], likelihood.T[order]
    ends = torch.unique_consecutive(sums, return_counts=True)[1].cumsum(0).tolist()
    for first, last in zip([0, *ends], ends, strict=False):
        here = places[first:last]
        around = table[types[here[:, None] + flat]]  # (voxel, neighbour, type)
        score = likelihood[first:last] + torch.einsum("vnt,n->vt", around, near)
        types[here] = score.argmax(dim=1)
    return types[brain.flatten()]


def _neighbours(shape: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the flat steps to the 18 neighbours, and which of x, y, z, xy, xz, yz each is along."""
    strides = (shape[1] * shape[2], shape[2], 1)
    kinds = {(0, 0, 1): 0, (0, 1, 0): 1, (1, 0, 0): 2, (0, 1, 1): 3, (1, 0, 1): 4, (1, 1, 0): 5}
    steps, axes = [], []
    for step in product((-1, 0, 1), repeat=3):
        kind = kinds.get((abs(step[0]), abs(step[1]), abs(step[2])))
        if kind is not None:
            steps.append(sum(n * stride for n, stride in zip(step, strides, strict=True)))
            axes.append(kind)
    return np.array(steps), np.array(axes)


def _classes(types: int) -> int:
    """Return of how many classes `types` are the pure ones and the pairs: K + K (K - 1) / 2."""
    return round((math.sqrt(8 * types + 1) - 1) / 2)
