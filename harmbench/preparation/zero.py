"""The intensity of no signal, which a multiplicative bias field does not change."""

from __future__ import annotations

import numpy as np

from harmbench.arrays import Mask
from harmbench.cohorts.intensities import background_value, edge_values
from harmbench.errors import PreparationError
from harmbench.notes import Note
from harmbench.volume import Volume

__all__ = ["count_from_zero", "zero_level"]


# In units of the brain's median above the background. An offset below the first may be noise and is
# ignored. The background is uniform if it varies by less than the second. The darkest percent of a brain
# is nearer to air than the third; otherwise the background's value is a marker, such as -1024.
_OFFSET, _UNIFORM, _DARK, _NEAR = 0.25, 0.3, 0.5, 0.1


def zero_level(scan: Volume, brain: Mask) -> float | None:
    """Find the intensity of no signal; `None` where it cannot be known.

    It is 0, unless the brain (its darkest percent) lies below 0, or the background on the edges of
    the volume is uniform and above 0 by more than a quarter of the brain's level. Then it is the
    level of the background, if the brain lies above it. This fails for scans whose z-scores were
    computed within the brain.

    Args:
        scan: finite, shape (x, y, z).
        brain: mask, same shape, not empty.
    """
    dark, middle = (float(v) for v in np.percentile(scan.data[brain], (1, 50)))
    least, air, most = (float(v) for v in np.percentile(edge_values(scan.data), (10, 50, 90)))
    level = abs(middle - air)
    uniform = most - least <= _UNIFORM * level
    if dark >= 0 and (not uniform or abs(air) <= _OFFSET * level):
        return 0.0
    if uniform and air <= dark + _NEAR * level and dark - air < _DARK * (middle - air):
        return air
    return 0.0 if dark >= 0 and air < 0 else None


def count_from_zero(
    scan: Volume, brain: Mask, multiplied: bool
) -> tuple[Volume, float, tuple[Note, ...]]:
    """Subtract the intensity of no signal.

    Args:
        scan: finite.
        brain: mask, shape (x, y, z); nothing is subtracted for an empty one.
        multiplied: whether a bias field will be estimated, which needs a known level.

    Returns:
        The scan, the value that was subtracted, and notes on what was assumed. Where the level is
        not known, the darkest value of the brain is subtracted, and a background of one value
        becomes 0.

    Raises:
        PreparationError: the level is not known, and a bias field needs it.
    """
    zero = zero_level(scan, brain) if brain.any() else 0.0
    if zero == 0:
        return scan, 0.0, ()
    if zero is not None:
        text = (
            "values lie below 0, or the background lies above: intensities are counted from the "
            "level of the background"
        )
        return scan.with_data(scan.data - zero), zero, (Note("counted-from-background", text),)
    if multiplied:
        low, high = float(scan.data[brain].min()), float(scan.data[brain].max())
        raise PreparationError(
            f"N4 divides by a field, but the intensity of no signal is not known: the brain has "
            f"values from {low:.4g} to {high:.4g} and the background is not below it, as after "
            "z-scoring within the brain; set bias.method=none, or give the scan before that step"
        )
    darkest = float(scan.data[brain].min())
    data = scan.data - darkest
    background = background_value(scan.data)
    if background is not None:
        data = np.where((scan.data == background) & ~brain, 0, data)
    text = "the brain lies on both sides of the background: values are counted from its darkest"
    return scan.with_data(data), darkest, (Note("counted-from-darkest", text),)
