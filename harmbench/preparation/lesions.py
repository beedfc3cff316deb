"""Masks of lesions through a preparation: the way of their scan, without interpolation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harmbench.arrays import Mask
from harmbench.cohorts.masks import read_lesions
from harmbench.notes import Note
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.grid import Grid, resample_nearest
from harmbench.preparation.scan import CleanScan
from harmbench.storage import write_json
from harmbench.volume import Volume, write

__all__ = ["prepare_lesions", "write_lesions"]

_MOST_OUTSIDE = 0.1


def prepare_lesions(
    path: Path, clean: CleanScan, prepared: PreparedScan
) -> tuple[Mask, tuple[Note, ...]]:
    """Bring the mask of a scan's lesions onto the common grid, by nearest neighbour.

    Lesions outside the brain mask are left out: no intensities are there.

    Args:
        path: the mask, on the grid of the raw scan.
        clean: the scan.
        prepared: the same, prepared.

    Returns:
        The mask, shape of the prepared volume, and notes on what was lost.

    Raises:
        VolumeError: the mask cannot be read, or is not on the scan's grid.
    """
    mask = read_lesions(path, clean.raw)
    volume = prepared.volume
    grid = Grid(volume.shape, volume.affine)
    found = resample_nearest(mask, clean.raw, grid, prepared.chain)
    inside = found & prepared.brain
    count, kept = int(np.count_nonzero(found)), int(np.count_nonzero(inside))
    notes = []
    if count and kept < (1 - _MOST_OUTSIDE) * count:
        text = "more than a tenth of the mask of lesions lies outside the brain; that is left out"
        notes.append(Note("lesions-outside-brain", text, str(path)))
    if mask.any() and not kept:
        text = "no voxel of the mask of lesions is left on the common grid"
        notes.append(Note("lesions-lost", text, str(path)))
    return inside, tuple(notes)


def write_lesions(folder: Path, stem: Path, prepared: PreparedScan, found: Mask, raw: Path) -> None:
    """Write the mask of a session's lesions beside its volume.

    Args:
        folder: of the data set.
        stem: of the session's files below it, see `scan_stem`.
        prepared: gives the grid.
        found: the mask, shape (x, y, z).
        raw: the file that it was made from.
    """
    base = folder / stem
    path = base.with_name(f"{base.name}_label-lesion_mask")
    volume = prepared.volume
    mask = Volume(found.astype(np.uint8), volume.affine, kind="label", space=volume.space)
    write(mask, path.with_name(f"{path.name}.nii.gz"))
    note = {"Type": "Lesion", "Sources": [raw.name], "Interpolation": "nearest neighbour"}
    write_json(path.with_name(f"{path.name}.json"), note)
