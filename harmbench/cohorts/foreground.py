"""Notes on the foreground of a scan, the voxels above 0, that is hardly one whole brain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harmbench.arrays import Mask
from harmbench.cohorts.intensities import edge_values
from harmbench.notes import Note
from harmbench.volume import Volume

__all__ = ["brains_differ", "odd_foreground"]

LEAST_BRAIN_ML = 300.0
"""The brain of a child born at term has about 350 ml, that of an adult 1000 to 1700."""

MOST_BRAIN_ML = 2300.0
"""A larger foreground cannot be a brain."""

MOST_TIMES = 1.3
"""Largest factor between the brains of one person's scans: skull strippers differ by some 10 %."""

# The background covers the edges of the volume, where no brain is.
_EDGE_SHARE = 0.9
_DARK = 0.05
# A brain that was cut has an area on a side of the volume of this share of its largest section. One that
# was cropped closely has the cap of an ellipsoid there.
_CUT_SHARE = 0.3
_FEWEST_SIDES = 2


def odd_foreground(volume: Volume, where: str = "") -> tuple[Note, ...]:
    """Return notes on a foreground that is too large, too small, cut, or too dark for a brain."""
    area = volume.data > 0
    if not area.any():
        return ()
    found = []
    ml = _foreground_ml(volume)
    if ml > MOST_BRAIN_ML:
        most = f"{MOST_BRAIN_ML:g} ml"
        text = f"more than {most} lie above 0, more than a brain: is the skull still there?"
        found.append(Note("large-foreground", text, where))
    if ml < LEAST_BRAIN_ML:
        text = (
            f"less than {LEAST_BRAIN_ML:g} ml lie above 0; a newborn's brain has about 350 ml, an "
            "adult's 1000 to 1700: is the brain whole, and are voxel sizes in millimetres? Brains "
            "before birth, and of animals, are smaller"
        )
        found.append(Note("small-foreground", text, where))
    if edge_values(area).mean() >= _EDGE_SHARE:
        text = "values above 0 reach the edges of the volume, where no brain is: is it stripped?"
        found.append(Note("no-background", text, where))
    elif _cut_sides(area) >= _FEWEST_SIDES:
        text = (
            f"{_FEWEST_SIDES} or more sides of the volume cut the brain: volumes of tissues are "
            "those of a part"
        )
        found.append(Note("brain-cut", text, where))
    if float(np.percentile(volume.data[area], 99)) < _DARK:
        text = f"99 % of the brain lie below {_DARK:g}, expected 0 to 1: is another scale meant?"
        found.append(Note("low-range", text, where))
    return tuple(found)


def brains_differ(subject: str, volumes: Mapping[str, Volume]) -> tuple[Note, ...]:
    """Return a note where the brains of one subject's scans differ much in volume.

    Args:
        subject: its label.
        volumes: session to scan, background 0.
    """
    ml = {session: _foreground_ml(volume) for session, volume in volumes.items()}
    small, large = min(ml, key=ml.__getitem__), max(ml, key=ml.__getitem__)
    if ml[large] <= MOST_TIMES * ml[small]:
        return ()
    text = (
        f"the brains in two scans of a subject differ in volume by more than a factor of "
        f"{MOST_TIMES:g}: is a part missing, or the skull there, in one of them?"
    )
    sizes = ", ".join(f"session {session}: {ml[session]:.0f} ml" for session in (small, large))
    return (Note("brains-differ", text, f"subject {subject}, {sizes}"),)


def _foreground_ml(volume: Volume) -> float:
    voxel_ml = float(abs(np.linalg.det(volume.affine[:3, :3]))) / 1000
    return float(np.count_nonzero(volume.data > 0)) * voxel_ml


def _cut_sides(area: Mask) -> int:
    """Return how many of the six sides of a volume cut an area, shape (x, y, z)."""
    sides = 0
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        sections = np.count_nonzero(area, axis=others)
        sides += sum(int(sections[end] > _CUT_SHARE * sections.max()) for end in (0, -1))
    return sides
