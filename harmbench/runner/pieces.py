"""The files of a cell that its record has sums of, and which of them are not as they were written.

A piece is what one stage makes, and what is made again where any of its files is damaged: the model, a
pair's harmonized volume with what the method gave beside it, and a pair's labels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from harmbench.errors import RunError
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.storage import file_key
from harmbench.sums import file_sums, why_not_as_written

__all__ = [
    "damaged_labels",
    "damaged_model",
    "damaged_scan_labels",
    "damaged_training",
    "damaged_volume",
    "mending",
    "note_of",
    "require_model",
    "scan_labels_of",
    "with_labels",
    "with_model",
    "with_volume",
]

log = logging.getLogger(__name__)


def mending(record: CellRecord, found: Sequence[str]) -> CellRecord:
    """Return the record with what was found damaged and is made again; the log says it too."""
    for sentence in found:
        log.warning("%s", sentence)
    return record.mending(*found)


def with_model(record: CellRecord, folder: CellFolder) -> CellRecord:
    """Return the record with the sums of the fitted model, and of what its training leaves."""
    training = [path for path in _files(folder.training) if not path.name.startswith("checkpoint")]
    paths = [*_files(folder.model), *training]
    return record.with_files(
        file_sums(folder.root, paths), [*_under(record, "model"), *_under(record, "training")]
    )


def with_volume(record: CellRecord, folder: CellFolder, pair: str) -> CellRecord:
    """Return the record with the sums of a pair's volume, and of what was given beside it."""
    there = [path for path in _volume_paths(folder, pair) if path.is_file()]
    return record.with_files(file_sums(folder.root, there), _volume_names(record, folder, pair))


def with_labels(
    record: CellRecord, folder: CellFolder, pair: str, segmenter: str, scans: Iterable[Path]
) -> CellRecord:
    """Return the record with the sums of a pair's labels.

    Args:
        record: of the cell.
        folder: of the cell.
        pair: name of a tested pair.
        segmenter: its name.
        scans: labels of the real scans that the pair was scored with; they may be absent.
    """
    paths = _label_paths(folder, pair, segmenter)
    there = [path for path in paths if path.is_file()]
    record = record.with_files(file_sums(folder.root, there), _names(folder, paths))
    shared = {path.name: file_key(path) for path in scans if path.is_file()}
    return record.model_copy(
        update={"scan_labels": {**scan_labels_of(record, segmenter), **shared}}
    )


def scan_labels_of(record: CellRecord, segmenter: str) -> dict[str, str]:
    """Return the sums of labels of real scans by one segmenter; those of earlier ones are not made again."""
    ending = f"_{segmenter}.nii.gz"
    return {name: key for name, key in record.scan_labels.items() if name.endswith(ending)}


def damaged_model(record: CellRecord, folder: CellFolder) -> list[str]:
    """Say what of the fitted model is not as it was written; empty where it has no sums."""
    return _damaged(record, folder, _under(record, "model"))


def require_model(record: CellRecord, folder: CellFolder) -> None:
    """Raise `RunError` unless the fitted model is as it was written, as far as that is recorded."""
    found = damaged_model(record, folder)
    if found:
        raise RunError(f"{folder.root}: {'; '.join(found)}. The run's own command fits it again")


def damaged_training(record: CellRecord, folder: CellFolder) -> list[str]:
    """Say what the training left that is not as it was written; no stage reads these files."""
    return _damaged(record, folder, _under(record, "training"))


def damaged_volume(record: CellRecord, folder: CellFolder, pair: str) -> list[str]:
    """Say what of a pair's volumes is not as it was written."""
    return _damaged(record, folder, _volume_names(record, folder, pair))


def damaged_labels(record: CellRecord, folder: CellFolder, pair: str, segmenter: str) -> list[str]:
    """Say what of the labels of a pair's volume is not as it was written."""
    return _damaged(record, folder, _names(folder, _label_paths(folder, pair, segmenter)))


def damaged_scan_labels(record: CellRecord, scans: Iterable[Path]) -> list[str]:
    """Say which labels of real scans are not those that a cell was scored with."""
    found = []
    for path in scans:
        wanted = record.scan_labels.get(path.name)
        if wanted is not None and (why := why_not_as_written(path, wanted)):
            found.append(f"segmentations/{path.name}: {why}")
    return found


def note_of(labels: Path) -> Path:
    """Return the file beside labels that says what they were made from."""
    return labels.with_name(labels.name.removesuffix(".nii.gz") + ".json")


def _damaged(record: CellRecord, folder: CellFolder, names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        wanted = record.files.get(name)
        if wanted is not None and (why := why_not_as_written(folder.root / name, wanted)):
            found.append(f"{name}: {why}")
    return found


def _under(record: CellRecord, place: str) -> list[str]:
    return [name for name in record.files if name.startswith(f"{place}/")]


def _names(folder: CellFolder, paths: Iterable[Path]) -> list[str]:
    return [path.relative_to(folder.root).as_posix() for path in paths]


def _volume_paths(folder: CellFolder, pair: str) -> list[Path]:
    volume = folder.volume(pair)
    return [volume, *(place / volume.name for place in sorted(folder.beside.glob("*")))]


def _volume_names(record: CellRecord, folder: CellFolder, pair: str) -> list[str]:
    """Return the names of a pair's volumes: those on disk, and recorded ones whose folder may be gone."""
    names = _names(folder, _volume_paths(folder, pair))
    ending = f"/{folder.volume(pair).name}"
    beside = [name for name in _under(record, folder.beside.name) if name.endswith(ending)]
    return list(dict.fromkeys([*names, *beside]))


def _label_paths(folder: CellFolder, pair: str, segmenter: str) -> list[Path]:
    labels = folder.labels(pair, segmenter)
    return [labels, note_of(labels)]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
