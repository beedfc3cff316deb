"""The checks that every metric makes of its arrays before any work starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harmbench.arrays import Array, Mask, count_not_finite, is_spacing
from harmbench.errors import MetricError

__all__ = [
    "ImagePair",
    "Spacing",
    "check_axis",
    "check_images",
    "check_mask",
    "check_masks",
    "check_pair",
    "check_spacing",
    "select",
    "slabs",
]

Spacing = tuple[float, float, float]

_SLAB_VOXELS = 1 << 18


@dataclass(frozen=True, slots=True)
class ImagePair:
    """Two volumes that were checked, and where they are compared; `check_pair` makes one.

    Metrics with a name that ends in `_of` take it and check nothing again.

    Attributes:
        one, other: shape (x, y, z), float32 or float64, finite, of one shape.
        mask: shape (x, y, z), bool; `None`: everywhere.
    """

    one: Array
    other: Array
    mask: Mask | None = None

    @property
    def images(self) -> tuple[Array, Array]:
        """Both volumes."""
        return self.one, self.other

    @property
    def is_empty(self) -> bool:
        """Whether there is no voxel to compare."""
        return self.mask is not None and not self.mask.any()

    def within(self, mask: Array | None) -> ImagePair:
        """Return the same volumes, compared in another mask.

        Raises:
            MetricError: the mask does not fit.
        """
        if mask is not None:
            _check_shapes({"harmonized": self.one, "mask": mask})
            check_mask(mask)
        return ImagePair(self.one, self.other, mask)


def check_pair(
    harmonized: Array, other: Array, mask: Array | None = None, name: str = "reference"
) -> ImagePair:
    """Return two volumes as floating-point arrays, ready to be scored together.

    Args:
        harmonized: a method's output, shape (x, y, z).
        other: what it is compared with, shape (x, y, z).
        mask: where they are compared, shape (x, y, z), bool; `None`: everywhere.
        name: of `other`, for messages.

    Raises:
        MetricError: a volume is not 3D, empty, not real-valued or not finite, the shapes differ,
            or the mask does not fit.
    """
    one, second = check_images({"harmonized": harmonized, name: other}, mask)
    return ImagePair(one, second, mask)


def check_images(images: Mapping[str, Array], mask: Array | None = None) -> tuple[Array, ...]:
    """Return the named volumes as floating-point arrays, ready to be scored together.

    float32 and float64 arrays are returned as they are, other real numbers as float64.

    Args:
        images: name for messages to volume, shape (x, y, z).
        mask: where the volumes will be compared, shape (x, y, z), bool; `None`: everywhere.

    Raises:
        MetricError: a volume is not 3D, empty, not real-valued or not finite, the shapes differ,
            or the mask does not fit.
    """
    checked = tuple(_check_image(image, name) for name, image in images.items())
    arrays = dict(images) if mask is None else {**images, "mask": mask}
    _check_shapes(arrays)
    if mask is not None:
        check_mask(mask)
    return checked


def check_masks(masks: Mapping[str, Array]) -> None:
    """Raise `MetricError` unless the named masks are boolean, 3D, not empty and of one shape."""
    for name, mask in masks.items():
        check_mask(mask, name)
    _check_shapes(masks)


def check_mask(mask: Array, name: str = "mask") -> None:
    """Raise `MetricError` unless `mask` is boolean, of shape (x, y, z) without empty axes."""
    _check_axes(mask, name)
    # numpy would take an integer mask for indices; a label map is not a mask either.
    if mask.dtype != np.bool_:
        raise MetricError(f"{name} has dtype {mask.dtype}; a mask is bool")


def check_spacing(spacing_mm: Sequence[float]) -> Spacing:
    """Return the voxel spacing as three floats.

    Raises:
        MetricError: there are not three, or one is not a positive finite number.
    """
    values = tuple(float(value) for value in spacing_mm)
    if not is_spacing(values):
        raise MetricError(f"spacing_mm is {values}; expected three positive lengths in mm")
    return values[0], values[1], values[2]


def check_axis(axis: int, name: str = "stacking_axis") -> None:
    """Raise `MetricError` unless `axis` is 0, 1 or 2."""
    if axis not in (0, 1, 2):
        raise MetricError(f"{name} is {axis}; allowed: 0, 1, 2")


def select(image: Array, mask: Mask | None) -> Array:
    """Return the voxels of `image` in `mask` (all of them for `None`), shape (n,)."""
    return image.ravel() if mask is None else image[mask]


def slabs(shape: Sequence[int], axis: int = 0, thickness: int | None = None) -> Iterator[slice]:
    """Yield slices of an axis, so that temporary arrays stay small enough for the cache.

    Args:
        shape: of the volume.
        axis: the axis to cut.
        thickness: of a slab in voxels; `None`: slabs hold about 2^18 voxels.
    """
    extent = shape[axis]
    plane = max(1, math.prod(shape) // max(1, extent))
    step = thickness or max(1, _SLAB_VOXELS // plane)
    for first in range(0, extent, step):
        yield slice(first, min(first + step, extent))


def _check_image(image: Array, name: str) -> Array:
    _check_axes(image, name)
    if image.dtype.kind not in "fiub":
        raise MetricError(f"{name} has dtype {image.dtype}; expected real numbers")
    if image.dtype not in (np.float32, np.float64):
        image = image.astype(np.float64)
    bad = count_not_finite(image)
    if bad:
        raise MetricError(f"{name} has {bad} voxels that are NaN or infinite; expected none")
    return image


def _check_axes(array: Array, name: str) -> None:
    if array.ndim != 3 or array.size == 0:
        raise MetricError(f"{name} has shape {array.shape}; expected three non-empty axes")


def _check_shapes(arrays: Mapping[str, Array]) -> None:
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise MetricError(f"shapes differ: {shapes}; arrays scored together share one grid")
