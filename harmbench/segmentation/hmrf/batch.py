"""The `hmrf` segmenter in torch: the estimation of `estimation`, on a GPU, for several volumes at once.

Schedule and constants are the same; only the sweeps differ. In place and in raster order, one voxel
waits for another, so here all voxels of a sweep are updated together from the sweep before. That
takes about two sweeps to get as far as one in place, and comes to the same field: labels differ from
the compiled loops' in fewer than 1 of 10,000 voxels.

Volumes lie as `BrainBox` says, each with its brain's box in one corner of a common box, 0 elsewhere:
tensors are (volume, z, y, x) or (volume, class, z, y, x), single precision. Sums are in double
precision. What is found for a volume does not depend on the others, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmbench.arrays import Double
from harmbench.errors import SegmentationError
from harmbench.segmentation.hmrf.brain_box import BrainBox
from harmbench.segmentation.hmrf.estimation import (
    LEAST_SPREAD,
    SWEEPS,
    check_alive,
    check_distinct,
    neighbour_weights,
    run_steps,
    smoothing_kernel,
)

__all__ = ["BatchFit", "add_neighbours", "fit_batch", "moments"]


_PARALLEL_SWEEPS = 2 * SWEEPS


class BatchFit:
    """The state between the steps, and finally the result, for several volumes.

    Args:
        regions: where each volume's brain is.
        intensities: of each box, (z, y, x), 0 outside the brain.
        spacings_mm: each volume's voxel spacing along x, y, z.
        classes: number of classes.
        device: where to compute.

    Attributes:
        inside: (volume, z, y, x), 1 in the brain.
        values: (volume, z, y, x), log(I + 1) less the bias field.
        bias: (volume, z, y, x), log bias field, 0 outside the brain.
        p: (volume, class, z, y, x), posteriors, 0 outside the brain.
        mean, var: (volume, class), numpy, of `values`.
        failures: why a volume, by its number, cannot be segmented.
    """

    def __init__(
        self,
        regions: Sequence[BrainBox],
        intensities: Sequence[NDArray[np.float32]],
        spacings_mm: Sequence[Sequence[float]],
        classes: int,
        device: torch.device,
    ) -> None:
        self.regions, self.classes = regions, classes
        z, y, x = np.max([region.brain.shape for region in regions], axis=0)
        shape = (len(regions), int(z), int(y), int(x))
        self.y = torch.zeros(shape, device=device)
        self.inside = torch.zeros(shape, device=device)
        for i, (region, data) in enumerate(zip(regions, intensities, strict=True)):
            self.cut(self.y, i)[:] = torch.from_numpy(data).to(device).log1p()
            self.cut(self.inside, i)[:] = torch.from_numpy(region.brain).to(device)
        self.values = self.y
        self.bias = torch.zeros_like(self.y)
        self.p = torch.zeros((len(regions), classes, *shape[1:]), device=device)
        self.neighbours = np.stack([neighbour_weights(spacing) for spacing in spacings_mm])
        # Axes of the box are (z, y, x).
        self.smoothing = [
            torch.stack([_smoothing_matrix(s[2 - axis], extent) for s in spacings_mm]).to(device)
            for axis, extent in enumerate(shape[1:])
        ]
        self.mean: Double = np.zeros((len(regions), classes))
        self.var: Double = np.ones((len(regions), classes))
        self.least_variance: Double = np.zeros((len(regions), 1))
        self.failures: dict[int, SegmentationError] = {}

    def cut(self, batch: Tensor, number: int) -> Tensor:
        """View the box of one volume, (..., z, y, x), in a tensor of all, (volume, ..., z, y, x)."""
        z, y, x = self.regions[number].brain.shape
        return batch[number, ..., :z, :y, :x]

    def start(self) -> None:
        """Take evenly spaced percentiles as means, and assign each voxel to the nearest."""
        found = np.zeros((3, *self.mean.shape))
        at = torch.arange(1, self.classes + 1, dtype=torch.float64) / (self.classes + 1)
        for i in range(len(self.regions)):
            brain = self.y[i][self.inside[i] > 0].double().sort().values
            self.least_variance[i] = (LEAST_SPREAD * float(brain.std(correction=0))) ** 2
            place = at.to(brain.device) * (brain.numel() - 1)
            low, high = brain[place.floor().long()], brain[place.ceil().long()]
            means = low + (high - low) * place.frac()
            try:
                check_distinct(means.cpu().numpy())
            except SegmentationError as error:
                self.failures[i] = error
            # In sorted order, each class is one interval.
            ends = torch.searchsorted(brain, (means[1:] + means[:-1]) / 2, right=True).tolist()
            for k, (first, last) in enumerate(zip([0, *ends], [*ends, brain.numel()], strict=True)):
                group = brain[first:last]
                spread = float(group.var(correction=0)) if group.numel() else np.nan
                found[:, i, k] = group.numel(), float(group.mean()), spread
        self._set_classes(*found)

    def mix(self) -> None:
        """Find the posteriors of the mixture with equal weights."""
        self.p = _shares(self._log_likelihood(), self.inside)

    def segment(self, beta: float) -> None:
        """Find the posteriors under the random field of strength `beta`, from equal ones."""
        likelihood = self._log_likelihood()
        weights = self._tensor(beta * self.neighbours)
        self.p = (self.inside / self.classes)[:, None].expand_as(likelihood).contiguous()
        for _ in range(_PARALLEL_SWEEPS):
            energy = likelihood.clone()
            add_neighbours(energy, self.p, weights)
            self.p = _shares(energy, self.inside)

    def estimate_classes(self) -> None:
        """Take means and variances weighted by the posteriors."""
        self._set_classes(*moments(self.p, self.values, self.mean))

    def estimate_bias(self) -> None:
        """Smooth the residuals from the class means, weighted by precision (Zhang et al. 2001)."""
        mean, precision = self._tensor(self.mean), self._tensor(1 / self.var)
        terms = torch.zeros((len(self.regions), 2, *self.y.shape[1:]), device=self.y.device)
        for k in range(self.classes):
            weight = self.p[:, k] * precision[:, k]
            terms[:, 0] += weight * (self.y - mean[:, k])
            terms[:, 1] += weight
        for axis, matrix in zip("zyx", self.smoothing, strict=True):
            out = "zyx".replace(axis, "w")
            terms = torch.einsum(f"nfzyx,n{axis}w->nf{out}", terms, matrix)
        bias = torch.where(self.inside > 0, terms[:, 0] / terms[:, 1], 0)
        brain = self.inside.sum((1, 2, 3), dtype=torch.float64)
        average = bias.sum((1, 2, 3), dtype=torch.float64) / brain
        self.bias = (bias - average.float()[:, None, None, None]) * self.inside
        self.values = self.y - self.bias

    def finish(self) -> None:
        """Sort the classes by mean; a volume fails where a class is nowhere the most probable."""
        order = np.argsort(self.mean, axis=1, kind="stable")
        if (order != np.arange(self.classes)).any():
            self.p = torch.stack([p[o.tolist()] for p, o in zip(self.p, order, strict=True)])
        self.mean = np.take_along_axis(self.mean, order, axis=1)
        self.var = np.take_along_axis(self.var, order, axis=1)
        for i in range(len(self.regions)):
            voxels = np.bincount(self.labels(i).ravel(), minlength=self.classes + 1)[1:]
            self._check(i, voxels == 0, "no voxel is left to it")

    def labels(self, number: int) -> NDArray[np.uint8]:
        """Return the box of a volume's labels, (z, y, x): 1, 2, ..., and 0 outside the brain."""
        labels = self.cut(self.p, number).argmax(dim=0).add_(1) * self.cut(self.inside, number)
        return np.asarray(labels.to(torch.uint8).cpu().numpy())

    def _log_likelihood(self) -> Tensor:
        """Log density of every voxel in every class, without its constant."""
        mean, half = self._tensor(self.mean), self._tensor(0.5 / self.var)
        gap = self.values[:, None] - mean
        return gap.square_().mul_(-half).sub_(self._tensor(0.5 * np.log(self.var)))

    def _tensor(self, numbers: Double) -> Tensor:
        """Move (volume, n) numbers to the device, with axes to broadcast over (volume, n, z, y, x)."""
        single = torch.from_numpy(numbers.astype(np.float32)).to(self.y.device)
        return single[:, :, None, None, None]

    def _set_classes(self, voxels: Double, mean: Double, var: Double) -> None:
        gone = (voxels < 1) | ~np.isfinite(mean) | ~np.isfinite(var)
        for i, one in enumerate(gone):
            self._check(i, one, "its probability has fallen below one voxel")
        # The other volumes go on.
        self.mean = np.where(gone, 0, mean)
        self.var = np.where(gone, 1, np.maximum(var, self.least_variance))

    def _check(self, number: int, gone: NDArray[np.bool_], why: str) -> None:
        try:
            check_alive(gone, why)
        except SegmentationError as error:
            self.failures.setdefault(number, error)


def fit_batch(
    regions: Sequence[BrainBox],
    intensities: Sequence[NDArray[np.float32]],
    spacings_mm: Sequence[Sequence[float]],
    classes: int,
    device: torch.device,
) -> BatchFit:
    """Estimate means, variances, bias field and class posteriors of several volumes together.

    Arguments, and shapes of the result, as for `BatchFit`. Its `failures` name the volumes that cannot
    be segmented.
    """
    model = BatchFit(regions, intensities, spacings_mm, classes, device)
    with torch.inference_mode():
        run_steps(model)
        model.finish()
    return model


def add_neighbours(out: Tensor, p: Tensor, weights: Tensor) -> None:
    """Add the weighted sum over the 18 neighbours that share a face or an edge to `out`.

    Args:
        out: (volume, n, z, y, x), changed but for its outermost voxels.
        p: same shape, 0 in the outermost voxels.
        weights: (volume, 6, 1, 1, 1), of neighbours along x, y, z, xy, xz, yz.
    """
    x, y, z, xy, xz, yz = weights[:, None].unbind(2)
    along_x = p[..., :-2] + p[..., 2:]
    along_y = p[..., :-2, 1:-1] + p[..., 2:, 1:-1]
    inner = out[..., 1:-1, 1:-1, 1:-1]
    inner.addcmul_(x, along_x[..., 1:-1, 1:-1, :])
    inner.addcmul_(y, along_y[..., 1:-1, :, :])
    inner.addcmul_(z, p[..., :-2, 1:-1, 1:-1] + p[..., 2:, 1:-1, 1:-1])
    inner.addcmul_(xy, along_x[..., 1:-1, :-2, :] + along_x[..., 1:-1, 2:, :])
    inner.addcmul_(xz, along_x[..., :-2, 1:-1, :] + along_x[..., 2:, 1:-1, :])
    inner.addcmul_(yz, along_y[..., :-2, :, :] + along_y[..., 2:, :, :])


def moments(p: Tensor, values: Tensor, centre: Double) -> tuple[Double, Double, Double]:
    """Return each class's weight in voxels, its mean and its variance, (volume, class) each.

    Args:
        p: (volume, class, z, y, x), weights.
        values: (volume, z, y, x).
        centre: (volume, class), values near the means, which keep the variances exact.
    """
    middle = torch.from_numpy(centre.astype(np.float32)).to(p.device)
    sums = np.zeros((3, *centre.shape))
    for k in range(p.shape[1]):
        weight = p[:, k]
        gap = values - middle[:, k, None, None, None]
        for power in range(3):
            if power:
                weight = weight * gap
            sums[power, :, k] = weight.sum((1, 2, 3), dtype=torch.float64).cpu().numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = sums[1] / sums[0]
        return sums[0], middle.double().cpu().numpy() + shift, sums[2] / sums[0] - shift**2


def _shares(energy: Tensor, inside: Tensor) -> Tensor:
    return torch.softmax(energy, dim=1).mul_(inside[:, None])


def _smoothing_matrix(spacing_mm: float, extent: int) -> Tensor:
    """Return the convolution with the bias field's Gaussian as a matrix, (extent, extent)."""
    half = torch.from_numpy(smoothing_kernel(spacing_mm))
    places = torch.arange(extent)
    distance = (places[:, None] - places).abs()
    return torch.where(distance < half.numel(), half[distance.clamp(max=half.numel() - 1)], 0.0)
