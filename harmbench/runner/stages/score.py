"""The stage that segments and scores a test subject's harmonized volume."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from harmbench.code_keys import stage_code
from harmbench.meter import Meter
from harmbench.results import CEILING, FAILURES, ResultRow, ScoreRow
from harmbench.runner.cell_record import CellRecord, MissingLabels
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.scoring import missing_rows, score_rows
from harmbench.segmentation.result import Segmented
from harmbench.segmentation.stored import segment_to_file, segmenter_key
from harmbench.storage import key_of
from harmbench.volume import Volume, read

__all__ = ["add_failed_rows", "is_scored", "score", "score_key"]

log = logging.getLogger(__name__)


def score_key(context: RunContext, cell: Cell, made: str, subject: str) -> str:
    """SHA-256 of what a subject's scores depend on.

    Args:
        context: what the cells of the run share.
        cell: the cell.
        made: key of the harmonized volume.
        subject: a test subject.
    """
    way = cell.direction
    return key_of(
        "score",
        made,
        [context.input_keys[subject, session] for session in (way.source, way.target)],
        context.experiment.scoring.model_dump(mode="json"),
        segmenter_key(context.make_segmenter()),
        stage_code("score"),
    )


def is_scored(
    context: RunContext, cell: Cell, record: CellRecord, subject: str, scores: CellScores
) -> bool:
    """Whether the scores of a subject's stored volume are there and current."""
    made = record.key("harmonize", subject)
    if made is None or not _has_rows(record, subject, scores):
        return False
    return record.key("score", subject) == score_key(context, cell, made, subject)


def _has_rows(record: CellRecord, subject: str, scores: CellScores) -> bool:
    # Without a reason in the record it is not known whether trying again would help.
    known = subject in record.unsegmented
    return scores.is_scored(subject, ("failed",) if known else FAILURES)


def score(
    context: RunContext, cell: Cell, record: CellRecord, subject: str, scores: CellScores
) -> CellRecord:
    """Segment and score a subject's stored volume."""
    folder, way = context.folder.cell(cell), cell.direction
    source = context.inputs.volume(subject, way.source)
    reference = context.inputs.volume(subject, way.target)
    stored = cell.method != CEILING
    harmonized = read(folder.volume(subject)) if stored else reference
    with Meter() as meter:
        segmented, reference_segmented = _segment(context, cell, subject, harmonized, reference)
    record = record.with_work("segment", meter, context.invocation, subject)
    missing = _missing(subject, {"reference": reference_segmented, "volume": segmented})
    record = record.with_missing(subject, missing)
    settings = context.experiment.scoring
    with Meter() as meter:
        rows = score_rows(
            harmonized,
            reference,
            source,
            segmented,
            reference_segmented,
            stacking_axis=settings.stacking_axis,
            surface_backend=settings.surface_backend,
        )
    scores.put({subject: _named_rows(context, cell, subject, rows)})
    record = record.model_copy(update={"checksums": scores.checksums})
    record = record.with_work("score", meter, context.invocation, subject)
    made = record.key("harmonize", subject)
    if made is not None and (missing is None or missing.lasting):
        record = record.with_key("score", score_key(context, cell, made, subject), subject)
    folder.write_record(record)
    return record


def _segment(
    context: RunContext, cell: Cell, subject: str, harmonized: Volume, reference: Volume
) -> tuple[Segmented, Segmented]:
    """Segment a harmonized volume and its reference, where that has not been done."""
    segmenter = context.make_segmenter()
    of_reference, of_source = (
        context.folder.input_labels(subject, session, segmenter.name)
        for session in (cell.direction.target, cell.direction.source)
    )
    if cell.method == CEILING:
        known = segment_to_file(reference, of_reference, segmenter)
        return known, known
    path = context.folder.cell(cell).labels(subject, segmenter.name)
    # A method may have given back one of the real scans, whose labels are there.
    found = segment_to_file(harmonized, path, segmenter, (of_reference, of_source))
    return found, segment_to_file(reference, of_reference, segmenter)


def _missing(subject: str, found: Mapping[str, Segmented]) -> MissingLabels | None:
    """Return why a subject has no scores of tissues; of several reasons, the first."""
    missing = {what: one.failure for what, one in found.items() if one.failure is not None}
    for what, failure in missing.items():
        log.warning("subject %s, %s: %s", subject, what, failure.reason)
    if not missing:
        return None
    what, failure = next(iter(missing.items()))
    lasting = all(other.lasting for other in missing.values())
    return MissingLabels(what=what, reason=failure.reason, status=failure.status, lasting=lasting)


def add_failed_rows(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    subjects: Iterable[str],
    scores: CellScores,
) -> CellRecord:
    """Give every subject without scores rows with the status `failed`, so that no case is dropped."""
    failed = [
        subject
        for subject in subjects
        if not (
            (record.key("score", subject) is not None or subject in record.unsegmented)
            and _has_rows(record, subject, scores)
        )
    ]
    rows = missing_rows("failed")
    scores.put({subject: _named_rows(context, cell, subject, rows) for subject in failed})
    for subject in failed:
        record = record.without_score(subject).with_missing(subject, None)
    return record.model_copy(update={"checksums": scores.checksums})


def _named_rows(
    context: RunContext, cell: Cell, subject: str, rows: Iterable[ScoreRow]
) -> list[ResultRow]:
    return [
        ResultRow(
            method=cell.method,
            direction=str(cell.direction),
            fold=cell.fold,
            seed=cell.seed,
            subject=subject,
            group=context.groups[subject],
            segmenter=context.segmenter,
            **row,
        )
        for row in rows
    ]
