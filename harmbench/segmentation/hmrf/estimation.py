"""How the `hmrf` segmenter estimates classes, bias field and labels, step by step.

The model (Zhang, Brady & Smith 2001): given its class, a voxel's log intensity is Gaussian around
the class mean plus a smooth bias field, and classes form a Markov random field. The schedule and
the constants are those of FAST 6.0.0 at its defaults. Arrays lie as `BrainBox` describes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array, Double, Single
from harmbench.errors import UnsegmentableError
from harmbench.segmentation.hmrf import kernels
from harmbench.segmentation.hmrf.brain_box import BrainBox
from harmbench.segmentation.hmrf.smoothing import bias_of, bias_terms, remove_bias, smooth
from harmbench.segmentation.hmrf.sweeps import sweeps
from harmbench.segmentation.hmrf.workers import Workers

__all__ = [
    "LEAST_SPREAD",
    "SWEEPS",
    "Fit",
    "Steps",
    "check_alive",
    "check_distinct",
    "fit",
    "neighbour_weights",
    "run_steps",
    "smoothing_kernel",
    "weighted_moments",
]


_MIXTURE_STEPS = 19
_BETA_START, _BETA = 0.02, 0.1
_BIAS_STEPS = 4
_BETAS_FINAL = (_BETA_START, _BETA, _BETA, _BETA)
SWEEPS = 5
_CLASS_NAMES = {
    1: "the darkest class (CSF in T1w)",
    2: "GM",
    3: "the brightest class (WM in T1w)",
}
_SMOOTHING_MM = 20.0
_SIGMA_PER_SMOOTHING = 0.51

# A class whose voxels all have one value would have no variance, and no likelihood elsewhere.
LEAST_SPREAD = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """What was estimated on the brain's box.

    Attributes:
        posteriors: (class, z, y, x), classes by rising mean, 0 outside the brain.
        log_intensity: (z, y, x), log(I + 1) less the bias field.
        bias: (z, y, x), log bias field, 0 outside the brain.
        means, variances: (class,), of `log_intensity`.
        labels: (z, y, x), the most probable class of each voxel: 1, 2, ..., 0 outside the brain.
    """

    posteriors: Single
    log_intensity: Single
    bias: Single
    means: Double
    variances: Double
    labels: NDArray[np.uint8]


def fit(
    region: BrainBox, y: Single, spacing_mm: Sequence[float], classes: int, workers: Workers
) -> Fit:
    """Estimate means, variances, bias field and class posteriors together.

    Args:
        region: where the brain is.
        y: (z, y, x), log(I + 1) in the brain, 0 outside.
        spacing_mm: voxel spacing along x, y, z.
        classes: number of classes.
        workers: threads.

    Raises:
        UnsegmentableError: a class died out.
    """
    model = _Model(region, y, spacing_mm, classes, workers)
    run_steps(model)
    return model.result()


class Steps(Protocol):
    """The steps of the estimation, on one volume or several."""

    def start(self) -> None:
        """Find first classes."""

    def mix(self) -> None:
        """Re-estimate the posteriors without a random field."""

    def estimate_bias(self) -> None:
        """Re-estimate the bias field."""

    def segment(self, beta: float) -> None:
        """Re-estimate the posteriors in a random field of strength `beta`."""

    def estimate_classes(self) -> None:
        """Re-estimate means and variances from the posteriors."""


def run_steps(model: Steps) -> None:
    """Go through the schedule of FAST.

    Each step of the mixture estimates classes, then posteriors; the first step's classes are those of
    `start`. The first bias field therefore follows posteriors, not classes.
    """
    model.start()
    model.mix()
    for _ in range(_MIXTURE_STEPS - 1):
        model.estimate_classes()
        model.mix()
    model.estimate_bias()
    for _ in range(_BIAS_STEPS):
        model.segment(_BETA_START)
        model.estimate_bias()
        model.estimate_classes()
    for beta in _BETAS_FINAL:
        model.segment(beta)
        model.estimate_classes()


def neighbour_weights(spacing_mm: Sequence[float]) -> Double:
    """Return 1 over the distance in mm to the neighbours along x, y, z, xy, xz, yz, shape (6,)."""
    x, y, z = spacing_mm
    distances = (x, y, z, np.hypot(x, y), np.hypot(x, z), np.hypot(y, z))
    return 1 / np.array(distances, dtype=np.float64)


def smoothing_kernel(spacing_mm: float) -> Single:
    """Return the Gaussian that smooths the bias field along one axis, shape (n,), from its centre on.

    Its standard deviation is 0.51 * 20 mm, and it ends at twice that, cut to whole voxels first.
    """
    sigma = _SIGMA_PER_SMOOTHING * _SMOOTHING_MM / spacing_mm
    half = np.exp(-0.5 * (np.arange(2 * int(sigma) + 1) / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), dtype=np.float32)


def weighted_moments(
    region: BrainBox, p: Single, values: Single, centre: Double, workers: Workers
) -> tuple[Double, Double, Double]:
    """Return each class's weight in voxels, its mean and its variance, (class,) each.

    Args:
        region: where the brain is.
        p: (class, z, y, x), weights.
        values: (z, y, x).
        centre: (class,), values near the means, which keep the variances exact.
        workers: threads.
    """
    planes = np.zeros((values.shape[0], centre.size, 3))
    workers.over_planes(kernels.moments, p, values, region.first, region.last, centre, planes)
    weight, one, two = planes.sum(axis=0).T
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = one / weight
        return weight, centre + shift, two / weight - shift**2


def check_distinct(means: Double) -> None:
    """Raise `UnsegmentableError` unless the first means, shape (class,), all differ."""
    if not (np.diff(means) > 0).all():
        classes = means.size
        raise UnsegmentableError(
            f"{classes} classes cannot be told apart: more than 1 in {classes + 1} voxels of "
            f"the brain share the intensity {np.expm1(means[np.argmin(np.diff(means))]):.4g}"
        )


def check_alive(gone: NDArray[np.bool_], why: str) -> None:
    """Raise `UnsegmentableError`, with the reason, if a class is gone; shape (class,), by mean."""
    if gone.any():
        number = int(np.argmax(gone)) + 1
        names = _CLASS_NAMES if gone.size == 3 else {}
        name = names.get(number, f"class {number} of {gone.size}")
        raise UnsegmentableError(
            f"{name} died out: {why}; the brain's intensities do not show {gone.size} tissues"
        )


class _Model:
    """The state between the steps; `p` are the posteriors, `values` the log intensity less bias."""

    def __init__(
        self,
        region: BrainBox,
        y: Single,
        spacing_mm: Sequence[float],
        classes: int,
        workers: Workers,
    ) -> None:
        self.workers = workers
        self.region, self.y, self.values = region, y, y.copy()
        self.inside = region.brain.astype(np.float32)
        self.bias = np.zeros_like(y)
        self.p = np.zeros((classes, *y.shape), dtype=np.float32)
        self.neighbours = neighbour_weights(spacing_mm)
        # Axes of the box are (z, y, x).
        self.smoothing = [smoothing_kernel(length) for length in reversed(spacing_mm)]
        self.wanted = region.smoothed_rows()
        self.terms = np.zeros((2, 2, *y.shape), dtype=np.float32)
        self.mean: Double = np.zeros(classes)
        self.var: Double = np.ones(classes)
        self.least_variance = 0.0

    def start(self) -> None:
        """Take evenly spaced percentiles as means, and assign each voxel to the nearest."""
        brain = self.y[self.region.brain].astype(np.float64)
        classes = self.mean.size
        self.least_variance = (LEAST_SPREAD * float(brain.std())) ** 2
        at = 100 * np.arange(1, classes + 1) / (classes + 1)
        means = np.asarray(np.percentile(brain, at), dtype=np.float64)
        check_distinct(means)
        nearest = np.searchsorted((means[1:] + means[:-1]) / 2, brain)
        groups = [brain[nearest == k] for k in range(classes)]
        self._set_classes(
            np.array([group.size for group in groups]),
            np.array([group.mean() if group.size else np.nan for group in groups]),
            np.array([group.var() if group.size else np.nan for group in groups]),
        )

    def mix(self) -> None:
        """Find the posteriors of the mixture with equal weights."""
        brain = (self.values, self.inside, self.region.first, self.region.last)
        self.workers.over_planes(kernels.posteriors, self.p, *brain, self.mean, self.var)

    def segment(self, beta: float) -> None:
        """Find the posteriors under the random field of strength `beta`, from equal ones.

        FAST starts from random posteriors. After five sweeps the start decides fewer than 1 of
        10,000 labels, where the white-matter peak is narrow, too.
        """
        w = (beta * self.neighbours).astype(np.float32)
        brain = (self.values, self.inside, self.region.first, self.region.last)
        sweeps(self.workers, SWEEPS, self.p, *brain, w, self.mean, self.var, fresh=True)

    def estimate_classes(self) -> None:
        """Take means and variances weighted by the posteriors."""
        self._set_classes(
            *weighted_moments(self.region, self.p, self.values, self.mean, self.workers)
        )

    def estimate_bias(self) -> None:
        """Smooth the residuals from the class means, weighted by precision (Zhang et al. 2001).

        The residuals are those of the original values. What is outside the brain is 0 in numerator
        and denominator alike, so the box stands for the whole image. Smoothing leaves alone what it
        need not find, which is 0 from the beginning or not read.
        """
        brain = (self.inside, self.region.first, self.region.last)
        now, then = self.terms
        self.workers.over_planes(bias_terms, self.p, self.y, self.mean, self.var, now)
        for axis, (kernel, rows) in enumerate(zip(self.smoothing, self.wanted, strict=True), 1):
            self.workers.over_planes(smooth, now, kernel, axis, *rows, then)
            now, then = then, now
        sums = np.zeros((self.y.shape[0], 2))
        self.workers.over_planes(bias_of, now, *brain, self.bias, sums)
        total, voxels = sums.sum(axis=0)
        mean = np.float32(total / voxels)
        self.workers.over_planes(remove_bias, self.y, *brain, mean, self.bias, self.values)

    def result(self) -> Fit:
        """Put the classes into the order of rising means.

        Raises:
            UnsegmentableError: a class is nowhere the most probable one.
        """
        order = np.argsort(self.mean, kind="stable")
        posteriors = self.p if (order == np.arange(order.size)).all() else self.p[order]
        means, variances = self.mean[order], self.var[order]
        for array in (means, variances):
            array.flags.writeable = False
        labels = np.empty(self.y.shape, dtype=np.uint8)
        brain = self.region.brain
        self.workers.over_planes(kernels.most_probable, posteriors, brain, labels)
        voxels = [np.count_nonzero(labels == number) for number in range(1, order.size + 1)]
        check_alive(np.equal(voxels, 0), "no voxel is left to it")
        return Fit(posteriors, self.values, self.bias, means, variances, labels)

    def _set_classes(self, voxels: Array, mean: Double, var: Double) -> None:
        gone = (voxels < 1) | ~np.isfinite(mean) | ~np.isfinite(var)
        check_alive(gone, "its probability has fallen below one voxel")
        self.mean, self.var = mean, np.maximum(var, self.least_variance)
