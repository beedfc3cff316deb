"""The stage that fits a cell's method, or loads it where the stored fit is current."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from harmbench.discovery import load_method, make_settings, method_code
from harmbench.guard import method_call
from harmbench.meter import Meter
from harmbench.method import Method
from harmbench.plugins import Reference
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pieces import with_model
from harmbench.storage import key_of, read_json, whole_folder, write_json
from harmbench.task import Progress

__all__ = ["MethodOfCell", "fit", "fit_key", "forget_results", "load_fitted", "method_of"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MethodOfCell:
    """A cell's method before it is fitted.

    Attributes:
        uses: which one it is.
        kind: its class.
        settings: validated.
    """

    uses: Reference
    kind: type[Method]
    settings: BaseModel


def method_of(context: RunContext, cell: Cell) -> MethodOfCell:
    """Return the method that a cell is of.

    Raises:
        MethodError: it cannot be loaded.
        ConfigError: its settings are not valid.
    """
    uses, values = context.experiment.all_methods()[cell.method]
    kind = load_method(uses)
    return MethodOfCell(uses, kind, make_settings(kind, values, cell.method))


def fit_key(context: RunContext, cell: Cell, method: MethodOfCell) -> str:
    """SHA-256 of what a fit depends on: code, settings, direction, seed, and the training scans.

    Methods see the scanners of training pairs; those that are not the direction's count too.
    """
    way, keys = cell.direction, context.input_keys
    train = context.split(cell).train
    scanners = [context.inputs.scanner(pair.subject, pair.source) for pair in train]
    others = [scanners] if any(scanner != way.source for scanner in scanners) else []
    return key_of(
        "fit",
        method_code(method.uses),
        method.settings.model_dump(mode="json"),
        [str(way), cell.seed],
        [
            (pair.subject, keys[pair.subject, pair.source], keys[pair.subject, pair.target])
            for pair in train
        ],
        *others,
    )


def load_fitted(context: RunContext, cell: Cell, method: MethodOfCell) -> Method:
    """Load the stored fit."""
    log.info("fit is current")
    folder = context.folder.cell(cell)
    _remove_checkpoints(folder.training)  # a run may have been killed before it did that
    with method_call():
        return method.kind.load(folder.model, method.settings)


def forget_results(
    context: RunContext, cell: Cell, record: CellRecord, scores: CellScores
) -> CellRecord:
    """Drop all that hangs on the stored fit: a run killed from here on leaves nothing stale."""
    context.check_held()
    scores.clear()
    cleared = record.without_results()
    context.write_record(cell, cleared)
    return cleared


def fit(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    method: MethodOfCell,
    progress: Progress,
) -> tuple[Method, CellRecord]:
    """Fit the method on the training subjects of the cell, and save it."""
    folder = context.folder.cell(cell)
    key = fit_key(context, cell, method)
    _keep_only_checkpoints_of(folder.training, key)
    pairs = context.pairs(cell)
    with Meter() as meter, method_call():
        fitted = method.kind(method.settings)
        fitted.fit(pairs, context.task(cell, progress, folder.training))
        context.check_held()
        with whole_folder(folder.model, replace=True) as fresh:
            fitted.save(fresh)
    record = record.with_key("fit", key).with_work("fit", meter, context.invocation)
    record = with_model(record, folder)
    context.write_record(cell, record)
    _remove_checkpoints(folder.training)
    return fitted, record


def _remove_checkpoints(training: Path) -> None:
    """Remove what a training could be resumed from: the model is safe, and this only takes space."""
    for path in training.glob("checkpoint*"):
        path.unlink()


def _keep_only_checkpoints_of(folder: Path, key: str) -> None:
    """Remove checkpoints that another configuration, data set or code version left."""
    try:
        known = read_json(folder / "key.json")
    except ValueError:
        known = None
    if known != {"fit": key}:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / "key.json", {"fit": key})
