"""Marks of artefacts in image panels, where the metrics find them: bright regions and stripes.

As in the paper's Figs. 9-10: red circles around regions that are brighter than any tissue of the
reference, blue arrows at slices that are offset against their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Array, Mask
from harmbench.metrics.structure import BRIGHT_PERCENTILE, bright_voxel_excess
from harmbench.pages.views import View, plane_axes, take_slice
from harmbench.volume import Volume

__all__ = ["Artefacts", "find_artefacts", "mark_artefacts", "slice_offsets"]

BRIGHT_COLOUR = "#FF3B30"
STRIPE_COLOUR = "#3FA9FF"
_LEAST_EXCESS = 0.2
"""Percent of brain voxels beyond the reference's share from which bright regions are marked."""
_LEAST_JUMP = 0.15
"""Difference to the reference from which a voxel belongs to a bright region of its own."""
_LEAST_REGION = 0.001
"""Size of such a region, as a share of the brain."""
_LEAST_VOXELS = 5
_LEAST_OFFSET = 0.015
"""Offset of a slice, in units of the intensity range, from which it is marked."""
_LEAST_SHARE = 0.3
"""Brain voxels of a slice that can be marked, as a share of the largest slice's."""
_OUTLYING = 4.0
"""How many times the median offset a marked slice is off."""
_MOST = 3
_ROOM_MM = 4.0
_ARROW_MM = 10.0


@dataclass(frozen=True, eq=False)
class Artefacts:
    """What is to be marked in one volume.

    Attributes:
        bright: voxels brighter than the reference's tissue, shape (x, y, z), bool.
        stripes: indices of offset slices along `axis`.
        axis: the axis that slices were stacked along.
    """

    bright: Mask
    stripes: tuple[int, ...]
    axis: int

    def __bool__(self) -> bool:
        return bool(self.bright.any() or self.stripes)


def find_artefacts(output: Volume, reference: Volume, axis: int) -> Artefacts:
    """Find bright regions and offset slices in a method's output.

    Args:
        output: what a method made, on the grid of the reference.
        reference: the real target scan; its brain is where it is above 0.
        axis: the axis that slices were stacked along.
    """
    brain = reference.data > 0
    bright = _bright(output, reference, brain)
    # A bright region is no stripe.
    offsets = np.abs(slice_offsets(output.data - reference.data, brain & ~bright, axis))
    # The mean of a small outermost slice is uncertain.
    sizes = np.moveaxis(brain, axis, 0).sum(axis=(1, 2))
    offsets[sizes < _LEAST_SHARE * sizes.max()] = np.nan
    known = offsets[np.isfinite(offsets)]
    usual = float(np.median(known)) if known.size else 0.0
    off = np.flatnonzero(np.nan_to_num(offsets) > max(_LEAST_OFFSET, _OUTLYING * usual))
    worst = off[np.argsort(-offsets[off], kind="stable")][:_MOST]
    return Artefacts(bright, tuple(sorted(int(place) for place in worst)), axis)


def _bright(output: Volume, reference: Volume, brain: Mask) -> Mask:
    """Find voxels brighter than the reference's tissue: all where there are too many, or in one place.

    An output that is darker as a whole has no excess, and may still have one bright region.
    """
    if not brain.any():
        return np.zeros_like(brain)
    limit = np.percentile(reference.data[brain], BRIGHT_PERCENTILE)
    found: Mask = brain & (output.data > limit) & (reference.data <= limit)
    if bright_voxel_excess(output.data, reference.data, brain) > _LEAST_EXCESS:
        return found
    labels, count = ndimage.label(found & (output.data - reference.data > _LEAST_JUMP))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = np.flatnonzero(sizes >= max(_LEAST_VOXELS, _LEAST_REGION * brain.sum()))
    regions: Mask = np.isin(labels, large[large > 0])
    return regions


def slice_offsets(difference: Array, brain: Mask, axis: int) -> NDArray[np.float64]:
    """Return the offset of each slice against the mean of its neighbours.

    They are the s_i that `harmbench.metrics.structure.stripe_index` averages.

    Args:
        difference: output minus reference, shape (x, y, z).
        brain: same shape.
        axis: the axis that slices were stacked along.

    Returns:
        One offset per slice along `axis`; NaN for the outermost ones, and where three slices share
        no place in the brain.
    """
    stacked, inside = np.moveaxis(difference, axis, 0), np.moveaxis(brain, axis, 0)
    offsets = np.full(len(stacked), np.nan)
    for place in range(1, len(stacked) - 1):
        shared = inside[place - 1] & inside[place] & inside[place + 1]
        if shared.any():
            jump = stacked[place] - (stacked[place - 1] + stacked[place + 1]) / 2
            offsets[place] = float(jump[shared].mean(dtype=np.float64))
    return offsets


def mark_artefacts(
    axes: Axes, found: Artefacts, view: View, spacing_mm: tuple[float, float, float]
) -> None:
    """Draw circles and arrows on the panel of a view, whose scale is in mm."""
    along, right, up = plane_axes(view)
    cells = (spacing_mm[right], spacing_mm[up])
    labels, count = ndimage.label(take_slice(found.bright, view))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    for number in np.argsort(-sizes, kind="stable")[:_MOST]:
        if sizes[number] < _LEAST_VOXELS:
            continue
        row, column = ndimage.center_of_mass(labels == number + 1)
        radius = _ROOM_MM + float(np.sqrt(sizes[number] * cells[0] * cells[1] / np.pi))
        place = ((column + 0.5) * cells[0], (row + 0.5) * cells[1])
        axes.add_patch(Circle(place, radius, fill=False, color=BRIGHT_COLOUR, lw=1.2))
    if found.axis == along:
        return
    for stripe in found.stripes:
        _point_at(axes, stripe, view, spacing_mm[found.axis], across=found.axis == right)


def _point_at(axes: Axes, stripe: int, view: View, spacing: float, *, across: bool) -> None:
    """Point at a slice: from above where slices stand side by side, from the left otherwise."""
    window, size = view.window[0 if across else 1], view.size_mm[0 if across else 1]
    place = (stripe - window.start + 0.5) * spacing
    if not 0 <= place <= size:
        return
    top = view.size_mm[1]
    tip, tail = (place, top - _ARROW_MM), (place, top)
    if not across:
        tip, tail = (_ARROW_MM, place), (0.0, place)
    arrow = {"arrowstyle": "-|>", "color": STRIPE_COLOUR, "lw": 1.0}
    axes.annotate("", xy=tip, xytext=tail, arrowprops=arrow, annotation_clip=False)
