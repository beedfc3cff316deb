"""Values of a scan, as it was read, that no scan has: one value, or numbers that wrapped around."""

from __future__ import annotations

import numpy as np

from harmbench.arrays import Array

__all__ = ["no_scan_values", "wrapped_bits"]

# Least part of the signed range that wrapped values reach, as values go past its largest number.
_REACHED = 0.75
# Read as unsigned, neighbours of a wrapped scan differ by less than this share of what they do now. In
# a scan that has negative values they differ by more.
_SMOOTHER = 0.8


def no_scan_values(data: Array) -> str | None:
    """Say why the values of a file are not those of a scan; `None` where they may be.

    A volume of zeros is not judged here.

    Args:
        data: shape (x, y, z), before any mask or scaling.
    """
    finite = data[np.isfinite(data)]
    if not finite.size or not finite.any():
        return None
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return f"all its voxels have the value {low:g}: not a scan"
    bits = wrapped_bits(data)
    if bits is None:
        return None
    return (
        f"its values jump between {low:.7g} and {high:.7g} from voxel to voxel: numbers without a "
        f"sign (uint{bits}) were declared as numbers with one (int{bits}), so that the brightest "
        "became the darkest; write the file again with the right data type"
    )


def wrapped_bits(data: Array) -> int | None:
    """Return 8 or 16 where unsigned numbers of so many bits were read as signed; else `None`.

    Values are whole and go up to the largest signed number, and neighbours are closer together when
    values below 0 are read as unsigned. Only neighbours that both differ from 0 count.

    Args:
        data: shape (x, y, z).
    """
    low, high = float(data.min()), float(data.max())
    for bits in (8, 16):
        half = 2 ** (bits - 1)
        if not (-half <= low < 0 and _REACHED * half < high < half):
            continue
        if (data != np.round(data)).any():
            return None
        unsigned = np.where(data < 0, data + 2 * half, data)
        if _variation(unsigned, data) < _SMOOTHER * _variation(data, data):
            return bits
    return None


def _variation(data: Array, area: Array) -> float:
    """Return the sum of the differences of neighbours where `area`, of the same shape, is not 0."""
    total = 0.0
    for axis in range(3):
        values, inside = np.moveaxis(data, axis, 0), np.moveaxis(area != 0, axis, 0)
        total += float(np.abs(np.diff(values, axis=0))[inside[:-1] & inside[1:]].sum())
    return total
