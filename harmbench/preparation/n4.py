"""N4 bias field estimation (Tustison et al., IEEE Trans. Med. Imaging 29(6), 2010) on a voxel grid.

The field of log intensities is a cubic B-spline. Each iteration sharpens the histogram of the corrected
log intensities and fits the spline to what this removes, by the approximation of scattered data of
Lee, Wolberg & Shin (IEEE TVCG 3(3), 1997). On a grid, all its sums over voxels are products of one
small matrix per axis, which makes it some twenty times as fast as the general algorithm in ITK. The
domain, the sampling and the constants are those of ANTs, and so is the result but for rounding.

Sums are `np.einsum`'s, which do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Double, Mask, Single
from harmbench.preparation.settings import BiasSettings

__all__ = ["log_bias_field"]

_BINS, _FWHM, _NOISE = 200, 0.15, 0.01
"""Bins of the histogram, width of the Gaussian that blurs it, noise of its Wiener filter."""

Bases = Sequence[Double]
"""One matrix per axis: (voxels, control points)."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the spline's domain, which is centred on the image, and of the voxels taken from it.

    Attributes:
        spans: distances of knots that the domain is long, at the coarsest level.
        sampled: image indices of the voxels taken, one in every `shrink_factor`.
        at: their places in the domain, from 0 to 1.
        whole: the places of all voxels of the image.
    """

    spans: int
    sampled: NDArray[np.int64]
    at: Double
    whole: Double

    @classmethod
    def of(cls, voxels: int, spacing_mm: float, settings: BiasSettings) -> _Axis:
        """Pad `voxels` to whole distances of knots, and take every n-th around the centre."""
        length = (voxels - 1) * spacing_mm
        spans = max(1, ceil(length / settings.spline_mm))
        extra = int((spans * settings.spline_mm - length) / spacing_mm + 0.5)
        before, padded = extra // 2, voxels + extra
        step = settings.shrink_factor
        count = max(2, padded // step)
        start = int((padded - 1) / 2 - step * (count - 1) / 2 + 0.5)
        sampled = start + step * np.arange(count) - before
        inside = (sampled >= 0) & (sampled < voxels)
        at = np.arange(count) / (count - 1)
        whole = (before + np.arange(voxels)) / (padded - 1)
        return cls(spans, sampled[inside], at[inside], whole)


def log_bias_field(
    data: Single, where: Mask, spacing_mm: Sequence[float], settings: BiasSettings
) -> Single:
    """Estimate the logarithm of the field that an image was multiplied with.

    Args:
        data: (x, y, z), 0 where there is no signal.
        where: (x, y, z), the voxels that it is estimated from; those that are not above 0 are left
            out.
        spacing_mm: distance between voxels along x, y, z.
        settings: of the correction.

    Returns:
        (x, y, z), also where it is extrapolated; all 0 if no voxel was taken.
    """
    axes = [
        _Axis.of(voxels, length, settings)
        for voxels, length in zip(data.shape, spacing_mm, strict=True)
    ]
    taken = np.ix_(*(axis.sampled for axis in axes))
    values, mask = data[taken], where[taken] & (data[taken] > 0)
    if not mask.any():
        return np.zeros(data.shape, dtype=np.float32)
    boxed = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {i}))) for i in range(3)]
    box = tuple(slice(own[0], own[-1] + 1) for own in boxed)
    values, mask = values[box], mask[box]
    places = [axis.at[side] for axis, side in zip(axes, box, strict=True)]
    spans = [axis.spans for axis in axes]
    given = np.log(values[mask].astype(np.float64))
    lattice = np.zeros([n + 3 for n in spans])
    for level, most in enumerate(settings.iterations):
        if level > 0:
            spans = [2 * n for n in spans]
            lattice = _refined(lattice)
        bases = [_basis(at, n) for at, n in zip(places, spans, strict=True)]
        lattice = _fit_level(lattice, bases, mask, given, most, settings.tolerance)
    whole = [_basis(axis.whole, n) for axis, n in zip(axes, spans, strict=True)]
    return np.asarray(_expand(lattice, whole), dtype=np.float32)


def _fit_level(
    lattice: Double, bases: Bases, mask: Mask, given: Double, most: int, tolerance: float
) -> Double:
    """Iterate at one resolution until the field changes by less than the tolerance.

    Args:
        lattice: control points, shape (i, j, k).
        bases: of the voxels of `mask` along each axis.
        mask: (x, y, z).
        given: (voxel,), log intensities in the mask.
        most: number of iterations at most.
        tolerance: least coefficient of variation of the change of the field.
    """
    squares, cubes = [b**2 for b in bases], [b**3 for b in bases]
    x, y, z = (b.sum(axis=1) for b in squares)
    norm = (x[:, None, None] * y[:, None] * z)[mask]
    weight = _contract(mask.astype(np.float64), squares)
    reached = weight > 0
    field, spread = _expand(lattice, bases)[mask], np.zeros(mask.shape)
    for _ in range(most):
        corrected = given - field
        spread[mask] = (corrected - _sharpened(corrected)) / norm
        found = _contract(spread, cubes)
        lattice = lattice + np.divide(found, weight, out=np.zeros_like(weight), where=reached)
        before, field = field, _expand(lattice, bases)[mask]
        change = np.exp(before - field)
        if change.std(ddof=1) <= tolerance * change.mean():
            break
    return lattice


def _sharpened(values: Double) -> Double:
    """Return the expected log intensities, shape (n,), without a Gaussian blur of their histogram."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return values
    step = (high - low) / (_BINS - 1)
    place = (values - low) / step
    left = np.minimum(place.astype(np.int64), _BINS - 2)
    part = place - left
    size = 2 ** (ceil(log(_BINS, 2)) + 1)
    margin = (size - _BINS) // 2
    counts = np.bincount(left + margin, 1 - part, size) + np.bincount(left + 1 + margin, part, size)

    width = _FWHM / step
    distance = np.minimum(np.arange(size), size - np.arange(size))
    blur = np.exp(-4 * log(2) * (distance / width) ** 2) * 2 * sqrt(log(2) / pi) / width
    blurred = np.fft.fft(blur)
    wiener = (np.conj(blurred) / (np.abs(blurred) ** 2 + _NOISE)).real
    sharp = np.maximum(np.fft.ifft(np.fft.fft(counts) * wiener).real, 0)
    centres = low + (np.arange(size) - margin) * step
    above = np.fft.ifft(np.fft.fft(centres * sharp) * blurred).real
    below = np.fft.ifft(np.fft.fft(sharp) * blurred).real
    mean = np.divide(above, below, out=np.zeros(size), where=below != 0)[margin : margin + _BINS]
    return np.asarray(mean[left] + (mean[left + 1] - mean[left]) * part)


def _basis(at: Double, spans: int) -> Double:
    """Return the cubic B-splines at places from 0 to 1, shape (place, spans + 3)."""
    t = np.clip(at, 0, 1) * spans
    left = np.minimum(t.astype(np.int64), spans - 1)
    u = t - left
    parts = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    basis = np.zeros((at.size, spans + 3))
    for i, part in enumerate(parts):
        basis[np.arange(at.size), left + i] = part
    return basis


def _refined(lattice: Double) -> Double:
    """Return the control points of the same spline with knots at half the distance."""
    for axis in range(3):
        c = np.moveaxis(lattice, axis, 0)
        fine = np.empty((2 * c.shape[0] - 3, *c.shape[1:]))
        fine[0::2] = (c[:-1] + c[1:]) / 2
        fine[1::2] = (c[:-2] + 6 * c[1:-1] + c[2:]) / 8
        lattice = np.moveaxis(fine, 0, axis)
    return lattice


def _expand(lattice: Double, bases: Bases) -> Double:
    """Evaluate a spline on a grid: (i, j, k) control points to (x, y, z) values."""
    x, y, z = bases
    lines = np.einsum("ijk,xi->xjk", lattice, x)
    planes = np.einsum("xjk,yj->xyk", lines, y)
    return np.asarray(np.einsum("xyk,zk->xyz", planes, z))


def _contract(values: Double, bases: Bases) -> Double:
    """Sum values (x, y, z) with the weights of each control point: (i, j, k)."""
    x, y, z = bases
    planes = np.einsum("xyz,zk->xyk", values, z)
    lines = np.einsum("xyk,yj->xjk", planes, y)
    return np.asarray(np.einsum("xjk,xi->ijk", lines, x))
