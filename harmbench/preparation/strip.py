"""Skull stripping: the protocol of all tools, the choice of one, and the check of its mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np

from harmbench.arrays import Mask, Single
from harmbench.errors import PreparationError
from harmbench.preparation.settings import StripSettings
from harmbench.preparation.strippers import AlreadyStripped, Bet, DeepBet, GivenMask, HdBet
from harmbench.volume import Volume

__all__ = ["STRIPPERS", "SkullStripper", "brain_volume_ml", "check_plausible", "make_stripper"]

# From the first to the ninth decile of a normal distribution, in standard deviations.
_DECILES_SD = 2.563
_LEAST_SPREAD, _LEAST_ALIKE = 0.05, 0.2


class SkullStripper(Protocol):
    """Finds the brain in a scan of a head.

    `name` and `version` are recorded with every mask.
    """

    name: str

    @property
    def version(self) -> str:
        """Software and version; raises `UnavailableError` where it is not installed."""
        ...

    def mask(self, scan: Volume, given: Mask | None = None) -> Mask:
        """Return where the brain is, shape (x, y, z), on the grid of `scan`.

        Args:
            scan: the raw scan.
            given: the mask that came with the scan, if one did.

        Raises:
            PreparationError: no brain was found, or the tool failed.
        """
        ...


STRIPPERS: Mapping[str, Callable[[StripSettings], SkullStripper]] = MappingProxyType(
    {kind.name: kind for kind in (DeepBet, HdBet, Bet, GivenMask, AlreadyStripped)}
)
"""Skull strippers by name."""


def make_stripper(settings: StripSettings) -> SkullStripper:
    """Return the skull stripper that the settings name, checked to be installed.

    Raises:
        UnavailableError: its software or weights are missing.
    """
    stripper = STRIPPERS[settings.method](settings)
    _ = stripper.version
    return stripper


def brain_volume_ml(mask: Mask, volume: Volume) -> float:
    """Return the volume of a mask, shape (x, y, z), in ml; `volume` gives the voxel size."""
    return float(np.count_nonzero(mask) * abs(np.linalg.det(volume.affine[:3, :3])) / 1000)


def check_plausible(mask: Mask, scan: Volume, settings: StripSettings) -> None:
    """Refuse a mask, shape (x, y, z), that cannot be that of a brain.

    Raises:
        PreparationError: its volume is not plausible, or its voxels are noise or uniform.
    """
    volume, (low, high) = brain_volume_ml(mask, scan), settings.plausible_ml
    if not low <= volume <= high or not mask.any():
        raise PreparationError(
            f"the brain mask has {volume:.0f} ml, expected {low:g} to {high:g} ml: not a scan of a "
            "whole head, or skull stripping failed; try another strip.method, or set "
            "strip.plausible_ml"
        )
    # A network finds a brain in any image. Reject noise and uniform phantoms.
    low, middle, high = (float(v) for v in np.percentile(scan.data[mask], (10, 50, 90)))
    # From percentiles, since the mask may include a rim of air. T1w brains have 0.2 or more.
    spread = (high - low) / (_DECILES_SD * max(abs(middle), 1e-12))
    if spread < _LEAST_SPREAD:
        raise PreparationError(
            "what should be the brain is uniform (robust coefficient of variation "
            f"{spread:.2g}): not a head"
        )
    alike = _neighbour_correlation(scan.data, mask)
    if alike < _LEAST_ALIKE:
        raise PreparationError(
            f"what should be the brain is noise (correlation of neighbouring voxels {alike:.2g}): "
            "not a head"
        )


def _neighbour_correlation(data: Single, mask: Mask) -> float:
    """Largest correlation, over the three axes, of voxels of the mask with their neighbours."""
    found = [0.0]
    for axis in range(3):
        one, other = np.moveaxis(data, axis, 0)[:-1], np.moveaxis(data, axis, 0)[1:]
        both = np.moveaxis(mask, axis, 0)
        pairs = both[:-1] & both[1:]
        if np.count_nonzero(pairs) > 1:
            found.append(float(np.corrcoef(one[pairs], other[pairs])[0, 1]))
    return max(found)
