"""Checks before a preparation starts: the output folder, repeated scans, subjects of earlier runs."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harmbench.cohorts.base import Cohort, Scan
from harmbench.cohorts.repeats import Fingerprint, fingerprint, repeated
from harmbench.errors import CohortError, PreparationError, VolumeError
from harmbench.files.places import why_not_apart
from harmbench.notes import Note
from harmbench.storage import why_not_writable
from harmbench.volume import read

__all__ = ["check_place", "refuse_repeats", "withdrawn"]


def check_place(out: Path, cohort: Cohort) -> None:
    """Raise `PreparationError` unless `out` can be written to and lies apart from the scans."""
    inputs = [scan.path for scan in cohort.scans.values()]
    problem = why_not_writable(out) or why_not_apart(out, inputs)
    if problem:
        raise PreparationError(f"{out}: {problem}")


def refuse_repeats(cohort: Cohort, workers: int) -> None:
    """Raise `CohortError` where a scan occurs twice; scans that cannot be read are ignored."""

    def look(scan: Scan) -> Fingerprint | None:
        try:
            return fingerprint(read(scan.path))
        except VolumeError:
            return None

    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(cohort.scans, pool.map(look, cohort.scans.values()), strict=True))
    prints = {key: own for key, own in found.items() if own is not None}
    problems = repeated(prints, {key: cohort.scans[key].path for key in prints})
    if problems:
        raise CohortError(f"{cohort.path or 'the cohort'} cannot be used:", problems)


def withdrawn(out: Path, folders: Collection[str]) -> list[Note]:
    """Return notes on subjects in `out` from an earlier preparation that the data no longer has.

    Args:
        out: folder of the derivative.
        folders: names of the folders of the cohort's subjects.
    """
    text = "left by an earlier preparation, not in the data any more; no run uses it, delete it"
    there = sorted(path.name for path in out.glob("sub-*") if path.is_dir())
    return [
        Note("withdrawn-subject", text, str(out / name)) for name in there if name not in folders
    ]
