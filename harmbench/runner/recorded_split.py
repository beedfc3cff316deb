"""What the cells of a run folder learned from and were tested on, from their records alone."""

from __future__ import annotations

from harmbench.errors import RunError
from harmbench.folds import Folds
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.fold_table import read_fold_rows
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.pairs import CellSplit, SessionPair
from harmbench.runner.run_record import RunRecord

__all__ = ["recorded_folds", "recorded_split"]


def recorded_folds(folder: RunFolder, run: RunRecord) -> tuple[Folds, dict[str, str]]:
    """Read the folds that all directions of a run share, and the group of each subject.

    Raises:
        RunError: the run does not say how its folds were made, or their table is damaged.
    """
    if run.folds is None:
        raise RunError(
            f"{folder.record}: does not say how the folds were made; give the run's own command once "
            "more, which writes that again"
        )
    rows, groups = read_fold_rows(folder.folds)
    shared = {subject: fold for (way, subject), fold in rows.items() if not way}
    return Folds(run.folds.k, run.folds.seed, shared), groups


def recorded_split(cell: Cell, record: CellRecord, folds: Folds) -> CellSplit:
    """Return what a cell was tested on, and what it learned from; volume corrections do that again."""
    known = record.subjects is not None
    test = (
        record if known else record.model_copy(update={"subjects": folds.test(cell.fold)})
    ).tested
    held_out = {pair.subject for pair in test}
    others = (subject for subject in folds.assignment if subject not in held_out)
    ends = (cell.direction.source, cell.direction.target)
    train = record.train_pairs or tuple(SessionPair(subject, "", *ends) for subject in others)
    return CellSplit(train=train, test=test, simple=record.test_pairs is None)
