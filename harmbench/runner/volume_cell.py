"""One cell of a volume correction: fit on the training subjects' volumes, correct, score.

It needs the tissue volumes of real scans alone. A fit takes milliseconds, so that it is not stored:
where a subject's scores are not current, it is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from harmbench.discovery import load_correction, make_settings
from harmbench.meter import Meter
from harmbench.plugins import Reference
from harmbench.results import ScoreRow
from harmbench.runner.cell import begin, close, logged, told
from harmbench.runner.cell_record import CellRecord, MissingLabels
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.pairs import SessionPair
from harmbench.runner.stages.score import has_rows, metrics_key, named_rows
from harmbench.runner.tissue_volumes import MeasuredScan, RealVolumes, volume_rows
from harmbench.runner.volume_fit import (
    FittedCorrection,
    PlannedCorrection,
    TrainingVolumes,
    covariates_in_key,
    scans_of_pair,
)
from harmbench.storage import key_of
from harmbench.study.covariates import CovariateTable
from harmbench.task import Progress

__all__ = ["run_volume_cell", "training_volumes"]

log = logging.getLogger(__name__)


def training_volumes(context: RunContext, volumes: RealVolumes, cell: Cell) -> TrainingVolumes:
    """Return the volumes of a cell's training pairs that have labels on both scanners.

    Args:
        context: what the cells of the run share.
        volumes: of the real scans.
        cell: whose training pairs.
    """
    covariates = context.inputs.covariates(context.experiment.data.covariates)
    return TrainingVolumes.of(context.split(cell).train, volumes, covariates)


def run_volume_cell(
    volumes: RealVolumes, context: RunContext, cell: Cell, progress: Progress
) -> CellRecord:
    """Run one cell of a volume correction and return its record; a failure becomes rows.

    Args:
        volumes: tissue volumes of the real scans of its training and test pairs.
        context: what the cells of the run share.
        cell: which one.
        progress: called as subjects are done.
    """
    folder = context.folder.cell(cell)
    record = begin(context, cell, folder.read_record())
    scores = CellScores.of(folder, record)
    errors: list[str] = []
    with logged(folder.log):
        log.info("start %s", cell)
        try:
            planned = _plan(context, cell, record, volumes)
            subjects = planned.training.subjects
            log.info("%d training pairs of subjects %s", len(subjects), subjects)
            update = {
                "uses": str(planned.uses),
                "settings": planned.settings.model_dump(mode="json"),
            }
            record = record.model_copy(update=update)
            stale = _stale(context, cell, record, planned, volumes, scores)
            if stale or record.key("fit") != planned.key(cell.direction):
                record = _fit_and_score(context, cell, record, planned, volumes, scores, errors)
        except Exception as error:  # noqa: BLE001 - any failure of a correction becomes a row
            errors.append(told("fit", error))
            scores.clear()
            record = record.without_results()
        progress("subjects", 1, 1)
        return close(context, cell, record, scores, errors)


def _plan(
    context: RunContext, cell: Cell, record: CellRecord, volumes: RealVolumes
) -> PlannedCorrection:
    """Return a cell's correction and its training data; settings are the run's, or as recorded."""
    asked = context.experiment.all_corrections().get(cell.method)
    uses, values = asked or (
        Reference.parse(record.uses or cell.method),
        dict(record.settings or {}),
    )
    settings = make_settings(load_correction(uses), values, cell.method)
    return PlannedCorrection.of(uses, settings, training_volumes(context, volumes, cell))


def _score_key(
    fit: str, volumes: RealVolumes, covariates: CovariateTable, pair: SessionPair
) -> str:
    """SHA-256 of what a pair's scores depend on: the fit, the pair's volumes, the subject's covariates."""
    scans = scans_of_pair(volumes, pair)
    people = covariates_in_key(covariates, pair.subject)
    return key_of("score volumes", fit, [scan.volumes_mm3 for scan in scans], *people)


def _stale(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    planned: PlannedCorrection,
    volumes: RealVolumes,
    scores: CellScores,
) -> bool:
    """Whether any tested pair's scores are missing or not current."""
    fit, covariates = planned.key(cell.direction), planned.training.covariates
    return not all(
        has_rows(record, pair, scores)
        and record.key("score", pair.name) == _score_key(fit, volumes, covariates, pair)
        for pair in context.split(cell).test
    )


def _fit_and_score(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    planned: PlannedCorrection,
    volumes: RealVolumes,
    scores: CellScores,
    errors: list[str],
) -> CellRecord:
    """Fit, judge the fit on training subjects, and score every tested pair."""
    scores.clear()
    record = record.without_results()
    with Meter() as meter:
        correction, known = planned.fitted(), planned.inner_errors()
    fit = planned.key(cell.direction)
    record = record.model_copy(update={"inner_error_mm3": known}).with_key("fit", fit)
    record = record.with_work("fit", meter, context.invocation)
    rows = {}
    for pair in context.split(cell).test:
        scans = scans_of_pair(volumes, pair)
        missing = _missing(*scans)
        record = record.with_missing(pair.name, missing)
        try:
            with Meter() as meter:
                own = (
                    scores.missing_rows(missing.status)
                    if missing
                    else _rows(correction, pair.subject, *scans)
                )
        except Exception as error:  # noqa: BLE001 - the other pairs go on
            errors.append(told(f"subject {pair.name}", error))
            continue
        rows[pair.name] = named_rows(context, cell, pair, own)
        record = record.with_work("score", meter, context.invocation, pair.name)
        if missing is None or missing.lasting:
            key = _score_key(fit, volumes, planned.training.covariates, pair)
            record = record.with_key("score", key, pair.name)
    scores.put(rows)
    metrics = metrics_key(context.experiment.scoring)
    return record.model_copy(update={"checksums": scores.checksums, "metrics": metrics})


def _rows(
    correction: FittedCorrection, subject: str, source: MeasuredScan, target: MeasuredScan
) -> Sequence[ScoreRow]:
    """Correct one subject's volumes, and compare them with those of the reference."""
    assert source.volumes_mm3 is not None
    assert target.volumes_mm3 is not None
    return volume_rows(correction.correct(subject, source.volumes_mm3), target.volumes_mm3)


def _missing(source: MeasuredScan, reference: MeasuredScan) -> MissingLabels | None:
    """Return why a subject has no scores: a scan without labels."""
    for what, scan in (("reference", reference), ("source", source)):
        if scan.failure is not None:
            failure = scan.failure
            return MissingLabels(
                what=what, reason=failure.reason, status=failure.status, lasting=failure.lasting
            )
    return None
