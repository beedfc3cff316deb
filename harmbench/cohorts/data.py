"""The scans of a run: settings, opening, and a description of the cohort."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from pydantic import ConfigDict, Field, field_validator

from harmbench.cohorts.base import Cohort, Rescale, load_scan, scan_facts
from harmbench.cohorts.bids import BidsSettings, read_bids
from harmbench.cohorts.bids_settings import refuse_bids_only
from harmbench.cohorts.covariates import PEOPLE, read_covariates
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.cohorts.phantom.cohort import cache_folder
from harmbench.cohorts.validation import validate
from harmbench.errors import CohortError
from harmbench.files.kinds import unexpanded, why_no_file
from harmbench.notes import Note
from harmbench.settings import Settings
from harmbench.task import Progress

__all__ = [
    "DataSettings",
    "ScanRow",
    "check_scans",
    "read_cohort",
    "simulation_line",
]


class ScanRow(TypedDict):
    """One scan of a cohort, for people and programs; `foreground_ml` and `mean` of voxels above 0."""

    subject: str
    group: str
    session: str
    scanner: str
    visit: str
    shape: str
    spacing_mm: str
    foreground_ml: int
    mean: float
    path: str


class DataSettings(Settings):
    """Which scans to run on."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    path: Path | None = Field(
        None, description="a manifest (.csv) or a BIDS folder; unset: the simulated cohort"
    )
    source: str | None = Field(None, description="scanner to map from, where there are several")
    target: str | None = Field(
        None,
        description="scanner to map to; alone, with more than two: every other scanner to this one",
    )
    direction: str = Field(
        "both", description="`both`, `all`, or one or more such as `3T-to-1.5T,1.5T-to-7T`"
    )
    rescale: Rescale = Field(
        "none",
        description="`none`: scans are in [0, 1] already; `percentile`: clip at the brain's 0.1st "
        "and 99.9th percentiles and scale to [0, 1]",
    )
    citation: str = Field(
        "", description="what to cite where results are shown; unset: what the data set itself says"
    )
    covariates: tuple[str, ...] = Field(
        (),
        description="columns of participants.tsv, or of the manifest, that volume corrections take as "
        "covariates, such as `[age, sex]`; `group` is the subjects' group",
    )
    phantom: PhantomSettings = Field(
        default_factory=PhantomSettings, description="the simulated cohort"
    )
    bids: BidsSettings = Field(
        default_factory=BidsSettings, description="how to read a BIDS folder"
    )

    @field_validator("covariates", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name for part in value.split(",") if (name := part.strip()))
        return value


def simulation_line(data: DataSettings, folder: Path | None = None) -> str | None:
    """Say what is simulated where no scans are given; `None` where some are.

    Args:
        data: which scans.
        folder: where the simulated cohort goes; the cache where `None`.
    """
    if data.path is not None:
        return None
    phantom = data.phantom
    size = "the protocols' voxels" if phantom.product == "raw" else "voxels"
    size += f" {'times' if phantom.product == 'raw' else 'of'} {phantom.spacing_mm:g}"
    size += "" if phantom.product == "raw" else " mm"
    return (
        f"no data are given: {phantom.subjects} subjects on two scanners are SIMULATED with {size}, "
        f"minutes for each at 1 mm, and kept in {folder or cache_folder(phantom)}; what is there "
        "already is taken. Your own scans: --data, or data.path of a configuration"
    )


def read_cohort(
    data: DataSettings,
    progress: Progress | None = None,
    jobs: int = 2,
    folder: Path | None = None,
) -> Cohort:
    """Read every scan of the cohort that `data` describes; the simulated one is made if need be.

    Args:
        data: which scans.
        progress: reports the simulation of the cohort.
        jobs: number of processes for the simulation.
        folder: where the simulated cohort goes; the cache where `None`.

    Raises:
        ConfigError: a setting of `data.bids` does not apply to what `data` describes.
        CohortError: the path does not exist, is neither a manifest nor a BIDS folder, or its
            contents are not usable.
    """
    cohort = _open(data, progress, jobs, folder)
    if data.covariates:
        cohort = _with_covariates(cohort, data, folder)
    return replace(cohort, citation=data.citation) if data.citation else cohort


def _with_covariates(cohort: Cohort, data: DataSettings, folder: Path | None) -> Cohort:
    """Add the subjects' covariates that `data` names."""
    root = cohort.path or folder or cache_folder(data.phantom)
    labels: dict[str, set[str]] = {}
    for scan in cohort.scans.values():
        label = scan.subject if cohort.name == "manifest" else scan.path.name.partition("_")[0]
        labels.setdefault(scan.subject, set()).add(label)
    table = root / PEOPLE if root.is_dir() else root
    found, notes = read_covariates(data.covariates, table, labels, cohort.groups)
    return replace(cohort, covariates=found, notes=(*cohort.notes, *notes))


def _open(data: DataSettings, progress: Progress | None, jobs: int, folder: Path | None) -> Cohort:
    if data.path is None:
        refuse_bids_only(data.bids, "the simulated cohort", ())
        return make_phantom(data.phantom, folder, progress=progress, jobs=jobs)
    # Absolute: a method may change the working directory, and a later run may start elsewhere.
    path = data.path.expanduser().absolute()
    if path.is_dir():
        return read_bids(path, data.bids)
    if path.is_file():
        refuse_bids_only(data.bids, str(path), ("exclude", "exclude_list"))
        return read_manifest(path, data.covariates, data.bids.exclude, data.bids.exclude_list)
    there = path.is_symlink() or path.exists()
    problem = why_no_file(path) if there else "no such file or folder"
    hint = unexpanded(str(data.path)) if "$" in str(data.path) else ""
    raise CohortError(f"{path}: {problem}{hint}; data is a manifest (.csv) or a BIDS folder")


def check_scans(
    cohort: Cohort, data: DataSettings, progress: Progress | None = None
) -> tuple[list[ScanRow], tuple[Note, ...]]:
    """Check every scan of a cohort, reading each once, and describe it.

    Returns:
        One row per scan, in order of subject and session, and the notes on the cohort and its scans.
        Simulated raw scans, which are not in [0, 1] by intention, are described without a check.

    Raises:
        CohortError: lists every problem.
    """
    raw = cohort.simulated and data.path is None and data.phantom.product == "raw"
    if raw:
        facts = {
            key: scan_facts(load_scan(scan, data.rescale)) for key, scan in cohort.scans.items()
        }
        notes: tuple[Note, ...] = ()
    else:
        workers = os.cpu_count() or 1
        checked = validate(cohort, cohort.sessions, data.rescale, progress, workers)
        facts, notes = dict(checked.facts), checked.notes
    rows: list[ScanRow] = []
    for key, scan in sorted(cohort.scans.items()):
        found = facts[key]
        x, y, z = found.spacing_mm
        rows.append(
            {
                "subject": scan.subject,
                "group": cohort.groups[scan.subject],
                "session": scan.session,
                "scanner": scan.scanner,
                "visit": scan.visit,
                "shape": "x".join(map(str, found.shape)),
                "spacing_mm": f"{x:.3g}x{y:.3g}x{z:.3g}",
                "foreground_ml": round(found.foreground_ml),
                "mean": found.mean,
                "path": str(scan.path),
            }
        )
    return rows, (*cohort.notes, *notes)
