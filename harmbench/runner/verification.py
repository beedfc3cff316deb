"""What of a run folder is damaged, stale or missing, and what a rerun makes of it; nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from harmbench.code_keys import KEY_SCHEME
from harmbench.config import load_experiment
from harmbench.errors import HarmbenchError, VolumeError
from harmbench.holders import Watch, holder_of
from harmbench.results import REAL_SCANS
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.folder import RunFolder
from harmbench.runner.invocation_files import damaged_records
from harmbench.runner.leftovers import leftovers
from harmbench.runner.pieces import (
    damaged_labels,
    damaged_model,
    damaged_scan_labels,
    damaged_training,
    damaged_volume,
    scan_labels_of,
)
from harmbench.runner.progress_file import read_planned
from harmbench.runner.stages.score import metrics_key
from harmbench.runner.tables import REMADE_FROM, damaged_tables
from harmbench.storage import file_key
from harmbench.volume import read

__all__ = ["Finding", "State", "verify_run"]

State = Literal["damaged", "stale", "missing", "failed", "unfinished", "leftover", "unverified"]
"""What is wrong with a piece; `unverified`: an earlier harmbench wrote it, without sums."""

_FIT: Final = "it is fitted again, and all that follows"
_HARMONIZE: Final = "it is harmonized, segmented and scored again"
_SCORE: Final = "it is scored again"
_GOES_ON: Final = "it goes on there"


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of a run folder that is not as it should be.

    Attributes:
        piece: the file or folder, relative to the run folder.
        state: what is wrong.
        why: the details.
        rerun: what the run's own command does about it.
    """

    piece: str
    state: State
    why: str
    rerun: str

    @property
    def wrong(self) -> bool:
        """Whether something is to be done."""
        return self.state not in {"leftover", "unverified"}


def verify_run(root: Path) -> list[Finding]:
    """Check every file of a run folder against the sums that were recorded when it was written.

    Real scans are checked too. Of stale pieces those are found that the folder alone shows: keys of an
    earlier harmbench, and scores by other code or settings.

    Raises:
        ReportError: not a run folder, or a later harmbench wrote it.
    """
    folder = RunFolder(root.absolute())
    if not folder.is_run:
        folder.read_record()
    found = [*_of_the_run(folder), *_of_real_scans(folder)]
    places = {path.parent for path in folder.root.glob("cells/*/*/fold-*/seed-*/cell.json")}
    planned = {folder.root / place for place in read_planned(folder.root).values()}
    found += _of_scan_labels(folder)
    wanted = _asked(folder)
    for place in sorted(places | planned | set(folder.root.glob("cells/*/*/fold-*/seed-*"))):
        found += _of_cell(folder, place, wanted)
    for path in leftovers(folder.root):
        name = path.relative_to(folder.root).as_posix()
        found.append(Finding(name, "leftover", "a process that has ended left it", "removed"))
    return found


def _of_the_run(folder: RunFolder) -> Iterator[Finding]:
    for sentence in damaged_records(folder.root):
        path, _, why = sentence.partition(": ")
        why, _, rerun = why.rpartition("; ")
        yield Finding(_short(folder, path), "damaged", why, rerun)
    for name, why in damaged_tables(folder).items():
        state: State = "missing" if why == "missing" else "damaged"
        yield Finding(name, state, why, f"made again from {REMADE_FROM[name]}")


def _of_real_scans(folder: RunFolder) -> Iterator[Finding]:
    try:
        scans = folder.input_scans().scans.values()
    except HarmbenchError:
        return  # told as a table
    for scan in scans:
        for path, key in (
            (scan.path, scan.sha256),
            (scan.mask, scan.mask_sha256),
            (scan.lesions, scan.lesions_sha256),
        ):
            if path is None or not key:
                continue
            rerun = "the run is refused: put the file back, or choose another --out"
            if not path.is_file():
                yield Finding(str(path), "missing", "a scan of the run is gone", rerun)
            elif file_key(path) != key:
                yield Finding(str(path), "damaged", "a scan has changed since the run", rerun)


def _of_scan_labels(folder: RunFolder) -> Iterator[Finding]:
    """Read the labels of real scans, which have a checksum in their compression."""
    for path in sorted((folder.root / "segmentations").glob("*.nii.gz")):
        if path.name.startswith("."):
            continue
        try:
            read(path, kind="label")
        except VolumeError as error:
            why = str(error).removeprefix(f"{path}: ")
            yield Finding(_short(folder, path), "damaged", why, "the scan is segmented again")


@dataclass(frozen=True)
class _Asked:
    """What the settings of a run's last command ask for.

    Attributes:
        metrics: key of the metrics; empty where it is not known.
        methods: labels of the methods that the user named.
    """

    metrics: str = ""
    methods: frozenset[str] = frozenset()


def _asked(folder: RunFolder) -> _Asked:
    try:
        experiment = load_experiment(folder.config)
    except HarmbenchError:
        return _Asked()
    return _Asked(metrics_key(experiment.scoring), frozenset(experiment.methods))


def _of_cell(folder: RunFolder, place: Path, asked: _Asked) -> Iterator[Finding]:
    cell, name = CellFolder(place), _short(folder, place)
    holder = holder_of(cell.lock)
    if holder is not None and not Watch(once=True).has_ended(cell.lock, holder):
        busy = f"{holder} works on it; its files are not checked"
        yield Finding(name, "unfinished", busy, "it is left to that process")
        return
    record = cell.read_record()
    if record is None:
        if broken := cell.why_damaged():
            yield Finding(f"{name}/{cell.record.name}", "damaged", broken, "the cell is made again")
        else:
            yield Finding(name, "missing", "the cell has no record", "the cell is made")
        return
    for piece, state, why, rerun in _of_record(folder, cell, record, asked):
        yield Finding(_short(folder, place / piece) if piece else name, state, why, rerun)


Part = tuple[str, State, str, str]


def _of_record(
    folder: RunFolder, cell: CellFolder, record: CellRecord, asked: _Asked
) -> Iterator[Part]:
    if record.status == "running":
        yield "", "unfinished", "its process has ended", _GOES_ON
    elif record.status == "failed" and not _is_control(record, asked):
        yield "", "failed", record.error.partition("\n")[0], "what failed is tried again"
    if record.key_scheme != KEY_SCHEME:
        yield "", "stale", "its keys are those of an earlier harmbench", "the cell is made again"
    made_nothing = record.maps == "volumes" or record.method in REAL_SCANS
    if record.keys and not record.files and not made_nothing:
        yield "", "unverified", "an earlier harmbench wrote it, without sums", "it is used as it is"
    yield from _each(damaged_model(record, cell), _FIT)
    yield from _each(damaged_training(record, cell), "it stays: no result depends on it")
    if not made_nothing:
        if record.key("fit") is not None and not cell.model.is_dir():
            yield cell.model.name, "missing", "the fitted model is gone", _FIT
        for pair in record.tested:
            made = record.key("harmonize", pair.name) is not None
            known = f"volumes/{cell.volume(pair.name).name}"
            if made and known not in record.files and not cell.volume(pair.name).is_file():
                yield known, "missing", "the harmonized volume is gone", _HARMONIZE
    yield from _of_scores(folder, cell, record, asked)


def _is_control(record: CellRecord, asked: _Asked) -> bool:
    """Whether a cell is of a volume correction that nobody named: few subjects may not be enough for it."""
    return record.maps == "volumes" and record.method not in asked.methods


def _of_scores(
    folder: RunFolder, cell: CellFolder, record: CellRecord, asked: _Asked
) -> Iterator[Part]:
    scores = CellScores.of(cell, record)
    for pair in record.tested:
        yield from _each(damaged_volume(record, cell, pair.name), _HARMONIZE)
        labels = damaged_labels(record, cell, pair.name, record.segmenter)
        yield from _each(labels, "it is segmented and scored again")
        if record.key("score", pair.name) is not None and not scores.is_whole(pair.name):
            state: State = "damaged" if cell.scores.is_file() else "missing"
            yield cell.scores.name, state, f"the rows of {pair.name}", _SCORE
    known = scan_labels_of(record, record.segmenter)
    scans = [folder.root / "segmentations" / name for name in known]
    for sentence in damaged_scan_labels(record, scans):
        state = "missing" if sentence.endswith(": missing") else "damaged"
        yield "", state, sentence, "it is segmented and scored again"
    if record.metrics and asked.metrics and record.metrics != asked.metrics:
        yield cell.scores.name, "stale", "scores by other code or settings", _SCORE


def _each(sentences: list[str], rerun: str) -> Iterator[Part]:
    for sentence in sentences:
        name, _, why = sentence.partition(": ")
        yield name, "missing" if why == "missing" else "damaged", why, rerun


def _short(folder: RunFolder, path: Path | str) -> str:
    own = Path(path)
    inside = own.is_relative_to(folder.root)
    return own.relative_to(folder.root).as_posix() if inside else str(path)
