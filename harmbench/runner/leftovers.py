"""Temporary files that a killed run leaves in its folder, and files that no run made."""

from __future__ import annotations

import os
import re
from pathlib import Path

from harmbench.runner.folder import RunFolder
from harmbench.storage import PROBE_PREFIX, TEMPORARY_PREFIX, remove_stale

__all__ = ["foreign_file", "sweep"]

_LITTER_AGE_S = 3600.0
_TEMPORARY = (TEMPORARY_PREFIX, PROBE_PREFIX)

# How the header lines of a run's tables begin.
_COLUMNS = {
    "inputs.csv": r"subject,group,session,path,.*\bsha256\b",
    "folds.csv": "subject,group,fold(,direction)?$",
}
# Files in these subfolders belong to a run: labels of real scans, and all that a cell keeps.
_PLACES = re.compile(
    r"segmentations/[^/]+\.(nii\.gz|json)|cells/[^/]+/[^/]+/fold-\d+/seed-\d+(_train-\d+)?/.+"
)


def foreign_file(out: Path) -> str | None:
    """Name something in a folder without `run.json` that no run of harmbench left there.

    A run writes `inputs.csv`, `folds.csv`, `config.yaml` and `run.json`, in this order, before anything
    else. Temporary files and empty folders are ignored.

    Returns:
        The path inside the folder; `None` where a run may take the folder over.
    """
    folder = RunFolder(out)
    ours = _has_columns(folder.inputs)
    known = {folder.inputs.name} if ours else set()
    if ours and _has_columns(folder.folds):
        known |= {folder.folds.name, folder.config.name}
        known |= {folder.results.name, folder.training_sizes.name}
    whole = len(known) > 1
    for place, folders, files in os.walk(out):
        folders[:] = sorted(name for name in folders if not name.startswith(_TEMPORARY))
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(place, name).relative_to(out).as_posix()
            if name.startswith(_TEMPORARY) or path in known:
                continue
            if not (whole and _PLACES.fullmatch(path)):
                return path
    return None


def _has_columns(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return re.match(_COLUMNS[path.name], file.readline(10_000).rstrip("\n")) is not None
    except (OSError, ValueError):
        return False


def sweep(out: Path) -> None:
    """Remove files and folders that a killed run left half-written; never raises.

    Young ones may belong to another run that is still working.
    """
    for place, folders, files in os.walk(out):
        for name in [*folders, *files]:
            if name.startswith(_TEMPORARY):
                remove_stale(Path(place, name), _LITTER_AGE_S)
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]
