"""Freeing the space of what can be made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from harmbench.errors import RunError
from harmbench.holders import Watch, holder_of
from harmbench.locks import Lock
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.folder import RunFolder
from harmbench.runner.leftovers import leftovers, remove_leftover
from harmbench.storage import remove

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

    Args:
        root: the run folder.
        kinds: what to remove.
        dry_run: whether to say what would be removed, and to leave it.

    Returns:
        What was freed, by kind; and the cells that were left alone, each with its process.

    Raises:
        ReportError: not a run folder.
        RunError: a kind is unknown.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise RunError(f"{', '.join(unknown)}: nothing of that kind; there are {', '.join(KINDS)}")
    folder = RunFolder(root.absolute())
    folder.read_record()
    counts: dict[Kind, list[int]] = {kind: [] for kind in KINDS if kind in kinds}
    left = []
    if "leftovers" in counts:
        _take(leftovers(folder.root), counts["leftovers"], dry_run, remove_leftover)
    if "labels" in counts:
        _take(_files(folder.root / "segmentations"), counts["labels"], dry_run)
    for place in sorted(folder.root.glob("cells/*/*/fold-*/seed-*")):
        busy = _free_cell(CellFolder(place), counts, dry_run)
        if busy:
            left.append(f"{place.relative_to(folder.root)}: {busy} works on it")
    freed = [Freed(kind, len(own), sum(own), _AGAIN[kind]) for kind, own in counts.items()]
    return freed, left


def _free_cell(cell: CellFolder, counts: Mapping[Kind, list[int]], dry_run: bool) -> str:
    """Free what a cell keeps; returns which process works on it, and nothing is freed."""
    if dry_run:
        holder = holder_of(cell.lock)
        if holder is not None and not Watch(once=True).has_ended(cell.lock, holder):
            return str(holder)
        _free_files(cell, counts, dry_run)
        return ""
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
