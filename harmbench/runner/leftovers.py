"""Temporary files that a killed run leaves in its folder, and files that no run made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harmbench.holders import Watch, beat_of, holder_of
from harmbench.locks import Lock, free
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.folder import RunFolder
from harmbench.storage import PROBE_PREFIX, TEMPORARY_PREFIX, has_writer, remove, time_on

__all__ = ["foreign_file", "leftovers", "remove_leftover", "sweep", "sweep_held"]

_LITTER_AGE_S = 3600.0
_TEMPORARY = (TEMPORARY_PREFIX, PROBE_PREFIX)
_LOCK = "lock.json"
_CELL = re.compile(r"cells/[^/]+/[^/]+/fold-\d+/seed-[^/]+/")

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

    A run writes `inputs.csv`, `folds.csv`, `config.yaml` and its record, in this order, before anything
    else. Its lock, temporary files and empty folders are ignored.

    Returns:
        The path inside the folder; `None` where a run may take the folder over.
    """
    folder = RunFolder(out)
    ours = _has_columns(folder.inputs)
    known = {folder.inputs.name, _LOCK} if ours else {_LOCK}
    if ours and _has_columns(folder.folds):
        known |= {folder.folds.name, folder.config.name}
        known |= {folder.results.name, folder.columns.name, folder.training_sizes.name}
    whole = folder.folds.name in known
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


def leftovers(out: Path) -> list[Path]:
    """Return what `sweep` would remove that no process uses, without asking for locks."""
    found = [path for path in _temporaries(out) if has_writer(path.name) is False]
    watch = Watch(once=True)
    for lock in [out / _LOCK, *out.glob(f"cells/*/*/fold-*/seed-*/{_LOCK}")]:
        holder = holder_of(lock)
        if holder is not None and watch.has_ended(lock, holder):
            found += [lock, *lock.parent.glob("lock-*.beat")]
    return sorted(found)


def remove_leftover(path: Path) -> None:
    """Remove one of `leftovers`, unless a process has taken its lock over meanwhile; never raises."""
    with suppress(OSError):
        if path.name == _LOCK:
            free(path, Watch(once=True))
        elif path.suffix == ".beat" and (holder := holder_of(path.with_name(_LOCK))) is not None:
            # Freeing a lock removes its owner's sign of life; this one is of another owner.
            if holder.token and path != beat_of(path.with_name(_LOCK), holder.token):
                remove(path)
        else:
            remove(path)


def sweep(out: Path) -> None:
    """Remove what killed runs left half-written in a run folder; never raises.

    That is temporary files and folders, locks, signs of work that has ended, and cells in which there is
    nothing to go on from. What belongs to a process that runs stays, and so does the folder of a cell that
    another process works on. Where it cannot be known, since the process was another machine's, files go
    that are an hour older than one that is made now.
    """
    with suppress(OSError):
        now_s = time_on(out)
        for path in _temporaries(out):
            if not _CELL.match(path.relative_to(out).as_posix()):
                _remove_unless_used(path, now_s)
    for folder in out.glob("cells/*/*/fold-*/seed-*"):
        with suppress(OSError):
            _sweep_cell(folder)


def sweep_held(folder: Path) -> None:
    """Remove what is half-written in the folder of a cell that this process holds; never raises.

    Whoever wrote there before has ended; processes that wait for the cell have files of their own there.
    """
    for path in _temporaries(folder):
        if not has_writer(path.name):
            remove(path)
    for path in [*folder.glob("lock-*.beat"), folder / "progress.json"]:
        remove(path)


def _sweep_cell(folder: Path) -> None:
    """Sweep the folder of a cell where that is needed, and nobody works there."""
    cell = CellFolder(folder)
    traces = [cell.lock, cell.progress, *folder.glob("lock-*.beat"), *_temporaries(folder)]
    if cell.record.exists() and not any(path.exists() for path in traces):
        return
    lock = Lock(cell.lock, watch=Watch(once=True), beats=False)
    if lock.take() is not None:
        return
    with lock:
        sweep_held(folder)
        if not cell.record.exists():
            for place, _, _ in os.walk(folder, topdown=False):
                if Path(place) != folder:
                    _remove_if_empty(Path(place))
            if {path.name for path in folder.iterdir()} <= {cell.lock.name, cell.log.name}:
                cell.log.unlink(missing_ok=True)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _temporaries(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        yield from (Path(place, name) for name in [*folders, *files] if name.startswith(_TEMPORARY))
        folders[:] = [name for name in folders if not name.startswith(_TEMPORARY)]


def _remove_unless_used(path: Path, now_s: float) -> None:
    used = has_writer(path.name)
    if used is None:
        used = now_s - path.lstat().st_mtime <= _LITTER_AGE_S
    if not used:
        remove(path)
