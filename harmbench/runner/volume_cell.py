"""One cell of a volume correction: fit on the training subjects' volumes, correct, score.

It needs the tissue volumes of real scans alone. A fit takes milliseconds, so that it is not stored:
where a subject's scores are not current, it is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from harmbench.code_keys import stage_code
from harmbench.discovery import correction_code, load_correction, make_settings
from harmbench.errors import MethodError
from harmbench.guard import method_call
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
from harmbench.segmentation import TISSUES
from harmbench.storage import key_of
from harmbench.study.choice import inner_errors
from harmbench.task import Progress
from harmbench.volume_correction import VolumeCorrection, Volumes, checked_volumes

__all__ = ["run_volume_cell", "training_volumes"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A cell's correction before it is fitted, and what it is to be fitted on.

    Attributes:
        uses: which one it is.
        kind: its class.
        settings: validated.
        subjects: of each training pair with labels on both scanners.
        source, target: volumes of the pairs, shape (pairs, tissues), mm3.
    """

    uses: Reference
    kind: type[VolumeCorrection]
    settings: BaseModel
    subjects: tuple[str, ...]
    source: Volumes
    target: Volumes

    def make(self) -> VolumeCorrection:
        """Return a new correction that is not fitted."""
        return self.kind(self.settings)

    def key(self, cell: Cell) -> str:
        """SHA-256 of what the fit depends on: code, settings, direction, and the volumes."""
        return key_of(
            "fit volumes",
            correction_code(self.uses),
            stage_code("correct"),
            self.settings.model_dump(mode="json"),
            str(cell.direction),
            [list(self.subjects), self.source.tolist(), self.target.tolist()],
        )


def training_volumes(
    context: RunContext, volumes: RealVolumes, cell: Cell
) -> tuple[tuple[str, ...], Volumes, Volumes]:
    """Return the volumes of a cell's training pairs that have labels on both scanners.

    Args:
        context: what the cells of the run share.
        volumes: of the real scans.
        cell: whose training pairs.

    Returns:
        The subject of each pair; the volumes on the source and on the target scanner, shape (pairs,
        tissues), mm3. A subject with several visits has several pairs.
    """
    found = []
    for pair in context.split(cell).train:
        one, two = (scan.volumes_mm3 for scan in _scans_of(volumes, pair))
        if one is not None and two is not None:
            found.append((pair.subject, one, two))
    shape = (len(found), len(TISSUES))
    source = np.array([one for _, one, _ in found], dtype=np.float64).reshape(shape)
    target = np.array([two for _, _, two in found], dtype=np.float64).reshape(shape)
    return tuple(subject for subject, _, _ in found), source, target


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
            log.info("%d training pairs of subjects %s", len(planned.subjects), planned.subjects)
            update = {
                "uses": str(planned.uses),
                "settings": planned.settings.model_dump(mode="json"),
            }
            record = record.model_copy(update=update)
            stale = _stale(context, cell, record, planned, volumes, scores)
            if stale or record.key("fit") != planned.key(cell):
                record = _fit_and_score(context, cell, record, planned, volumes, scores, errors)
        except Exception as error:  # noqa: BLE001 - any failure of a correction becomes a row
            errors.append(told("fit", error))
            scores.clear()
            record = record.without_results()
        progress("subjects", 1, 1)
        return close(context, cell, record, scores, errors)


def _plan(context: RunContext, cell: Cell, record: CellRecord, volumes: RealVolumes) -> _Planned:
    """Return a cell's correction and its training data; settings are the run's, or as recorded."""
    asked = context.experiment.all_corrections().get(cell.method)
    uses, values = asked or (
        Reference.parse(record.uses or cell.method),
        dict(record.settings or {}),
    )
    kind = load_correction(uses)
    settings = make_settings(kind, values, cell.method)
    training = training_volumes(context, volumes, cell)
    found, least = len(set(training[0])), max(1, kind.least_subjects)
    if found < least:
        raise MethodError(
            f"{found} training subjects with tissue volumes on both scanners, expected at least {least}"
        )
    return _Planned(uses, kind, settings, *training)


def _score_key(fit: str, volumes: RealVolumes, pair: SessionPair) -> str:
    """SHA-256 of what a pair's scores depend on: the fit, and the pair's own volumes."""
    scans = _scans_of(volumes, pair)
    return key_of("score volumes", fit, [scan.volumes_mm3 for scan in scans])


def _stale(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    planned: _Planned,
    volumes: RealVolumes,
    scores: CellScores,
) -> bool:
    """Whether any tested pair's scores are missing or not current."""
    fit = planned.key(cell)
    return not all(
        has_rows(record, pair, scores)
        and record.key("score", pair.name) == _score_key(fit, volumes, pair)
        for pair in context.split(cell).test
    )


def _fit_and_score(
    context: RunContext,
    cell: Cell,
    record: CellRecord,
    planned: _Planned,
    volumes: RealVolumes,
    scores: CellScores,
    errors: list[str],
) -> CellRecord:
    """Fit, judge the fit on training subjects, and score every tested pair."""
    scores.clear()
    record = record.without_results()
    with Meter() as meter, method_call():
        correction = planned.make()
        correction.fit(planned.source, planned.target)
        data = (planned.source, planned.target, planned.subjects)
        inner = inner_errors(planned.make, *data).mean(axis=0)
    known = {t: float(e) for t, e in zip(TISSUES, inner, strict=True) if np.isfinite(e)}
    fit = planned.key(cell)
    record = record.model_copy(update={"inner_error_mm3": known}).with_key("fit", fit)
    record = record.with_work("fit", meter, context.invocation)
    rows = {}
    for pair in context.split(cell).test:
        scans = _scans_of(volumes, pair)
        missing = _missing(*scans)
        record = record.with_missing(pair.name, missing)
        try:
            with Meter() as meter:
                own = scores.missing_rows(missing.status) if missing else _rows(correction, *scans)
        except Exception as error:  # noqa: BLE001 - the other pairs go on
            errors.append(told(f"subject {pair.name}", error))
            continue
        rows[pair.name] = named_rows(context, cell, pair, own)
        record = record.with_work("score", meter, context.invocation, pair.name)
        if missing is None or missing.lasting:
            key = _score_key(fit, volumes, pair)
            record = record.with_key("score", key, pair.name)
    scores.put(rows)
    metrics = metrics_key(context.experiment.scoring)
    return record.model_copy(update={"checksums": scores.checksums, "metrics": metrics})


def _scans_of(volumes: RealVolumes, pair: SessionPair) -> tuple[MeasuredScan, MeasuredScan]:
    """Return a pair's scans on the source and on the target scanner, as measured."""
    return volumes[pair.subject, pair.source], volumes[pair.subject, pair.target]


def _rows(
    correction: VolumeCorrection, source: MeasuredScan, target: MeasuredScan
) -> Sequence[ScoreRow]:
    """Correct one subject's volumes, and compare them with the reference's."""
    assert source.volumes_mm3 is not None
    assert target.volumes_mm3 is not None
    with method_call():
        found = correction.correct(np.array([source.volumes_mm3], dtype=np.float64))
    corrected = checked_volumes(found, "corrected volumes", len(TISSUES))
    if len(corrected) != 1:
        raise MethodError(f"corrected volumes of {len(corrected)} subjects, expected 1")
    return volume_rows(corrected[0].tolist(), target.volumes_mm3)


def _missing(source: MeasuredScan, reference: MeasuredScan) -> MissingLabels | None:
    """Return why a subject has no scores: a scan without labels."""
    for what, scan in (("reference", reference), ("source", source)):
        if scan.failure is not None:
            failure = scan.failure
            return MissingLabels(
                what=what, reason=failure.reason, status=failure.status, lasting=failure.lasting
            )
    return None
