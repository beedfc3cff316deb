"""The stage that harmonizes a test subject's source scan."""

from __future__ import annotations

import logging
from dataclasses import replace

from harmbench.code_keys import stage_code
from harmbench.errors import MethodError
from harmbench.files.names import file_label, same_on_disk
from harmbench.guard import method_call
from harmbench.meter import Meter
from harmbench.method import Method
from harmbench.results import CEILING
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell, CellFolder
from harmbench.runner.scoring import finish_volume
from harmbench.storage import key_of
from harmbench.task import Progress
from harmbench.volume import Volume, write

__all__ = ["harmonize", "harmonize_key", "is_harmonized", "is_stored"]

log = logging.getLogger(__name__)


def harmonize_key(context: RunContext, cell: Cell, record: CellRecord, subject: str) -> str:
    """SHA-256 of what a harmonized volume depends on: the fit, the scan, and how it is finished.

    The ceiling's volume is the target scan itself.
    """
    way = cell.direction
    session = way.target if cell.method == CEILING else way.source
    return key_of(
        "harmonize",
        record.key("fit"),
        context.input_keys[subject, session],
        context.experiment.scoring.mask_background,
        stage_code("harmonize"),
    )


def is_stored(context: RunContext, cell: Cell, subject: str) -> bool:
    """Whether a subject's harmonized volume is on disk; the ceiling's is the reference."""
    return cell.method == CEILING or context.folder.cell(cell).volume(subject).is_file()


def is_harmonized(context: RunContext, cell: Cell, record: CellRecord, subject: str) -> bool:
    """Whether a subject's harmonized volume is on disk and current."""
    key = harmonize_key(context, cell, record, subject)
    return record.key("harmonize", subject) == key and is_stored(context, cell, subject)


def harmonize(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    subject: str,
    method: Method | None,
    progress: Progress,
) -> CellRecord:
    """Harmonize a subject's source scan and store the volume; its scores are then to be made again.

    Args:
        context: what the cells of the run share.
        cell: the cell.
        record: its record.
        subject: a test subject.
        method: fitted; `None` for the ceiling, whose volume is the reference.
        progress: called with progress.

    Raises:
        MethodError: the method's output breaks the contract.
    """
    key = harmonize_key(context, cell, record, subject)
    folder = context.folder.cell(cell)
    if method is not None:
        source = context.inputs.volume(subject, cell.direction.source)
        for old in folder.beside.glob("*"):  # an earlier fit may have given other volumes
            (old / folder.volume(subject).name).unlink(missing_ok=True)
        task = replace(context.task(cell, progress), keep=_Kept(folder, subject))
        with Meter() as meter:
            with method_call():
                output = method.harmonize(source, task)
            masked = context.experiment.scoring.mask_background
            finished, clipped = finish_volume(output, source, mask_background=masked)
        if clipped:
            log.info("subject %s: %.3g %% of voxels were outside [0, 1]", subject, 100 * clipped)
        write(finished, folder.volume(subject))
        record = record.model_copy(update={"clipped": {**record.clipped, subject: clipped}})
        record = record.with_work("harmonize", meter, context.invocation, subject)
    record = record.with_key("harmonize", key, subject).without_score(subject)
    record = record.with_missing(subject, None)
    folder.write_record(record)
    return record


class _Kept:
    """Stores what a method gives beside a subject's harmonized volume.

    Args:
        folder: of the cell.
        subject: whose volume it is.
    """

    def __init__(self, folder: CellFolder, subject: str) -> None:
        self._folder, self._subject = folder, subject
        self._taken: dict[str, str] = {}

    def __call__(self, name: str, volume: Volume) -> None:
        if not name or self._taken.setdefault(same_on_disk(file_label(name)), name) != name:
            raise MethodError(
                f"keep({name!r}): a name is not empty, and differs from others ("
                f"{', '.join(map(repr, self._taken.values()))}) by more than case"
            )
        write(volume, self._folder.kept(self._subject, name))
