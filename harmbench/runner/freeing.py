"""Freeing the space of what can be made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from harmbench.errors import RunError
from harmbench.holders import Watch, holder_of
from harmbench.locks import Lock
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.folder import RunFolder
from harmbench.runner.leftovers import leftovers, remove_leftover
from harmbench.storage import TEMPORARY_PREFIX, has_writer, remove

__all__ = ["FREED", "KINDS", "Freed", "Kind", "free_space"]

Kind = Literal["leftovers", "checkpoints", "volumes", "labels", "models", "scores"]
"""What can be freed: files that killed processes left, checkpoints of trainings that have ended, harmonized
volumes with what was given beside them, labels, fitted models, and rows of scores."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
FREED: Final[tuple[Kind, ...]] = ("leftovers", "checkpoints", "volumes", "labels")
"""What is freed where nothing else is asked for."""

_AGAIN: Final[Mapping[Kind, str]] = {
    "leftovers": "nothing is lost",
    "checkpoints": "nothing is lost: these trainings have ended",
    "volumes": "a rerun harmonizes, segments and scores them again",
    "labels": "a rerun segments and scores again",
    "models": "a rerun trains again, and makes all that follows",
    "scores": "a rerun scores again",
}


@dataclass(frozen=True, slots=True)
class Freed:
    """What was freed, or would be, of one kind.

    Attributes:
        kind: what.
        files: how many.
        bytes: how much space.
        again: what a rerun does about it.
    """

    kind: Kind
    files: int
    bytes: int
    again: str


def free_space(
    root: Path, kinds: Collection[str] = FREED, *, dry_run: bool = False
) -> tuple[list[Freed], list[str]]:
    """Remove what a rerun makes again; cells that a process works on are left alone.

    Labels of real scans, which all cells share, are left alone while a process works on any cell.

    Args:
        root: the run folder.
        kinds: what to remove.
        dry_run: whether to say what would be removed, and to leave it.

    Returns:
        What was freed, by kind; and what was left alone, each with its process.

    Raises:
        ReportError: not a run folder.
        RunError: a kind is unknown, or a run has been writing its tables for too long.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise RunError(f"{', '.join(unknown)}: nothing of that kind; there are {', '.join(KINDS)}")
    folder = RunFolder(root.absolute())
    folder.read_record()
    counts: dict[Kind, list[int]] = {kind: [] for kind in KINDS if kind in kinds}
    places = sorted(folder.root.glob("cells/*/*/fold-*/seed-*"))
    left = []
    if "leftovers" in counts:
        _take(leftovers(folder.root), counts["leftovers"], dry_run, remove_leftover)
    if "labels" in counts:
        left += _free_scan_labels(folder, places, counts["labels"], dry_run)
    for place in places:
        busy = _free_cell(CellFolder(place), counts, dry_run)
        if busy:
            left.append(f"{place.relative_to(folder.root)}: {busy} works on it")
    freed = [Freed(kind, len(own), sum(own), _AGAIN[kind]) for kind, own in counts.items()]
    return freed, left


def _free_scan_labels(
    folder: RunFolder, places: Iterable[Path], sizes: list[int], dry_run: bool
) -> list[str]:
    """Free the labels of real scans, unless a process may use them; returns which one does."""
    if dry_run:
        busy = {place: _who_works_on(CellFolder(place)) for place in places}
        found = [(place, holder) for place, holder in busy.items() if holder]
        return _free_unless(folder, found, sizes, dry_run)
    with ExitStack() as held:
        held.enter_context(folder.locked())
        found = []
        for place in places:
            lock = Lock(CellFolder(place).lock, watch=Watch(once=True), beats=False)
            holder = lock.take()
            if holder is None:
                held.enter_context(lock)
            else:
                found.append((place, str(holder)))
        return _free_unless(folder, found, sizes, dry_run)


def _free_unless(
    folder: RunFolder, busy: Iterable[tuple[Path, str]], sizes: list[int], dry_run: bool
) -> list[str]:
    """Free labels of real scans where no cell is busy and none are being written; else say who is at work."""
    for place, holder in busy:
        where = place.relative_to(folder.root)
        return [f"segmentations: {holder} works on {where}, and may need them"]
    labels = list(_files(folder.root / "segmentations"))
    finished = [path for path in labels if not path.name.startswith(TEMPORARY_PREFIX)]
    if any(has_writer(path.name) for path in set(labels) - set(finished)):
        return ["segmentations: a process is writing there"]
    _take(finished, sizes, dry_run)
    return []


def _who_works_on(cell: CellFolder) -> str:
    """Say which process works on a cell; empty where none does."""
    holder = holder_of(cell.lock)
    busy = holder is not None and not Watch(once=True).has_ended(cell.lock, holder)
    return str(holder) if busy else ""


def _free_cell(cell: CellFolder, counts: Mapping[Kind, list[int]], dry_run: bool) -> str:
    """Free what a cell keeps; returns which process works on it, and nothing is freed."""
    if dry_run:
        busy = _who_works_on(cell)
        if not busy:
            _free_files(cell, counts, dry_run)
        return busy
    lock = Lock(cell.lock, watch=Watch(once=True))
    holder = lock.take()
    if holder is not None:
        return str(holder)
    with lock:
        _free_files(cell, counts, dry_run)
    return ""


def _free_files(cell: CellFolder, counts: Mapping[Kind, list[int]], dry_run: bool) -> None:
    record = cell.read_record()
    fitted = record is not None and record.key("fit") is not None and cell.model.is_dir()
    places: Mapping[Kind, Iterable[Path]] = {
        "checkpoints": cell.training.glob("checkpoint*") if fitted else (),
        "volumes": (*_files(cell.root / "volumes"), *_files(cell.beside)),
        "labels": _files(cell.segmentations),
        "models": _files(cell.model),
        "scores": [cell.scores] if cell.scores.is_file() else (),
    }
    for kind, paths in places.items():
        if kind in counts:
            _take(paths, counts[kind], dry_run)
    if "models" in counts and not dry_run:
        remove(cell.model)


def _take(
    paths: Iterable[Path],
    sizes: list[int],
    dry_run: bool,
    away: Callable[[Path], None] = remove,
) -> None:
    for path in list(paths):
        inside = _files(path) if path.is_dir() and not path.is_symlink() else [path]
        sizes.append(sum(own.lstat().st_size for own in inside))
        if not dry_run:
            away(path)


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
