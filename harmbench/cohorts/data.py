"""The scans of a run: settings, opening, and a description of the cohort."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pydantic import ConfigDict, Field

from harmbench.cohorts.base import Cohort, Rescale, load_scan
from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.cohorts.validation import validate
from harmbench.errors import CohortError
from harmbench.notes import Note
from harmbench.settings import Settings
from harmbench.task import Progress

__all__ = ["DataSettings", "describe_cohort", "open_cohort"]


class DataSettings(Settings):
    """Which scans to run on."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    path: Path | None = Field(
        None, description="a manifest (.csv) or a BIDS folder; unset: the simulated cohort"
    )
    source: str | None = Field(None, description="session to map from, where there are several")
    target: str | None = Field(None, description="session to map to")
    direction: str = Field("both", description="`both`, or one such as `3T-to-1.5T`")
    rescale: Rescale = Field(
        "none",
        description="`none`: scans are in [0, 1] already; `percentile`: clip at the brain's 0.1st "
        "and 99.9th percentiles and scale to [0, 1]",
    )
    citation: str = Field(
        "", description="what to cite where results are shown; unset: what the data set itself says"
    )
    phantom: PhantomSettings = Field(
        default_factory=PhantomSettings, description="the simulated cohort"
    )
    bids: BidsSettings = Field(
        default_factory=BidsSettings, description="how to read a BIDS folder"
    )


def open_cohort(
    data: DataSettings,
    progress: Progress | None = None,
    jobs: int = 2,
    folder: Path | None = None,
) -> Cohort:
    """Open the cohort that `data` describes; the simulated one is made if it is not there yet.

    Args:
        data: which scans.
        progress: reports the simulation of the cohort.
        jobs: number of processes for the simulation.
        folder: where the simulated cohort goes; the cache where `None`.

    Raises:
        CohortError: the path does not exist, is neither a manifest nor a BIDS folder, or its
            contents are not usable.
    """
    cohort = _open(data, progress, jobs, folder)
    return replace(cohort, citation=data.citation) if data.citation else cohort


def _open(data: DataSettings, progress: Progress | None, jobs: int, folder: Path | None) -> Cohort:
    if data.path is None:
        return make_phantom(data.phantom, folder, progress=progress, jobs=jobs)
    # Absolute: a method may change the working directory, and a later run may start elsewhere.
    path = data.path.expanduser().absolute()
    if path.is_dir():
        return read_bids(path, data.bids)
    if path.is_file():
        return read_manifest(path)
    raise CohortError(f"{path}: no such file or folder; data is a manifest (.csv) or a BIDS folder")


def describe_cohort(
    data: DataSettings, folder: Path | None = None, progress: Progress | None = None
) -> tuple[list[dict[str, str | float]], tuple[Note, ...]]:
    """Open and check a cohort, and describe its scans.

    Returns:
        One row per scan: subject, group, session, shape, spacing_mm, foreground_ml (voxels above 0),
        mean (of those voxels), path. And the notes on the scans.

    Raises:
        CohortError: lists every problem.
    """
    workers = os.cpu_count() or 1
    cohort = open_cohort(data, progress, workers, folder)
    raw = cohort.simulated and data.path is None and data.phantom.product == "raw"
    notes = list(cohort.notes)
    if not raw:
        notes += validate(cohort, cohort.sessions, data.rescale, progress, workers).notes
    rows: list[dict[str, str | float]] = []
    for (subject, session), scan in sorted(cohort.scans.items()):
        volume = load_scan(scan, data.rescale)
        brain = volume.data[volume.data > 0]
        x, y, z = volume.spacing_mm
        rows.append(
            {
                "subject": subject,
                "group": cohort.groups[subject],
                "session": session,
                "shape": "x".join(map(str, volume.shape)),
                "spacing_mm": f"{x:.3g}x{y:.3g}x{z:.3g}",
                "foreground_ml": round(brain.size * x * y * z / 1000),
                "mean": float(brain.mean()),
                "path": str(scan.path),
            }
        )
    return rows, tuple(notes)
