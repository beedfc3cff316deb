"""What a killed run leaves in its folder: told from other people's files, and swept up."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from harmbench.runner.folder import RunFolder
from harmbench.storage import PROBE_PREFIX, TEMPORARY_PREFIX

__all__ = ["foreign_file", "sweep"]

_LITTER_AGE_S = 3600.0
_TEMPORARY = (TEMPORARY_PREFIX, PROBE_PREFIX)

# Column names with which our tables begin; other people's have other ones.
_COLUMNS = {
    "inputs.csv": r"subject,group,session,path,.*\bsha256\b",
    "folds.csv": "subject,group,fold$",
}
# What stands deeper is a run's by its place: labels of real scans, and whatever a cell keeps.
_PLACES = re.compile(r"segmentations/[^/]+\.(nii\.gz|json)|cells/[^/]+/[^/]+/fold-\d+/seed-\d+/.+")


def foreign_file(out: Path) -> str | None:
    """Name something in a folder without `run.json` that no run of harmbench left there.

    A run writes `inputs.csv`, `folds.csv`, `config.yaml` and `run.json`, in this order, before anything
    else. Temporaries and empty folders are nobody's.

    Returns:
        The path inside the folder; `None` where a run may take the folder over.
    """
    folder = RunFolder(out)
    ours = _has_columns(folder.inputs)
    known = {folder.inputs.name} if ours else set()
    if ours and _has_columns(folder.folds):
        known |= {folder.folds.name, folder.config.name, folder.results.name}
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

    Young ones may be another run's, at work.
    """
    for place, folders, files in os.walk(out):
        for name in [*folders, *files]:
            if name.startswith(_TEMPORARY):
                with suppress(OSError):
                    _remove_old(Path(place, name))
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]


def _remove_old(path: Path) -> None:
    if time.time() - path.lstat().st_mtime <= _LITTER_AGE_S:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
