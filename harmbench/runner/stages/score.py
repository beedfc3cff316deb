"""The stage that segments and scores the harmonized volume of a tested pair."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from harmbench.code_keys import stage_code
from harmbench.config import ScoringSettings
from harmbench.meter import Meter
from harmbench.results import FAILURES, ResultRow, ScoreRow
from harmbench.runner.cell_record import CellRecord, MissingLabels
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pair_scans import PairScans
from harmbench.runner.pairs import SessionPair
from harmbench.runner.pieces import with_labels
from harmbench.runner.scoring import score_rows
from harmbench.segmentation.result import Segmented
from harmbench.segmentation.stored import segment_to_file, segmenter_key
from harmbench.storage import key_of
from harmbench.volume import Volume, read

__all__ = [
    "add_failed_rows",
    "has_rows",
    "is_scored",
    "metrics_key",
    "named_rows",
    "scan_label_paths",
    "score",
    "score_key",
]

log = logging.getLogger(__name__)


def score_key(context: RunContext, made: str, pair: SessionPair) -> str:
    """SHA-256 of what a pair's scores depend on.

    Args:
        context: what the cells of the run share.
        made: key of the harmonized volume.
        pair: a tested pair.
    """
    return key_of(
        "score",
        made,
        [context.input_keys[pair.subject, session] for session in (pair.source, pair.target)],
        context.experiment.scoring.model_dump(mode="json"),
        segmenter_key(context.make_segmenter()),
        stage_code("score"),
        *context.inputs.lesions_key(pair.subject, pair.target, pair.source),
    )


def metrics_key(settings: ScoringSettings) -> str:
    """SHA-256 of how volumes are finished and scored: scores with one key are comparable."""
    parts = (settings.stacking_axis, settings.surface_backend, settings.mask_background)
    return key_of(stage_code("score"), *parts)


def is_scored(
    context: RunContext, record: CellRecord, pair: SessionPair, scores: CellScores
) -> bool:
    """Whether the scores of a pair's stored volume are there and current."""
    made = record.key("harmonize", pair.name)
    if made is None or not has_rows(record, pair, scores):
        return False
    return record.key("score", pair.name) == score_key(context, made, pair)


def has_rows(record: CellRecord, pair: SessionPair, scores: CellScores) -> bool:
    """Whether a pair has all of its rows, and none that another try might give a value."""
    # Without a reason in the record it is not known whether trying again would help.
    known = pair.name in record.unsegmented
    return scores.is_scored(pair.name, ("failed",) if known else FAILURES)


def score(
    context: RunContext, cell: Cell, record: CellRecord, scans: PairScans, scores: CellScores
) -> CellRecord:
    """Segment and score a pair's stored volume; writing the scores and the record is the caller's."""
    pair = scans.pair
    folder = context.folder.cell(cell)
    source, reference = scans.source, scans.reference
    real = context.real_scan(cell, pair)
    harmonized = (
        read(folder.volume(pair.name))
        if real is None
        else context.inputs.volume(pair.subject, real)
    )
    with Meter() as meter:
        segmented, reference_segmented = _segment(context, cell, pair, harmonized, reference)
    record = record.with_work("segment", meter, context.invocation, pair.name)
    missing = _missing(pair.name, {"reference": reference_segmented, "volume": segmented})
    record = record.with_missing(pair.name, missing)
    settings = context.experiment.scoring
    with Meter() as meter:
        rows = score_rows(
            harmonized,
            reference,
            source,
            segmented,
            reference_segmented,
            lesions=scans.lesions(),
            stacking_axis=settings.stacking_axis,
            surface_backend=settings.surface_backend,
        )
    scores.put({pair.name: named_rows(context, cell, pair, rows)})
    update = {"checksums": scores.checksums, "metrics": metrics_key(settings)}
    record = record.model_copy(update=update)
    record = record.with_work("score", meter, context.invocation, pair.name)
    made = record.key("harmonize", pair.name)
    if made is not None and (missing is None or missing.lasting):
        record = record.with_key("score", score_key(context, made, pair), pair.name)
    labels = scan_label_paths(context, cell, pair)
    return with_labels(record, folder, pair.name, context.segmenter, labels)


def scan_label_paths(context: RunContext, cell: Cell, pair: SessionPair) -> list[Path]:
    """Return where the labels are of the real scans that a pair is scored with."""
    sessions = dict.fromkeys((pair.target, context.real_scan(cell, pair) or pair.target))
    return [
        context.folder.input_labels(pair.subject, session, context.segmenter)
        for session in sessions
    ]


def _segment(
    context: RunContext, cell: Cell, pair: SessionPair, harmonized: Volume, reference: Volume
) -> tuple[Segmented, Segmented]:
    """Segment a harmonized volume and its reference, where that has not been done."""
    segmenter = context.make_segmenter()
    of_reference, of_source = (
        context.folder.input_labels(pair.subject, session, segmenter.name)
        for session in (pair.target, pair.source)
    )
    known = segment_to_file(reference, of_reference, segmenter)
    real = context.real_scan(cell, pair)
    if real is not None:
        labels = context.folder.input_labels(pair.subject, real, segmenter.name)
        return segment_to_file(harmonized, labels, segmenter), known
    path = context.folder.cell(cell).labels(pair.name, segmenter.name)
    # A method may have given back one of the real scans, whose labels are there.
    return segment_to_file(harmonized, path, segmenter, (of_reference, of_source)), known


def _missing(pair: str, found: Mapping[str, Segmented]) -> MissingLabels | None:
    """Return why a pair has no scores of tissues; of several reasons, the first."""
    missing = {what: one.failure for what, one in found.items() if one.failure is not None}
    for what, failure in missing.items():
        log.warning("subject %s, %s: %s", pair, what, failure.reason)
    if not missing:
        return None
    what, failure = next(iter(missing.items()))
    lasting = all(other.lasting for other in missing.values())
    return MissingLabels(what=what, reason=failure.reason, status=failure.status, lasting=lasting)


def add_failed_rows(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    pairs: Iterable[SessionPair],
    scores: CellScores,
) -> CellRecord:
    """Give every pair without scores rows with the status `failed`, so that no case is dropped."""
    failed = [
        pair
        for pair in pairs
        if not (
            (record.key("score", pair.name) is not None or pair.name in record.unsegmented)
            and has_rows(record, pair, scores)
        )
    ]
    rows = {
        pair.name: scores.missing_rows(
            "failed",
            lesions=record.maps == "images"
            and bool(context.inputs.lesions_key(pair.subject, pair.target, pair.source)),
        )
        for pair in failed
    }
    scores.put({pair.name: named_rows(context, cell, pair, rows[pair.name]) for pair in failed})
    for pair in failed:
        record = record.without_score(pair.name).with_missing(pair.name, None)
    return record.model_copy(update={"checksums": scores.checksums})


def named_rows(
    context: RunContext, cell: Cell, pair: SessionPair, rows: Iterable[ScoreRow]
) -> list[ResultRow]:
    """Return rows of the results table: scores, and whose they are."""
    return [
        ResultRow(
            method=cell.method,
            direction=str(cell.direction),
            fold=cell.fold,
            seed=cell.seed,
            subject=pair.subject,
            visit=pair.visit,
            group=context.groups[pair.subject],
            segmenter=context.segmenter,
            **row,
        )
        for row in rows
    ]
