"""Which slices a figure shows of a volume, and how they are turned.

Volumes are in RAS orientation. Slices are shown in neurological convention, the subject's left on
the left, with letters at the edges: L left, R right, A anterior, P posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["View", "take_slice", "views"]

Array = NDArray[Any]

# Planes: the axis looked along, those shown to the right and upwards, and the letters at the edges.
_PLANES = {
    "sagittal": (0, 1, 2, ("P", "A")),
    "coronal": (1, 0, 2, ("L", "R")),
    "axial": (2, 0, 1, ("L", "R")),
}
# Off the midline, where a sagittal slice shows little but the gap between the hemispheres.
_POSITIONS = {"sagittal": 0.38, "coronal": 0.45, "axial": 0.55}
_MARGIN_MM = 6.0


@dataclass(frozen=True, slots=True)
class View:
    """One plane through a volume.

    Attributes:
        plane: `sagittal`, `coronal` or `axial`.
        index: slice index along the axis looked along.
        window: voxels shown, to the right and upwards.
        size_mm: width and height of the window.
    """

    plane: str
    index: int
    window: tuple[slice, slice]
    size_mm: tuple[float, float]

    @property
    def letters(self) -> tuple[str, str]:
        """Letters at the left and the right edge."""
        return _PLANES[self.plane][3]


def views(brain: Array, spacing_mm: Sequence[float]) -> tuple[View, ...]:
    """Choose a sagittal, a coronal and an axial slice through a brain, cropped to it.

    Args:
        brain: mask of shape (x, y, z) in RAS orientation; the whole volume is shown if it is empty.
        spacing_mm: distance between voxel centres along x, y, z.
    """
    mask = np.asarray(brain, dtype=bool)
    if not mask.any():
        mask = np.ones_like(mask)
    low, high = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        low.append(int(filled[0]))
        high.append(int(filled[-1]))
    found = []
    for plane, (axis, right, up, _) in _PLANES.items():
        index = low[axis] + round(_POSITIONS[plane] * (high[axis] - low[axis]))
        window = []
        for shown in (right, up):
            margin = round(_MARGIN_MM / spacing_mm[shown])
            stop = min(high[shown] + 1 + margin, mask.shape[shown])
            window.append(slice(max(low[shown] - margin, 0), stop))
        wide, tall = (
            (w.stop - w.start) * spacing_mm[a] for w, a in zip(window, (right, up), strict=True)
        )
        found.append(View(plane, index, (window[0], window[1]), (wide, tall)))
    return tuple(found)


def take_slice(data: Array, view: View) -> Array:
    """Cut a view out of an array: rows upwards, columns to the right, for `origin="lower"`."""
    axis, right, up, _ = _PLANES[view.plane]
    # `moveaxis` puts the shown axes in the order (along, right, up), whatever the plane.
    cut: Array = np.moveaxis(data, (axis, right, up), (0, 1, 2))[view.index][view.window]
    return cut.T
