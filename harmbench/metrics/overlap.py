"""Agreement of two segmentations of a tissue: overlap, and distances between surfaces.

The surface of a mask are its voxels with one of their six face neighbours outside the mask; positions
beyond the volume count as outside. Distances are between voxel centres, in mm.

Missing tissue is never dropped. Where both masks are empty, Dice is 1 and every distance 0. Where only
one is empty, Dice is 0 and every distance is the penalty `diagonal_mm`, which no real distance reaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harmbench.arrays import Mask, bounding_box
from harmbench.errors import MetricError, suggest
from harmbench.metrics.arrays import Spacing, check_masks, check_spacing
from harmbench.metrics.declarations import ASSD, DICE, HD, HD95

__all__ = [
    "ASSD",
    "DICE",
    "HD",
    "HD95",
    "Backend",
    "SurfaceDistances",
    "assd",
    "check_backend",
    "diagonal_mm",
    "dice",
    "hd",
    "hd95",
    "surface_distances",
]

Backend = Literal["nearest", "medpy"]
"""What computes surface distances: `nearest` is built in, `medpy` is the commonly cited package."""


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """The distances between two surfaces, in mm.

    Attributes:
        hd_mm: the larger of the two directed maxima (Hausdorff distance).
        hd95_mm: the 95th percentile of the distances of both directions together.
        assd_mm: the mean of the distances of both directions together.
    """

    hd_mm: float
    hd95_mm: float
    assd_mm: float


def dice(mask: Mask, reference: Mask) -> float:
    """Dice coefficient, from 0 (no voxel shared) to 1 (equal); empty masks: see the module.

    Args:
        mask: the tissue as segmented in the harmonized volume, shape (x, y, z), bool.
        reference: the tissue as segmented in the reference, same shape, bool.

    Raises:
        MetricError: the masks do not fit together.
    """
    check_masks({"mask": mask, "reference": reference})
    voxels = int(np.count_nonzero(mask)) + int(np.count_nonzero(reference))
    return 2 * int(np.count_nonzero(mask & reference)) / voxels if voxels else 1.0


def hd(
    mask: Mask, reference: Mask, *, spacing_mm: Sequence[float], backend: Backend = "nearest"
) -> float:
    """Hausdorff distance in mm; masks of shape (x, y, z), errors as for `surface_distances`."""
    return surface_distances(mask, reference, spacing_mm=spacing_mm, backend=backend).hd_mm


def hd95(
    mask: Mask, reference: Mask, *, spacing_mm: Sequence[float], backend: Backend = "nearest"
) -> float:
    """95th percentile of surface distances in mm; masks (x, y, z), as for `surface_distances`."""
    return surface_distances(mask, reference, spacing_mm=spacing_mm, backend=backend).hd95_mm


def assd(
    mask: Mask, reference: Mask, *, spacing_mm: Sequence[float], backend: Backend = "nearest"
) -> float:
    """Average symmetric surface distance in mm; masks (x, y, z), as for `surface_distances`."""
    return surface_distances(mask, reference, spacing_mm=spacing_mm, backend=backend).assd_mm


def surface_distances(
    mask: Mask, reference: Mask, *, spacing_mm: Sequence[float], backend: Backend = "nearest"
) -> SurfaceDistances:
    """Compute all distances between the surfaces of two masks at once.

    Args:
        mask: the tissue as segmented in the harmonized volume, shape (x, y, z), bool.
        reference: the tissue as segmented in the reference, same shape, bool.
        spacing_mm: distance between voxel centres along each axis.
        backend: `nearest` searches outwards from every surface voxel; `medpy` calls the package,
            many times slower. Both agree to float rounding.

    Returns:
        Distances in mm: 0 where both masks are empty, `diagonal_mm` where one is.

    Raises:
        MetricError: the masks do not fit together, the spacing is not positive, or the backend is
            unknown.
    """
    check_masks({"mask": mask, "reference": reference})
    spacing = check_spacing(spacing_mm)
    check_backend(backend)
    filled = (bool(mask.any()), bool(reference.any()))
    if not all(filled):
        distance = diagonal_mm(mask.shape, spacing_mm=spacing) if any(filled) else 0.0
        return SurfaceDistances(distance, distance, distance)
    # Exact without a margin: voxels beyond the box are background, as beyond the volume.
    box = bounding_box(mask | reference)
    return _BACKENDS[backend](mask[box], reference[box], spacing)


def check_backend(backend: str) -> None:
    """Raise `MetricError` unless `backend` is one of `Backend`."""
    if backend not in _BACKENDS:
        raise MetricError(f"unknown backend '{backend}'; {suggest(backend, _BACKENDS)}")


def diagonal_mm(shape: Sequence[int], *, spacing_mm: Sequence[float]) -> float:
    """Length of a volume's diagonal in mm: the penalty distance of a missing tissue.

    From corner to corner of the outermost voxels, hence longer than any distance between centres.

    Args:
        shape: voxels along x, y, z.
        spacing_mm: distance between voxel centres along each axis.

    Raises:
        MetricError: the spacing is not three positive lengths.
    """
    sides = (extent * step for extent, step in zip(shape, check_spacing(spacing_mm), strict=True))
    return math.hypot(*sides)


def _nearest(mask: Mask, reference: Mask, spacing: Spacing) -> SurfaceDistances:
    from harmbench.metrics.nearest import distances_mm, surface_points  # compiles when first used

    one, other = (surface_points(np.ascontiguousarray(m)) for m in (mask, reference))
    there = distances_mm(one, other, mask.shape, spacing)
    back = distances_mm(other, one, mask.shape, spacing)
    both = np.concatenate([there, back])
    return SurfaceDistances(
        hd_mm=float(both.max()),
        hd95_mm=float(np.percentile(both, 95)),
        assd_mm=float(both.mean()),
    )


def _medpy(mask: Mask, reference: Mask, spacing: Spacing) -> SurfaceDistances:
    from medpy.metric import binary  # used on demand only

    return SurfaceDistances(
        hd_mm=float(binary.hd(mask, reference, voxelspacing=spacing)),
        hd95_mm=float(binary.hd95(mask, reference, voxelspacing=spacing)),
        assd_mm=float(binary.assd(mask, reference, voxelspacing=spacing)),
    )


_BACKENDS: Mapping[str, Callable[[Mask, Mask, Spacing], SurfaceDistances]] = {
    "nearest": _nearest,
    "medpy": _medpy,
}
