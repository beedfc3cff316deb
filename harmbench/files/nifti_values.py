"""Implausible values of NIfTI headers: the replacement that is used, and the note on it."""

from __future__ import annotations

import numpy as np

from harmbench.arrays import Double

__all__ = ["Remark", "length_unit", "odd_scaling"]

Remark = tuple[str, str]
"""Kind and text of a note on a file."""

_PLAUSIBLE_SPACING_MM = (0.01, 20.0)
# NIfTI codes of units of length, and their size in millimetres; millimetres are tried first.
_UNITS = {2: ("millimetres", 1.0), 1: ("metres", 1000.0), 3: ("micrometres", 0.001)}


def length_unit(code: int, spacing: Double) -> tuple[float, list[Remark]]:
    """Return the header's unit in mm; ignore a unit that gives impossible voxel sizes.

    Without a unit, or with one that NIfTI does not define, millimetres are tried.

    Args:
        code: the header's, 0 where it gives no unit.
        spacing: voxel sizes in that unit, shape (3,).
    """
    name, size_mm = _UNITS.get(code, ("none", 1.0))
    low, high = _PLAUSIBLE_SPACING_MM

    def plausible(spacing_mm: Double) -> bool:
        return bool((spacing_mm >= low).all() and (spacing_mm <= high).all())

    if not plausible(spacing * size_mm):
        for other, other_mm in _UNITS.values():
            if plausible(spacing * other_mm):
                text = f"no scan has voxels of its size in its unit ({name}); {other} are assumed"
                return other_mm, [("units-not-believed", text)]
        text = f"no scan has voxels of its size (expected are {low:g} to {high:g} mm)"
        return size_mm, [("voxel-size-implausible", text)]
    if code and code not in _UNITS:
        text = f"its unit of length has the unknown code {code}; millimetres are assumed"
        return size_mm, [("units-unknown", text)]
    if size_mm == 1:
        return size_mm, []
    return size_mm, [("units-converted", f"its header gives {name}; they become millimetres")]


def odd_scaling(slope: float, inter: float) -> list[Remark]:
    """Remark on a slope that is not a usable factor; 0 and NaN mean no scaling and get no remark."""
    no_scaling = slope == 0 or np.isnan(slope)
    if np.isfinite(slope) and not no_scaling:
        return []
    if no_scaling and (inter == 0 or np.isnan(inter)):
        return []
    text = f"its scaling (scl_slope {slope:g}, scl_inter {inter:g}) is none; voxels are as stored"
    return [("scaling-ignored", text)]
