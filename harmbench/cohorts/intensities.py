"""Intensities of scans from files: NaN voxels, the background, and where the brain is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from harmbench.arrays import (
    Array,
    Mask,
    fill_holes,
    in_unit_range,
    outside_unit_range,
)
from harmbench.errors import VolumeError
from harmbench.notes import Note
from harmbench.volume import Step, Volume

__all__ = [
    "background_to_zero",
    "background_value",
    "brain_of",
    "check_spread",
    "edge_values",
    "equal_neighbours",
    "finite",
    "not_a_scan",
    "out_of_range",
    "share_below_zero",
    "with_notes",
]

FEW_BELOW_ZERO = 0.02
"""Largest share of the nonzero voxels that interpolation leaves below 0 at the brain's edge."""

# The background covers the edges of the volume, where no brain is, and fills a part of it.
_EDGE_SHARE = 0.9
_LEAST_BACKGROUND = 0.1
_LEAST_NAN = 0.01
# Fewest different float32 numbers in the range of a brain's values.
_FEWEST_STEPS = 256
# A 4-bit scan has 16 grey levels. Label maps with many labels have large areas of one label.
_FEWEST_VALUES = 8
_MOST_LABELS = 256
_LABEL_MAP_EQUAL = 0.75
_SAMPLE = 100_000
_OVERSHOOT = 0.05


def with_notes(volume: Volume, *notes: Note) -> Volume:
    """Return a volume with more notes."""
    return replace(volume, notes=(*volume.notes, *notes)) if notes else volume


def finite(volume: Volume, mask: Mask | None = None, where: str = "") -> Volume:
    """Set NaN and infinite voxels of the background to 0.

    With a mask these are all such voxels outside it. Without one they are the areas of NaN that reach
    the border of the volume, as SPM and CAT12 write them around a brain; if they are few, the scan is
    damaged.

    Args:
        volume: a scan.
        mask: the brain, shape (x, y, z).
        where: the scan's file, for notes.

    Raises:
        VolumeError: other voxels are NaN or infinite.
    """
    bad = ~np.isfinite(volume.data)
    if not bad.any():
        return volume
    if mask is not None:
        background, kind = bad & ~mask, "not-finite-outside-mask"
        text = "NaN or infinite voxels outside the mask became 0"
    elif bad.mean() < _LEAST_NAN:
        background, kind, text = np.zeros_like(bad), "", ""
    else:
        background, kind = _reaching_border(np.isnan(volume.data)), "nan-background"
        text = "the NaN voxels around the brain are taken for background and became 0"
    left = int(np.count_nonzero(bad & ~background))
    if left:
        many = "1 voxel is" if left == 1 else f"{left} voxels are"
        inside = "" if mask is None else " in the mask"
        raise VolumeError(f"{many} NaN or infinite{inside}")
    if background.all():
        raise VolumeError("all voxels are NaN")
    clean = volume.with_data(np.where(background, 0, volume.data))
    return with_notes(clean, Note(kind, text, where))


def _reaching_border(area: Mask) -> Mask:
    """Return the connected parts of an area that touch a face of the volume."""
    parts, _ = ndimage.label(area)
    faces = [np.moveaxis(parts, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    touching = np.unique(np.concatenate(faces))
    return np.isin(parts, touching[touching > 0])


def edge_values(data: Array) -> Array:
    """Return the voxels on the twelve edges of a volume (x, y, z), shape (n,): no brain reaches them."""
    lines = []
    for axis in range(3):
        along = np.moveaxis(data, axis, 0)
        lines += [along[:, i, j] for i in (0, -1) for j in (0, -1)]
    return np.concatenate(lines)


def background_value(data: Array) -> float | None:
    """Return the value of a skull-stripped scan's background; `None` where it is not one value.

    At least nine tenths of the voxels on the edges of the volume have this value, and at least a tenth
    of all voxels.

    Args:
        data: shape (x, y, z), finite.
    """
    values, counts = np.unique(edge_values(data), return_counts=True)
    most = int(np.argmax(counts))
    if counts[most] < _EDGE_SHARE * counts.sum():
        return None
    value = values[most]
    if np.count_nonzero(data == value) < _LEAST_BACKGROUND * data.size:
        return None
    return float(value) + 0.0  # not -0


def share_below_zero(data: Array) -> float:
    """Return the share of the nonzero voxels (x, y, z) that are below 0, from 0 to 1."""
    below = np.count_nonzero(data < 0)
    return float(below / max(1, np.count_nonzero(data)))


def brain_of(volume: Volume, where: str = "") -> tuple[Mask, tuple[Note, ...]]:
    """Find the brain of a skull-stripped scan, before its intensities are scaled.

    - The background is 0, or not one value, and few voxels are below 0: the brain is every voxel
      above 0.
    - The background is one other value, or it is 0 and the brain has values on both sides of it, as
      z-scores do: the brain is every voxel that differs from it, with enclosed holes filled.

    Returns:
        The brain, shape (x, y, z), and what was assumed.

    Raises:
        VolumeError: the brain cannot be told from the background; the message says what to do.
    """
    data = volume.data
    value, below = background_value(data), share_below_zero(data)
    if not value and below <= FEW_BELOW_ZERO:
        text = "few voxels lie below 0, as interpolation leaves them: they count as background"
        return data > 0, (Note("few-below-zero", text, where),) if below else ()
    if value is None:
        raise VolumeError(
            f"{below:.1%} of the voxels other than 0 lie below 0 (down to {data.min():.4g}) and the "
            "background is not one value, so that the brain cannot be found: give a brain mask "
            "(column `mask` of a manifest, *_desc-brain_mask of a BIDS data set), or prepare the "
            "scan with a skull stripper"
        )
    brain = fill_holes(data != value)
    if brain.any() and data.max() <= value:
        raise VolumeError(
            f"no voxel is above the background ({value:g}), and some are below (down to "
            f"{data.min():.4g}): the intensities are inverted, perhaps by a negative scl_slope"
        )
    text = "values lie below 0, or the background is not 0: the brain is what differs from the "
    return brain, (Note("brain-by-background", f"{text}background, which is one value", where),)


def background_to_zero(volume: Volume, where: str = "") -> Volume:
    """Set the background of a scan in [0, 1] to 0 where it is one other value.

    Raises:
        VolumeError: the brain lies below the background.
    """
    # A volume out of range is refused for that later, not for its background here.
    if out_of_range(volume, "") is not None or not background_value(volume.data):
        return volume
    brain, notes = brain_of(volume, where)
    return with_notes(volume.with_data(np.where(brain, volume.data, 0), Step("mask")), *notes)


def check_spread(low: float, high: float) -> None:
    """Raise `VolumeError` where a brain's values, `low` to `high`, cannot be told apart."""
    if high <= low:
        raise VolumeError(f"all brain voxels have the value {low:g}: there is nothing to scale")
    step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if high - low < _FEWEST_STEPS * step:
        raise VolumeError(
            f"the brain's values, {low:.9g} to {high:.9g}, differ too little for 32-bit numbers: "
            "store the scan without this offset (scl_inter) or factor (scl_slope)"
        )


def equal_neighbours(data: Array, area: Mask) -> float:
    """Return the share of neighbour pairs with equal values, from 0 to 1; 0 without any pair.

    Args:
        data: shape (x, y, z).
        area: same shape; only pairs inside it count.
    """
    equal = pairs = 0
    for axis in range(3):
        one, other = np.moveaxis(data, axis, 0)[:-1], np.moveaxis(data, axis, 0)[1:]
        both = np.moveaxis(area, axis, 0)
        inside = both[:-1] & both[1:]
        pairs += int(np.count_nonzero(inside))
        equal += int(np.count_nonzero((one == other) & inside))
    return equal / max(1, pairs)


def not_a_scan(volume: Volume) -> str | None:
    """Say why a volume with a background of 0 is a mask or a label map; `None` for a scan."""
    data = volume.data
    brain = data != 0
    values = data[brain]
    if not values.size:
        return None
    if np.unique(values[:: max(1, values.size // _SAMPLE)]).size > _MOST_LABELS:
        return None
    found = np.unique(values)
    if found.size > _MOST_LABELS:
        return None
    if found.size == 1:
        return f"all its voxels but the background have the value {found[0]:g}: a mask, not a scan"
    if found.size <= _FEWEST_VALUES or equal_neighbours(data, brain) > _LABEL_MAP_EQUAL:
        return f"it has {found.size} values besides the background: a label map, not a scan"
    return None


def out_of_range(volume: Volume, setting: str) -> str | None:
    """Say how intensities lie outside [0, 1]; `None` if they do not.

    Args:
        volume: finite.
        setting: what the user can ask for, such as `data.rescale=percentile`.
    """
    data = volume.data
    low, high = float(data.min()), float(data.max())
    if high <= 0:
        return "no voxel is above 0"
    if in_unit_range(data):
        return None
    advice = f"prepare the scans, or ask for {setting}"
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        beyond = np.count_nonzero(outside_unit_range(data)) / data.size
        advice = (
            f"{beyond:.2g} of the voxels lie beyond, as interpolation leaves them: clip them to 0 "
            f"and 1, or ask for {setting}"
        )
    return f"intensities from {low:.7g} to {high:.7g}, expected 0 to 1: {advice}"
