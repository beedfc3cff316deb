"""Brain masks from files: 0 and 1, or other values with only one possible meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmbench.arrays import Array, Mask
from harmbench.cohorts.intensities import (
    background_value,
    edge_values,
    equal_neighbours,
    finite,
)
from harmbench.errors import VolumeError
from harmbench.notes import Note
from harmbench.volume import Volume, read, require_same_grid

__all__ = ["BrainMask", "missing_masks", "read_lesions", "read_mask", "to_binary"]


_NOISE = 1e-3
# Cubic interpolation overshoots at edges, and most at corners.
_BELOW, _ABOVE = 0.3, 0.5
# The value for 1 in other units: percent, 255, 1000.
_LEAST_UNITS = 100
# In a mask that was interpolated, or a probability map, most values are near 1. In a brain scaled to
# [0, 1] they are not.
_NEARLY, _MOSTLY_ONE = 0.9, 0.3
_FEW_LABELS, _LABELS_EQUAL = 8, 0.6
# A mask is not that of the scan's brain where it covers the edges of the volume, lies on background, or
# holds only a small part of a stripped brain (a brain is a third of a head).
_COVERED_EDGES, _MOST_BACKGROUND, _NOTED_BACKGROUND, _LEAST_FOREGROUND = 0.9, 0.5, 0.1, 0.1
_MOST_LEFT_OUT = 0.2
_SIDES_OF_A_HEAD = 4


@dataclass(frozen=True, slots=True, eq=False)
class BrainMask:
    """Where the brain of a scan is: bool, shape (x, y, z), and what was assumed when it was read."""

    data: Mask
    notes: tuple[Note, ...] = ()


def missing_masks(masks: Mapping[tuple[str, str], Path | None]) -> list[Note]:
    """Note the scans, (subject, session), without a brain mask, where others have one."""
    bare = [f"subject {who}, session {visit}" for (who, visit), own in masks.items() if own is None]
    if len(bare) == len(masks):
        return []
    text = "the scan has no brain mask, others have one"
    return [Note("mask-missing", text, where) for where in bare]


def read_mask(path: Path, scan: Volume) -> BrainMask:
    """Read the brain mask of a scan.

    Args:
        path: its file.
        scan: the scan as it was read.

    Raises:
        VolumeError: the file is not readable, lies on another grid, cannot be understood as a mask,
            or cannot be the mask of this scan's brain.
    """
    volume = read(path)
    require_same_grid(volume, scan, (f"the mask {path}", "the scan"))
    try:
        volume = finite(volume, where=str(path))
        mask, text = to_binary(volume.data)
        found = _misfit(mask, scan)
    except VolumeError as error:
        raise VolumeError(f"the mask {path}: {error}") from error
    notes = [Note(*one, str(path)) for one in (text, found) if one is not None]
    return BrainMask(mask, (*volume.notes, *notes))


def read_lesions(path: Path, scan: Volume) -> Mask:
    """Read the mask of a scan's lesions, shape (x, y, z), bool: every voxel above 0 counts.

    It may be empty: there are patients without lesions.

    Args:
        path: its file.
        scan: the scan as it was read.

    Raises:
        VolumeError: the file is not readable, lies on another grid, or has values below 0.
    """
    volume = read(path)
    require_same_grid(volume, scan, (f"the mask of lesions {path}", "the scan"))
    low = float(volume.data.min())
    if not low >= 0:
        raise VolumeError(f"the mask of lesions {path}: values from {low:.4g}, expected 0 or above")
    return np.asarray(volume.data > 0)


def to_binary(values: Array) -> tuple[Mask, tuple[str, str] | None]:
    """Turn the values of a mask file, shape (x, y, z), finite, into a boolean mask.

    Returns:
        The mask, and the kind and text of a note where its values were not 0 and 1.

    Raises:
        VolumeError: no voxel is in the mask, or the meaning of its values is not certain.
    """
    low, high = float(values.min()), float(values.max())
    if high <= _NOISE and low >= -_NOISE:
        raise VolumeError("no voxel is in the mask")
    if high <= 0 or low < -_BELOW * high:
        raise VolumeError(f"values from {low:.4g} to {high:.4g}: a mask has no values below 0")
    positive = values[values > _NOISE * high]
    if positive.min() >= (1 - _NOISE) * high and low >= -_NOISE * high:
        return values > high / 2, _two_values(values, low, high)
    whole = bool((np.abs(positive - np.round(positive)) <= _NOISE).all())
    unit = _unit(positive)
    nearly, half = positive >= _NEARLY * unit, positive > unit / 2
    if high <= (1 + _ABOVE) * unit and nearly.any() and nearly.sum() >= _MOSTLY_ONE * half.sum():
        text = f"values between 0 and {unit:g}: the brain is where they are {unit / 2:g} or more"
        return values >= unit / 2, ("mask-threshold", text)
    if whole and (
        np.unique(np.round(positive)).size <= _FEW_LABELS
        or equal_neighbours(values, values > _NOISE * high) > _LABELS_EQUAL
    ):
        return values > 0.5, ("mask-labels", "a label map: every label above 0 counts as brain")
    raise VolumeError(
        f"values from {low:.4g} to {high:.4g} that are neither 0 and 1 nor labels: an image, or "
        "probabilities of which few are near 1, and the two cannot be told apart; give a mask of 0 "
        "and 1"
    )


def _two_values(values: Array, low: float, high: float) -> tuple[str, str] | None:
    if high == 1 and low == 0 and bool(((values == 0) | (values == 1)).all()):
        return None
    if abs(high - 1) <= _NOISE:
        return "mask-rounded", "values are not exactly 0 and 1: they were rounded"
    return "mask-values", f"the two values are 0 and {high:g}: the brain is where it is {high:g}"


def _unit(positive: Array) -> float:
    """The value that means 1: 1, or in other units the value of most voxels above 0."""
    found, counts = np.unique(positive, return_counts=True)
    most = int(np.argmax(counts))
    other = found[most] >= _LEAST_UNITS and counts[most] > positive.size / 2
    return float(found[most]) if other else 1.0


def _misfit(mask: Mask, scan: Volume) -> tuple[str, str] | None:
    """Refuse a mask that is not of this scan's brain; return a note where it is doubtful."""
    if not mask.any():
        raise VolumeError("no voxel is in the mask")
    if edge_values(mask).mean() >= _COVERED_EDGES:
        raise VolumeError(
            f"it covers {mask.mean():.0%} of the volume with all its edges, where no brain is: is "
            "it inverted?"
        )
    background = background_value(scan.data)
    if background is None:
        return None
    foreground = scan.data != background
    inside = np.count_nonzero(foreground & mask)
    empty = 1 - inside / np.count_nonzero(mask)
    if empty > _MOST_BACKGROUND:
        raise VolumeError(
            f"{empty:.0%} of it lies on the scan's background ({background:g}): it is not the mask "
            "of this scan's brain"
        )
    if inside < _LEAST_FOREGROUND * np.count_nonzero(foreground):
        raise VolumeError(
            f"it holds {inside / np.count_nonzero(foreground):.1%} of what differs from the scan's "
            "background: it is not the mask of a brain"
        )
    if empty > _NOTED_BACKGROUND:
        return "mask-on-background", "a part of the mask lies on the scan's background"
    left_out = np.count_nonzero(foreground) - inside
    if left_out > _MOST_LEFT_OUT * np.count_nonzero(foreground) and not _within(mask, foreground):
        text = "the mask leaves out a part of the scan on one side, as of a brain that was cut"
        return "mask-leaves-out", text
    return None


def _within(mask: Mask, foreground: Mask) -> bool:
    """Whether a foreground reaches beyond a mask on most sides, as a head reaches beyond the brain."""
    sides = 0
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        own, all_of_it = (np.flatnonzero(area.any(axis=others)) for area in (mask, foreground))
        sides += int(all_of_it[0] < own[0]) + int(all_of_it[-1] > own[-1])
    return sides >= _SIDES_OF_A_HEAD
