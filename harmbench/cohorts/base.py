"""A cohort: subjects, their groups, and the file of each session's scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harmbench.cohorts.covariates import Covariate
from harmbench.cohorts.directions import choose_directions
from harmbench.cohorts.intensities import (
    background_to_zero,
    brain_of,
    check_spread,
    finite,
    with_notes,
)
from harmbench.cohorts.left_out import LeftOut
from harmbench.cohorts.masks import read_mask
from harmbench.errors import VolumeError
from harmbench.notes import Note
from harmbench.task import Direction
from harmbench.volume import Step, Volume, read

__all__ = [
    "CLIP_PERCENTILES",
    "Cohort",
    "Rescale",
    "Scan",
    "ScanFacts",
    "load_scan",
    "masked_and_scaled",
    "rescale_volume",
    "scan_facts",
]

Rescale = Literal["none", "percentile"]

CLIP_PERCENTILES = (0.1, 99.9)
"""Percentiles of the brain at which the paper clips intensities (Durrer et al. 2023, Sec. 3)."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan of one subject on disk.

    Attributes:
        subject: the person; the unit of splitting.
        session: label that is unique within the subject: files and tables name the scan by it.
        path: the image.
        mask: a brain mask on the same grid; `None` where there is none.
        scanner: what gives the scan its contrast; the session's label where it is left empty.
        visit: label of the visit on that scanner; empty where sessions are scanners.
        when: date or time of the scan as the data set gives it, in ISO 8601; empty if unknown.
    """

    subject: str
    session: str
    path: Path
    mask: Path | None = None
    scanner: str = ""
    visit: str = ""
    when: str = ""

    def __post_init__(self) -> None:
        """Take the session for the scanner where no scanner is given."""
        if not self.scanner:
            object.__setattr__(self, "scanner", self.session)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The scans that a benchmark runs on.

    Attributes:
        name: `phantom`, `manifest` or `bids`.
        description: one sentence for reports; says so when the scans are simulated.
        simulated: whether the scans are simulated.
        groups: subject to group (`HC`, `MS`, ...), in the cohort's order.
        scans: one entry per (subject, session).
        citation: what to cite where results are shown.
        title: name of the data set, for what is derived from it.
        preparation: settings that `harmbench prepare` made the scans with; `None` where it did not.
        notes: assumptions made when the data set was read.
        left_out: scans and subjects that the data set has, and that take no part.
        lesions: image of a scan to the mask of its lesions on the same grid, where there is one.
        path: the manifest or folder that it was read from; `None` for the simulated cohort.
        covariates: of the subjects, by name, as chosen by `data.covariates`.
    """

    name: str
    description: str
    simulated: bool
    groups: Mapping[str, str]
    scans: Mapping[tuple[str, str], Scan]
    citation: str = ""
    title: str = ""
    preparation: Mapping[str, object] | None = None
    notes: tuple[Note, ...] = ()
    path: Path | None = None
    left_out: tuple[LeftOut, ...] = ()
    lesions: Mapping[Path, Path] = field(default_factory=dict)
    covariates: Mapping[str, Covariate] = field(default_factory=dict)

    @property
    def subjects(self) -> tuple[str, ...]:
        """All subjects, in the cohort's order."""
        return tuple(self.groups)

    @property
    def sessions(self) -> tuple[str, ...]:
        """All session labels, sorted."""
        return tuple(sorted({session for _, session in self.scans}))

    @property
    def scanners(self) -> tuple[str, ...]:
        """All scanners, sorted."""
        return tuple(sorted({scan.scanner for scan in self.scans.values()}))

    def directions(
        self, source: str | None = None, target: str | None = None, which: str = "both"
    ) -> tuple[Direction, ...]:
        """Choose the directions to run, between scanners; see `choose_directions`.

        Raises:
            CohortError: a scanner is unknown, or more than two leave the choice open.
        """
        return choose_directions(self.scanners, source, target, which)


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """What a scan is like.

    Attributes:
        shape: in voxels.
        spacing_mm: voxel size.
        foreground_ml: volume of the voxels above 0.
        mean: intensity of these voxels, rescaled as asked for.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    foreground_ml: float
    mean: float


def rescale_volume(
    volume: Volume,
    rescale: Rescale,
    mask: NDArray[Any] | None = None,
    percentiles: tuple[float, float] = CLIP_PERCENTILES,
    where: str = "",
) -> Volume:
    """Bring intensities into [0, 1].

    `none` leaves the intensities of the brain as they are. `percentile` clips at two `percentiles`
    of the brain and scales that range to [0, 1], as the paper does (Durrer et al. 2023, Sec. 3). The
    brain is `mask`, or is found by `intensities.brain_of`. Voxels outside it become 0. Without a mask,
    `none` changes only a background that is one value other than 0.

    Args:
        volume: a scan, skull-stripped unless there is a mask; NaN outside the brain are allowed.
        rescale: see above.
        mask: the brain, shape (x, y, z).
        percentiles: lower and upper.
        where: the scan's file, for notes.

    Raises:
        VolumeError: the brain is empty or constant, it has NaN or infinite voxels, or it cannot be
            told from the background.
    """
    given = None if mask is None else mask.astype(bool)
    volume = finite(volume, given, where)
    if given is None and rescale == "none":
        return background_to_zero(volume, where)
    brain, notes = brain_of(volume, where) if given is None else (given, ())
    volume = with_notes(volume, *notes)
    if not brain.any():
        outside = "above the background" if mask is None else "in the mask"
        raise VolumeError(f"no voxel is {outside}: there is nothing to scale")
    if rescale == "none":
        return volume.with_data(np.where(brain, volume.data, 0), Step("mask"))
    low, high = np.percentile(volume.data[brain], percentiles)
    check_spread(float(low), float(high))
    scaled = np.clip((volume.data - low) / (high - low), 0, 1) * brain
    step = Step("rescale", {"percentiles": percentiles, "low": float(low), "high": float(high)})
    return volume.with_data(scaled.astype(np.float32), step)


def load_scan(scan: Scan, rescale: Rescale = "none") -> Volume:
    """Read a scan, set what lies outside its mask to 0, and bring it into [0, 1] as `rescale` says.

    Raises:
        VolumeError: a file cannot be read, the mask lies on another grid or is not that of a brain,
            or the scan cannot be scaled.
    """
    return masked_and_scaled(read(scan.path), scan, rescale)


def masked_and_scaled(volume: Volume, scan: Scan, rescale: Rescale) -> Volume:
    """Do what `load_scan` does with a scan's volume that was already read; raises as it does."""
    try:
        mask = None if scan.mask is None else read_mask(scan.mask, volume)
        data = None if mask is None else mask.data
        scaled = rescale_volume(volume, rescale, data, where=str(scan.path))
    except VolumeError as error:
        raise VolumeError(f"{scan.path}: {error}") from error
    return scaled if mask is None else with_notes(scaled, *mask.notes)


def scan_facts(volume: Volume) -> ScanFacts:
    """Describe a scan as it is loaded: background 0, something above 0."""
    brain = volume.data[volume.data > 0]
    x, y, z = volume.spacing_mm
    return ScanFacts(volume.shape, (x, y, z), brain.size * x * y * z / 1000, float(brain.mean()))
