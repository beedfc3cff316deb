"""One cell, start to end: fit, harmonize, segment, score.

Every stage's output carries a key of what produced it. A stage whose key is current is skipped, so
a killed run goes on where it stopped and an edit redoes what hangs on it, and no more.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from typing_extensions import override

from harmbench.code_keys import KEY_SCHEME
from harmbench.errors import describe
from harmbench.locks import LockLostError
from harmbench.method import Method
from harmbench.results import REAL_SCANS
from harmbench.runner.cell_record import CellRecord, MadeBy
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pair_scans import PairScans
from harmbench.runner.pieces import (
    damaged_labels,
    damaged_model,
    damaged_scan_labels,
    damaged_training,
    damaged_volume,
    mending,
    note_of,
)
from harmbench.runner.progress_file import WrittenProgress
from harmbench.runner.saving import Saving
from harmbench.runner.stages.fit import (
    MethodOfCell,
    fit,
    fit_key,
    forget_results,
    load_fitted,
    method_of,
)
from harmbench.runner.stages.harmonize import harmonize, is_harmonized, is_stored
from harmbench.runner.stages.score import add_failed_rows, is_scored, scan_label_paths, score
from harmbench.task import Progress

__all__ = ["abandon_cell", "begin", "close", "logged", "rescore_cell", "run_cell", "told"]

log = logging.getLogger(__name__)


def run_cell(context: RunContext, cell: Cell, progress: Progress) -> CellRecord:
    """Run one cell and return its record; never raises for a failure of the method.

    A failure is kept: the record's status is `failed`, the log has the traceback, and every tested
    pair without a result gets rows with the status `failed`.

    Raises:
        LockLostError: another process has taken the cell over; nothing more is written to it.
    """
    folder = context.folder.cell(cell)
    record = begin(context, cell, folder.read_record())
    scores = CellScores.of(folder, record)
    errors: list[str] = []
    method: Method | None = None
    with logged(folder.log), WrittenProgress(folder.progress, progress) as watched:
        split = context.split(cell)
        log.info("start %s: train %s, test %s", cell, split.train_subjects, split.test_subjects)
        try:
            if cell.method not in REAL_SCANS:
                planned = method_of(context, cell)
                settings = planned.settings.model_dump(mode="json")
                record = record.model_copy(update={"uses": str(planned.uses), "settings": settings})
                method, record = _fitted(context, cell, record, planned, scores, watched)
        except LockLostError:
            raise
        except Exception as error:  # noqa: BLE001 - any failure of a method becomes a row
            errors.append(told("fit", error))
        else:
            record = _run_pairs(context, cell, record, scores, method, watched, errors)
        return close(context, cell, record, scores, errors)


def _fitted(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    planned: MethodOfCell,
    scores: CellScores,
    progress: Progress,
) -> tuple[Method, CellRecord]:
    """Load the stored fit where it is current and whole; else forget what hangs on it, and fit."""
    folder = context.folder.cell(cell)
    if record.key("fit") == fit_key(context, cell, planned):
        found = damaged_model(record, folder)
        if folder.model.is_dir() and not found:
            unused = [
                f"{what}; no result depends on it" for what in damaged_training(record, folder)
            ]
            return load_fitted(context, cell, planned), mending(record, unused)
        record = mending(record, found)
    record = forget_results(context, cell, record, scores)
    return fit(context, cell, record, planned, progress)


def begin(context: RunContext, cell: Cell, before: CellRecord | None) -> CellRecord:
    """Return the record of a cell that starts: what is stored stays known."""
    known = before or CellRecord(
        method=cell.method,
        source=cell.direction.source,
        target=cell.direction.target,
        fold=cell.fold,
        seed=cell.seed,
        keys={},
        stages={},
        clipped={},
        made_by=MadeBy(),
        checksums={},
        unsegmented={},
    )
    broken = context.folder.cell(cell).why_damaged() if before is None else None
    split = context.split(cell)
    pairs = {} if split.simple else {"train_pairs": split.train, "test_pairs": split.test}
    reduced = {"reduced_to": cell.train_subjects} if cell.train_subjects else {}
    return known.model_copy(
        update={
            "subjects": split.test_subjects,
            **pairs,
            **reduced,
            "segmenter": context.segmenter,
            "device": context.device,
            "rescale": context.experiment.data.rescale,
            "mask_background": context.experiment.scoring.mask_background,
            "status": "running",
            "error": "",
            "mended": (f"{broken}; the cell is made again",) if broken else (),
            "key_scheme": KEY_SCHEME,
            **({"maps": "volumes"} if _corrects(context, cell, before) else {}),
        }
    )


def _corrects(context: RunContext, cell: Cell, before: CellRecord | None) -> bool:
    """Whether a cell is of a volume correction; one of an earlier run may not be in the settings."""
    known = before is not None and before.maps == "volumes"
    return known or cell.method in context.experiment.all_corrections()


def _run_pairs(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    scores: CellScores,
    method: Method | None,
    progress: Progress,
    errors: list[str],
) -> CellRecord:
    """Harmonize and score every tested pair; what fails is added to `errors`, the others go on."""
    folder, pairs = context.folder.cell(cell), context.split(cell).test
    save = Saving(context, cell, scores)
    for done, pair in enumerate(pairs):
        progress("subjects", done, len(pairs))
        try:
            scans = PairScans(context.inputs, pair)
            found = damaged_volume(record, folder, pair.name)
            if found or not is_harmonized(context, cell, record, pair):
                record = mending(record, found)
                record = harmonize(context, cell, record, scans, method, progress)
                save(record, scored=False)
            record = _scored(context, cell, record, scans, save)
        except LockLostError:
            raise
        except Exception as error:  # noqa: BLE001 - the other pairs go on
            errors.append(told(f"subject {pair.name}", error))
    progress("subjects", len(pairs), len(pairs))
    return record


def _scored(
    context: RunContext, cell: Cell, record: CellRecord, scans: PairScans, save: Saving
) -> CellRecord:
    """Score a pair's stored volume, unless its scores and all that they came from are as they were."""
    folder, scores, pair = context.folder.cell(cell), save.scores, scans.pair
    labels = damaged_labels(record, folder, pair.name, context.segmenter)
    if labels:  # without their note, labels are made again
        note_of(folder.labels(pair.name, context.segmenter)).unlink(missing_ok=True)
    found = [*labels, *damaged_scan_labels(record, scan_label_paths(context, cell, pair))]
    if record.key("score", pair.name) is not None and not scores.is_whole(pair.name):
        found.append(f"{folder.scores.name}: the rows of {pair.name} are damaged or missing")
    if is_scored(context, record, pair, scores) and not found:
        return record
    record = mending(record.without_score(pair.name), found)
    record = score(context, cell, record, scans, scores)
    save(record, scored=True)
    return record


def rescore_cell(context: RunContext, cell: Cell, progress: Progress) -> CellRecord:
    """Score a cell's stored volumes again, without its method, and return its record.

    What is current is kept. A pair without a stored volume stays as it is.

    Raises:
        LockLostError: another process has taken the cell over; nothing more is written to it.
    """
    folder = context.folder.cell(cell)
    # What the method was and how it was fitted stays as recorded.
    before = folder.read_record() or begin(context, cell, None)
    record = before.model_copy(update={"segmenter": context.segmenter, "mended": ()})
    scores = CellScores.of(folder, record)
    save, errors = Saving(context, cell, scores), list[str]()
    pairs = context.split(cell).test
    with logged(folder.log), WrittenProgress(folder.progress, progress) as watched:
        log.info("rescore %s", cell)
        for done, pair in enumerate(pairs):
            watched("subjects", done, len(pairs))
            if record.key("harmonize", pair.name) is None or not is_stored(context, cell, pair):
                errors.append(before.error or f"subject {pair.name}: no volume")
                continue
            if found := damaged_volume(record, folder, pair.name):
                errors.append(f"subject {pair.name}: {'; '.join(found)}; run the cell again")
                continue
            try:
                record = _scored(context, cell, record, PairScans(context.inputs, pair), save)
            except LockLostError:
                raise
            except Exception as error:  # noqa: BLE001 - the other pairs go on
                errors.append(told(f"subject {pair.name}", error))
        watched("subjects", len(pairs), len(pairs))
        return close(context, cell, record, scores, errors)


def abandon_cell(context: RunContext, cell: Cell, reason: str) -> CellRecord:
    """Record a cell whose process died: its record and its rows say so."""
    folder = context.folder.cell(cell)
    record = begin(context, cell, folder.read_record())
    with logged(folder.log):
        log.error("%s", reason)
        scores = CellScores.of(folder, record)
        return close(context, cell, record, scores, [reason])


def close(
    context: RunContext, cell: Cell, record: CellRecord, scores: CellScores, errors: Sequence[str]
) -> CellRecord:
    """Say how the cell ended, in its rows and in its record.

    Raises:
        LockLostError: another process has taken the cell over; nothing is written.
    """
    record = add_failed_rows(context, cell, record, context.split(cell).test, scores)
    status = "incomplete" if record.unsegmented else "ok"
    update = {
        "status": "failed" if errors else status,
        "error": "; ".join(dict.fromkeys(errors)),
    }
    record = record.model_copy(update=update)
    Saving(context, cell, scores).write(record)
    log.info("end %s: %s", cell, record.status)
    return record


def told(what: str, error: Exception) -> str:
    """Log a failure, and return it as one line."""
    log.error("%s failed\n%s", what, "".join(traceback.format_exception(error)))
    return f"{what}: {describe(error)}"


class _LogFile(logging.FileHandler):
    """A log file; a line that a full disk does not take is left out, since the cell fails by itself."""

    @override
    def handleError(self, record: logging.LogRecord) -> None: ...


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append what harmbench logs to a cell's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("harmbench")
    before = root.level
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        with suppress(OSError):  # of a full disk: what was not written yet
            handler.close()
