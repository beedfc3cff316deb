"""The slices of a volume that a figure shows, and their orientation.

Volumes are in RAS orientation. Slices are shown in neurological convention, the subject's left on
the left, with letters at the edges: L left, R right, A anterior, P posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from harmbench.arrays import Array

__all__ = [
    "View",
    "blank_panel",
    "plane_axes",
    "show_cut",
    "show_slice",
    "take_slice",
    "views",
    "write_letters",
]


# Planes: the axis looked along, those shown to the right and upwards, and the letters at the edges.
_PLANES = {
    "sagittal": (0, 1, 2, ("P", "A")),
    "coronal": (1, 0, 2, ("L", "R")),
    "axial": (2, 0, 1, ("L", "R")),
}
# Relative positions in the brain; not the midline, where a sagittal slice shows mostly the gap between
# the hemispheres.
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


def views(
    brain: Array, spacing_mm: Sequence[float], margin_mm: float = _MARGIN_MM
) -> tuple[View, ...]:
    """Choose a sagittal, a coronal and an axial slice through a brain, cropped to it.

    Args:
        brain: mask of shape (x, y, z) in RAS orientation; the whole volume is shown if it is empty.
        spacing_mm: distance between voxel centres along x, y, z.
        margin_mm: margin shown around the brain, as far as the volume reaches.
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
            margin = round(margin_mm / spacing_mm[shown])
            stop = min(high[shown] + 1 + margin, mask.shape[shown])
            window.append(slice(max(low[shown] - margin, 0), stop))
        wide, tall = (
            (w.stop - w.start) * spacing_mm[a] for w, a in zip(window, (right, up), strict=True)
        )
        found.append(View(plane, index, (window[0], window[1]), (wide, tall)))
    return tuple(found)


def plane_axes(view: View) -> tuple[int, int, int]:
    """Return the axis that a view looks along, and those shown to the right and upwards."""
    along, right, up, _ = _PLANES[view.plane]
    return along, right, up


def take_slice(data: Array, view: View) -> Array:
    """Cut a view out of an array (x, y, z): shape (rows, columns), rows upwards, for `origin="lower"`."""
    axis, right, up, _ = _PLANES[view.plane]
    # `moveaxis` puts the shown axes in the order (along, right, up), whatever the plane.
    cut: Array = np.moveaxis(data, (axis, right, up), (0, 1, 2))[view.index][view.window]
    return cut.T


def blank_panel(
    axes: Axes, view: View, height_mm: float, colour: str, width_mm: float | None = None
) -> None:
    """Empty a panel and give it a scale in mm, with the view in its middle.

    Args:
        axes: the panel.
        view: what will be shown.
        height_mm, width_mm: extent of the panel; the width is the view's unless given.
        colour: behind and around the image.
    """
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_facecolor(colour)
    axes.set_aspect("equal")
    wide = view.size_mm[0] if width_mm is None else width_mm
    beside, below = (wide - view.size_mm[0]) / 2, (height_mm - view.size_mm[1]) / 2
    axes.set_xlim(-beside, wide - beside)
    axes.set_ylim(-below, height_mm - below)


def show_slice(axes: Axes, data: Array, view: View, **settings: Any) -> Any:
    """Show a view of an array of shape (x, y, z) on a panel in mm; see `show_cut`."""
    return show_cut(axes, take_slice(data, view), view, **settings)


def show_cut(axes: Axes, cut: Array, view: View, **settings: Any) -> Any:
    """Show a slice, (rows, columns) or (rows, columns, 3), on a panel in mm.

    `settings` go to matplotlib's `imshow`, whose image is returned.
    """
    limits = (axes.get_xlim(), axes.get_ylim())
    extent = (0, view.size_mm[0], 0, view.size_mm[1])
    # Without interpolation, a PDF holds the voxels themselves.
    shown = axes.imshow(cut, origin="lower", extent=extent, interpolation="none", **settings)
    axes.set(xlim=limits[0], ylim=limits[1])
    return shown


def write_letters(axes: Axes, view: View) -> None:
    """Label the sides of the subject at the edges of a panel."""
    for x, letter, side in zip((0.02, 0.98), view.letters, ("left", "right"), strict=True):
        text = axes.text(
            *(x, 0.5, letter), transform=axes.transAxes, ha=side, va="center", color="w", fontsize=8
        )
        # Black edges keep white letters visible over the brain.
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])
