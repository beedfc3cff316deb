"""The stage that harmonizes the source scan of a tested pair."""

from __future__ import annotations

import logging
from dataclasses import replace

from harmbench.code_keys import stage_code
from harmbench.errors import MethodError
from harmbench.files.names import file_label, same_on_disk
from harmbench.guard import fingerprint, method_call
from harmbench.meter import Meter
from harmbench.method import Method
from harmbench.results import REAL_SCANS
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pair_scans import PairScans
from harmbench.runner.pairs import SessionPair
from harmbench.runner.pieces import with_volume
from harmbench.runner.scoring import finish_volume
from harmbench.storage import key_of
from harmbench.task import Progress
from harmbench.volume import Volume, write

__all__ = ["harmonize", "harmonize_key", "is_harmonized", "is_stored"]

log = logging.getLogger(__name__)


def harmonize_key(context: RunContext, cell: Cell, record: CellRecord, pair: SessionPair) -> str:
    """SHA-256 of what a harmonized volume depends on: the fit, the scan, and how it is finished.

    The volume of a control may be a real scan itself.
    """
    session = context.real_scan(cell, pair) or pair.source
    return key_of(
        "harmonize",
        record.key("fit"),
        context.input_keys[pair.subject, session],
        context.experiment.scoring.mask_background,
        stage_code("harmonize"),
    )


def is_stored(context: RunContext, cell: Cell, pair: SessionPair) -> bool:
    """Whether a pair's harmonized volume is on disk; that of a control may be a real scan."""
    return cell.method in REAL_SCANS or context.folder.cell(cell).volume(pair.name).is_file()


def is_harmonized(context: RunContext, cell: Cell, record: CellRecord, pair: SessionPair) -> bool:
    """Whether a pair's harmonized volume is on disk and current; whether it is whole is not asked."""
    key = harmonize_key(context, cell, record, pair)
    return record.key("harmonize", pair.name) == key and is_stored(context, cell, pair)


def harmonize(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    scans: PairScans,
    method: Method | None,
    progress: Progress,
) -> CellRecord:
    """Harmonize a pair's source scan and store the volume; its scores are then to be made again.

    Writing the record is the caller's.

    Args:
        context: what the cells of the run share.
        cell: the cell.
        record: its record.
        scans: of a tested pair.
        method: fitted; `None` for a control whose volume is a real scan.
        progress: called with progress.

    Raises:
        MethodError: the method's output breaks the contract, or it changed its input.
    """
    pair = scans.pair
    key = harmonize_key(context, cell, record, pair)
    folder = context.folder.cell(cell)
    if method is not None:
        source = scans.source_for_method()
        for old in folder.beside.glob("*"):  # an earlier fit may have given other volumes
            (old / folder.volume(pair.name).name).unlink(missing_ok=True)
        task = replace(context.task(cell, progress), keep=_Kept(folder, pair.name))
        before = fingerprint(source.data)
        with Meter() as meter:
            with method_call():
                output = method.harmonize(source, task)
            if fingerprint(source.data) != before:
                raise MethodError(
                    f"{cell.method} changed the scan that it was given; a method makes a new volume "
                    "(source.with_data), and what it is given stays as it is"
                )
            masked = context.experiment.scoring.mask_background
            finished, clipped = finish_volume(output, scans.source, mask_background=masked)
        if clipped:
            log.info("subject %s: %.3g %% of voxels were outside [0, 1]", pair.name, 100 * clipped)
        context.check_held()
        write(finished, folder.volume(pair.name))
        record = record.model_copy(update={"clipped": {**record.clipped, pair.name: clipped}})
        record = record.with_work("harmonize", meter, context.invocation, pair.name)
        record = with_volume(record, folder, pair.name)
    record = record.with_key("harmonize", key, pair.name).without_score(pair.name)
    return record.with_missing(pair.name, None)


class _Kept:
    """Stores what a method gives beside a harmonized volume.

    Args:
        folder: of the cell.
        pair: name of the pair whose volume it is.
    """

    def __init__(self, folder: CellFolder, pair: str) -> None:
        self._folder, self._pair = folder, pair
        self._taken: dict[str, str] = {}

    def __call__(self, name: str, volume: Volume) -> None:
        if not name or self._taken.setdefault(same_on_disk(file_label(name)), name) != name:
            raise MethodError(
                f"keep({name!r}): a name is not empty, and differs from others ("
                f"{', '.join(map(repr, self._taken.values()))}) by more than case"
            )
        write(volume, self._folder.kept(self._pair, name))
