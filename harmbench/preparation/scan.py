"""One scan before registration: reading, checks, skull stripping and bias field correction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Mask
from harmbench.cohorts.base import Scan
from harmbench.cohorts.intensities import finite, with_notes
from harmbench.cohorts.masks import read_mask
from harmbench.cohorts.raw_values import no_scan_values
from harmbench.errors import PreparationError, VolumeError
from harmbench.preparation.bias import bias_field
from harmbench.preparation.contrasts import check_steps
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import SkullStripper, check_plausible
from harmbench.preparation.zero import count_from_zero
from harmbench.volume import Volume, read

__all__ = ["CleanScan", "clean_scan", "read_raw"]


@dataclass(frozen=True, slots=True, eq=False)
class CleanScan:
    """A scan on its own grid, with its brain mask and bias field.

    Attributes:
        raw: the scan as it was read.
        brain: mask of the brain, shape (x, y, z).
        bias: the field that the scan was multiplied with, mean 1 in the brain.
        corrected: the scan minus `zero`, divided by the field. It still has the head around the
            brain, so that interpolation at the brain's edge uses tissue on both sides.
        zero: the intensity of no signal: 0, except in scans with an offset (see `zero_level`).
    """

    raw: Volume
    brain: Mask
    bias: NDArray[np.float32]
    corrected: Volume
    zero: float = 0.0


def read_raw(scan: Scan) -> tuple[Volume, Mask | None]:
    """Read a raw scan and the mask that came with it, both of shape (x, y, z).

    Raises:
        VolumeError: a file is missing, damaged, or not a 3D image, or the mask is not this scan's.
        PreparationError: the values are not those of an image.
    """
    volume = read(scan.path)
    try:
        mask = None if scan.mask is None else read_mask(scan.mask, volume)
    except VolumeError as error:
        raise VolumeError(f"{scan.path}: {error}") from error
    try:
        volume = finite(volume, None if mask is None else mask.data, str(scan.path))
    except VolumeError as error:
        raise PreparationError(f"{scan.path}: {error}") from error
    unusable = no_scan_values(volume.data) if volume.data.any() else "all its voxels are 0"
    if unusable:
        raise PreparationError(f"{scan.path}: {unusable}")
    if mask is None:
        return volume, None
    return with_notes(volume, *mask.notes), mask.data


def clean_scan(scan: Scan, stripper: SkullStripper, settings: PrepareSettings) -> CleanScan:
    """Read a scan, find its brain and correct its bias field.

    Raises:
        VolumeError: see `read_raw`.
        PreparationError: the scan is not usable, no plausible brain was found, or a step failed or
            is not suitable for the scan's contrast.
    """
    raw, given = read_raw(scan)
    try:
        notes = check_steps(scan.path, settings)
        brain = stripper.mask(raw, given)
        counted, zero, found = count_from_zero(raw, brain, settings.bias.method == "n4")
        check_plausible(brain, counted, settings.strip)
        bias = bias_field(counted, brain, settings.bias)
    except (PreparationError, VolumeError) as error:
        raise PreparationError(f"{scan.path}: {error}") from error
    corrected = (
        counted if settings.bias.method == "none" else counted.with_data(counted.data / bias)
    )
    notes = [replace(note, where=str(scan.path)) for note in (*notes, *found)]
    return CleanScan(with_notes(raw, *notes), brain, bias, corrected, zero)
