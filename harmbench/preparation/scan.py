"""One scan before it meets the other session: read, checked, stripped, freed of its bias field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmbench.cohorts.base import Scan
from harmbench.errors import PreparationError, VolumeError
from harmbench.preparation.bias import bias_field
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import SkullStripper, check_plausible
from harmbench.volume import Volume, read, require_same_grid

__all__ = ["CleanScan", "clean_scan", "read_raw"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class CleanScan:
    """A scan on its own grid, with what was found in it.

    Attributes:
        raw: the scan as it was read.
        brain: mask of the brain, shape (x, y, z).
        bias: the field that the scan was multiplied with, mean 1 in the brain.
        corrected: the scan divided by the field; the head around the brain is still there, so that
            interpolation at the brain's edge mixes tissue with tissue.
    """

    raw: Volume
    brain: Mask
    bias: NDArray[np.float32]
    corrected: Volume


def read_raw(scan: Scan) -> tuple[Volume, Mask | None]:
    """Read a raw scan and the mask that came with it.

    Raises:
        VolumeError: a file is missing, damaged, or not a 3D image, or the mask has another grid.
        PreparationError: the values are no image.
    """
    volume = read(scan.path)
    bad = int(volume.data.size - np.count_nonzero(np.isfinite(volume.data)))
    if bad:
        raise PreparationError(f"{scan.path}: {bad} voxels are NaN or infinite")
    low, high = float(volume.data.min()), float(volume.data.max())
    if high <= 0 or low == high:
        raise PreparationError(f"{scan.path}: all values lie from {low:g} to {high:g}: not a scan")
    if scan.mask is None:
        return volume, None
    mask = read(scan.mask, kind="label")
    try:
        require_same_grid(mask, volume, (f"the mask {scan.mask}", "the scan"))
    except VolumeError as error:
        raise VolumeError(f"{scan.path}: {error}") from error
    return volume, np.asarray(mask.data > 0)


def clean_scan(scan: Scan, stripper: SkullStripper, settings: PrepareSettings) -> CleanScan:
    """Read a scan, find its brain and correct its bias field.

    Raises:
        VolumeError: see `read_raw`.
        PreparationError: the scan is not usable, no plausible brain was found, or a step failed.
    """
    raw, given = read_raw(scan)
    try:
        brain = stripper.mask(raw, given)
        check_plausible(brain, raw, settings.strip)
        bias = bias_field(raw, brain, settings.bias)
    except PreparationError as error:
        raise PreparationError(f"{scan.path}: {error}") from error
    corrected = raw if settings.bias.method == "none" else raw.with_data(raw.data / bias)
    return CleanScan(raw, brain, bias, corrected)
