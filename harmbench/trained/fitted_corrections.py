"""The volume corrections of a run folder, fitted again on the volumes that they were fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harmbench.config import Experiment
from harmbench.discovery import load_correction, make_settings
from harmbench.errors import HarmbenchError, RunError, describe
from harmbench.plugins import Reference
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.pairs import SessionPair
from harmbench.runner.recorded_split import recorded_folds, recorded_split
from harmbench.runner.tissue_volumes import MeasuredScan, measured
from harmbench.runner.volume_fit import FittedCorrection, PlannedCorrection, TrainingVolumes
from harmbench.segmentation import Segmenter
from harmbench.segmentation.stored import segment_to_file

__all__ = ["load_corrections"]


def load_corrections(
    run: RunFolder,
    experiment: Experiment,
    cells: Sequence[Cell],
    segmenter: Segmenter,
    inputs: InputScans,
) -> Mapping[Cell, FittedCorrection | str]:
    """Fit the volume corrections of cells as the run did.

    Args:
        run: the run folder.
        experiment: its settings.
        cells: of volume corrections, which the run has fitted.
        segmenter: of the run; scans whose labels are not stored are segmented.
        inputs: real scans of the run.

    Returns:
        Cell to its fitted correction, or to why it could not be fitted.
    """
    folds, _ = recorded_folds(run, run.read_record())
    covariates = inputs.covariates(experiment.data.covariates)
    known: dict[tuple[str, str], MeasuredScan] = {}
    found: dict[Cell, FittedCorrection | str] = {}
    for cell in cells:
        try:
            record = run.cell(cell).read_record()
            if record is None or record.settings is None:
                raise RunError(f"{run.cell(cell).root}: the cell has no fitted correction")
            train = recorded_split(cell, record, folds).train
            _measure(run, train, segmenter, inputs, known)
            uses = Reference.parse(record.uses or cell.method)
            settings = make_settings(load_correction(uses), record.settings, cell.method)
            training = TrainingVolumes.of(train, known, covariates)
            found[cell] = PlannedCorrection.of(uses, settings, training).fitted()
        except HarmbenchError as error:
            found[cell] = describe(error)
    return found


def _measure(
    run: RunFolder,
    pairs: Iterable[SessionPair],
    segmenter: Segmenter,
    inputs: InputScans,
    known: dict[tuple[str, str], MeasuredScan],
) -> None:
    """Add the tissue volumes of the pairs' scans, each scan once."""
    for pair in pairs:
        for session in (pair.source, pair.target):
            if (pair.subject, session) not in known:
                labels = run.input_labels(pair.subject, session, segmenter.name)
                volume = inputs.volume(pair.subject, session)
                scan = measured(segment_to_file(volume, labels, segmenter))
                known[pair.subject, session] = scan
