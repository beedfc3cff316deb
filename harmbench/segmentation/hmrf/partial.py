"""Partial volumes of the `hmrf` segmenter: each class's share of every voxel.

As in FAST: a voxel is one of the pure tissues or a mixture of two (its mixel type). A mixture's
likelihood is that of all fractions together; the types form a random field of their own; a
mixture's fraction is then the likeliest one. This works on intensities, not on their logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Double, Single
from harmbench.segmentation.hmrf import mixels
from harmbench.segmentation.hmrf.brain_box import BrainBox
from harmbench.segmentation.hmrf.estimation import Fit, neighbour_weights, weighted_moments
from harmbench.segmentation.hmrf.workers import Workers

__all__ = [
    "FIELD_STRENGTH",
    "STEP",
    "Mixture",
    "clique_table",
    "fraction_grid",
    "mixture_of",
    "shares",
]


STEP = 0.01
FIELD_STRENGTH = 0.3
_SAME, _COMPATIBLE, _OTHER = 2.0, 1.0, -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """The parameters of the likelihoods of mixel types.

    Attributes:
        pairs: (pair, 2) int32, the classes of each mixture.
        grid: (fraction,), shares of a pair's first class.
        pure: (class, 3), mean, half precision and log precision / 2 of each pure tissue.
        means, halves, shifts: (pair, fraction), the same three of each mixture.
    """

    pairs: NDArray[np.int32]
    grid: Single
    pure: Single
    means: Single
    halves: Single
    shifts: Single


def shares(region: BrainBox, found: Fit, spacing_mm: Sequence[float], workers: Workers) -> Single:
    """Estimate each class's share of every voxel.

    Args:
        region: where the brain is.
        found: the hard segmentation's estimates.
        spacing_mm: voxel spacing along x, y, z.
        workers: threads.

    Returns:
        (class, z, y, x) in [0, 1], adding up to 1 in the brain, 0 outside.
    """
    values = np.expm1(found.log_intensity)
    classes = found.means.size
    centre = np.expm1(found.means)
    _, means, variances = weighted_moments(region, found.posteriors, values, centre, workers)
    mixture = mixture_of(means, variances, centre, found.variances)
    mixed = (mixture.means, mixture.halves, mixture.shifts)

    count = classes + len(mixture.pairs)
    likelihood = np.zeros((count, *values.shape), dtype=np.float32)
    first, last = region.first, region.last
    workers.over_planes(
        mixels.mixel_likelihood, values, first, last, mixture.pure, *mixed, STEP, likelihood
    )
    types = likelihood.argmax(axis=0).astype(np.int32)
    types[~region.brain] = count
    w = (FIELD_STRENGTH * neighbour_weights(spacing_mm)).astype(np.float32)
    mixels.mixel_sweep(types, likelihood, w, clique_table(classes))
    out = np.zeros((classes, *values.shape), dtype=np.float32)
    workers.over_planes(mixels.fractions, values, types, mixture.pairs, mixture.grid, *mixed, out)
    return out


def mixture_of(
    means: Double, variances: Double, log_centre: Double, log_variances: Double
) -> Mixture:
    """Return the mixtures of classes with these moments.

    Args:
        means, variances: (class,), of the intensities.
        log_centre: (class,), intensities of the mean log intensities.
        log_variances: (class,), of the log intensities.
    """
    classes = means.size
    # From the spread of the log intensity: a class of one value must not have a variance of 0.
    variances = np.maximum(variances, 1e-6 * log_variances * (1 + log_centre) ** 2)
    pairs = np.array(list(combinations(range(classes), 2)), dtype=np.int32)
    grid = fraction_grid()
    one, other = pairs.T
    part = grid.astype(np.float64)
    mixed_means = np.outer(means[one], part) + np.outer(means[other], 1 - part)
    mixed_variances = np.outer(variances[one], part**2) + np.outer(
        variances[other], (1 - part) ** 2
    )
    pure = np.stack(_density_terms(means, variances), axis=1)
    return Mixture(pairs, grid, pure, *_density_terms(mixed_means, mixed_variances))


def fraction_grid() -> Single:
    """Return the fractions from 0 to 1, shape (101,), summed up in single precision.

    The sums are too small by a few 1e-7, so that at one half the second class has the larger share. This
    decides a mixture's tissue as in FAST.
    """
    steps = np.full(round(1 / STEP), STEP, dtype=np.float32)
    return np.concatenate([np.zeros(1, np.float32), np.cumsum(steps, dtype=np.float32)])


def clique_table(classes: int) -> Single:
    """Return how well two mixel types go together as neighbours, shape (type, type).

    Two voxels of one type go together best, a tissue and its mixtures well, all others badly.
    """
    types = [{k} for k in range(classes)] + [set(pair) for pair in combinations(range(classes), 2)]
    table = np.full((len(types), len(types)), _OTHER, dtype=np.float32)
    for i, one in enumerate(types):
        for j, other in enumerate(types):
            if one == other:
                table[i, j] = _SAME
            elif one < other or other < one:
                table[i, j] = _COMPATIBLE
    return table


def _density_terms(
    means: NDArray[np.float64], variances: NDArray[np.float64]
) -> tuple[Single, Single, Single]:
    """Return what a Gaussian's log density is made of: mean, half precision, log precision / 2."""
    terms = (means, 0.5 / variances, -0.5 * np.log(variances))
    single = [np.ascontiguousarray(term, dtype=np.float32) for term in terms]
    return single[0], single[1], single[2]
