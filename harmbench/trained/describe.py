"""From a finished cell to the record of its model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from harmbench.errors import HarmbenchError, RunError
from harmbench.plugins import Reference
from harmbench.preparation.derivative import raw_spacing_mm
from harmbench.results import read_results
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.pairs import SessionPair
from harmbench.runner.pieces import require_model
from harmbench.runner.run_record import Invocation, MethodRecord
from harmbench.statistics import subject_values
from harmbench.task import Progress
from harmbench.trained.record import CohortNote, ModelRecord, TrainingData, check_files
from harmbench.trained.scanners import (
    SCANNER_FIELDS,
    Histogram,
    brain_histogram,
    largest_distance,
    scanner_of,
)

__all__ = ["MAIN_METRICS", "describe_cell"]

MAIN_METRICS = (
    "mse_brain",
    "psnr_brain",
    "ssim_brain",
    "ahd_normalized",
    "wasserstein",
    "gradient_correlation",
    "dice",
    "volume_difference_mm3",
)
"""Metrics whose means go with a model."""


def describe_cell(folder: Path, progress: Progress) -> tuple[ModelRecord, str]:
    """Describe the model of a finished cell.

    Args:
        folder: such as `OUT/cells/dm/3T-to-1.5T/fold-0/seed-0`.
        progress: called with progress while the training scans are read.

    Returns:
        The record (without paths), and the method as the run called it: a name or FILE.py:CLASS.

    Raises:
        RunError: not the folder of a cell with a fitted model, or it does not lie in its run.
    """
    paths = CellFolder(folder)
    own = paths.read_record()
    if own is None:
        raise RunError(f"{folder}: not a cell's folder, nor an exported model")
    if own.maps == "volumes":
        raise RunError(
            f"{folder}: {own.method} is a volume correction: it maps tissue volumes, and has no model "
            "of images to export or to apply to a scan"
        )
    if own.key("fit") is None or not paths.model.is_dir():
        raise RunError(f"{folder}: the cell has no fitted model (its status is {own.status})")
    require_model(own, paths)
    cell = Cell.of(own)
    root = Path(*folder.resolve().parts[: -len(cell.path.parts)])
    run = RunFolder(root)
    if root / cell.path != folder.resolve() or not run.record.is_file():
        raise RunError(f"{folder}: the cell does not lie in its run folder; export it from there")
    record = run.read_record()
    described = record.methods.get(cell.method, MethodRecord())
    subjects, uses = own.subjects or (), own.uses or cell.method
    found = ModelRecord(
        label=cell.method,
        uses=str(Reference.parse(uses).without_folder()),
        title=described.title or cell.method,
        reference=described.reference,
        settings=dict(own.settings or {}),
        source=own.source,
        target=own.target,
        fold=cell.fold,
        seed=cell.seed,
        rescale=own.rescale,
        mask_background=own.mask_background,
        preparation=_portable(record.cohort.preparation),
        cohort=CohortNote(**{n: getattr(record.cohort, n) for n in CohortNote.model_fields}),
        training=_training_data(run, own, progress),
        held_out=len(subjects),
        segmenter=own.segmenter,
        scores=_scores(run, cell),
        versions=_versions(record.invocations, own.made_by.fit),
        files=check_files(paths.model),
    )
    return found, uses


def _versions(invocations: Sequence[Invocation], fitted_by: str) -> dict[str, str]:
    """Versions that a model was fitted with.

    A cell of an earlier harmbench does not say which invocation fitted it: then only versions that all
    of the run's invocations share are known.
    """
    own = [one for one in invocations if one.id == fitted_by] if fitted_by else []
    found: dict[str, set[str]] = {}
    for one in own or invocations:
        for name, version in {"harmbench": one.version, **one.packages}.items():
            found.setdefault(name, set()).add(version)
    return {name: "not recorded" if len(v) > 1 else v.pop() for name, v in found.items()}


def _portable(preparation: Mapping[str, object] | None) -> dict[str, object] | None:
    """Preparation settings without what belongs to one machine."""
    if preparation is None:
        return None
    strip = preparation.get("strip")
    own = strip if isinstance(strip, Mapping) else {}
    return {**preparation, "strip": {**own, "hd_bet_weights": None}}


def _training_data(run: RunFolder, cell: CellRecord, progress: Progress) -> TrainingData | None:
    """Look at the training scans; `None` where they are gone."""
    inputs = run.input_scans()
    groups = {scan.subject: scan.group for scan in inputs.scans.values()}
    pairs = _training_pairs(cell, groups)
    subjects = list(dict.fromkeys(pair.subject for pair in pairs))
    histograms: dict[str, list[Histogram]] = {"source": [], "target": []}
    scanners: dict[str, dict[str, set[str]]] = {side: {} for side in histograms}
    spacings, shapes, raw_spacings = set(), set(), set()
    try:
        for done, pair in enumerate(pairs):
            progress("training scans", done, len(pairs))
            for side, session in (("source", pair.source), ("target", pair.target)):
                volume = inputs.volume(pair.subject, session)
                histograms[side].append(brain_histogram(volume))
                for name, value in scanner_of(inputs.scans[pair.subject, session].path).items():
                    scanners[side].setdefault(name, set()).add(value)
            spacings.add(_rounded(volume.spacing_mm))
            shapes.add(volume.shape)
            raw_spacings.add(raw_spacing_mm(inputs.scans[pair.subject, pair.source].path))
    except HarmbenchError:
        return None
    counts = Counter(groups[subject] for subject in subjects)
    return TrainingData(
        subjects=len(subjects),
        groups=dict(sorted(counts.items())),
        spacings_mm=tuple(sorted(spacings)),
        shapes=tuple(sorted(shapes)),
        source_histogram=_mean(histograms["source"]),
        target_histogram=_mean(histograms["target"]),
        largest_distance=largest_distance(histograms["source"]),
        source_raw_spacings_mm=tuple(sorted({_rounded(mm) for mm in raw_spacings if mm})),
        source_scanner=_sorted(scanners["source"]),
        target_scanner=_sorted(scanners["target"]),
    )


def _training_pairs(cell: CellRecord, subjects: Iterable[str]) -> tuple[SessionPair, ...]:
    """Return what a cell learned from; of a record without pairs, all subjects that it did not test."""
    if cell.train_pairs is not None:
        return cell.train_pairs
    held_out = set(cell.subjects or ())
    return tuple(
        SessionPair(s, "", cell.source, cell.target) for s in subjects if s not in held_out
    )


def _rounded(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = (round(mm, 3) for mm in spacing_mm)
    return x, y, z


def _mean(histograms: Sequence[Histogram]) -> tuple[float, ...]:
    return tuple(float(f"{share:.9g}") for share in np.mean(histograms, axis=0))


def _sorted(found: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(found[name])) for name in SCANNER_FIELDS if name in found}


def _scores(run: RunFolder, cell: Cell) -> dict[str, dict[str, float]]:
    """Means over the held-out subjects, of every method that was scored on the same ones.

    Other methods stand there as trained on as many subjects, or else on all.
    """
    found: dict[str, dict[str, float]] = {}
    for other, _ in run.all_cells():  # all subjects come first, and give way to as many
        same = (other.direction, other.fold, other.seed) == (cell.direction, cell.fold, cell.seed)
        as_many = other.train_subjects == cell.train_subjects
        rival = other.method != cell.method and not other.train_subjects
        path = run.cell(other).scores
        if not (same and (as_many or rival)) or not path.is_file():
            continue
        rows = read_results(path)
        rows = rows[rows["metric"].isin(MAIN_METRICS) & rows["value"].notna()]
        by_subject = subject_values(rows).groupby(["metric", "tissue"])
        means = by_subject["value"].mean()
        found[other.method] = {
            f"{metric} {tissue}".strip(): float(f"{means[metric, tissue]:.6g}")
            for metric, tissue in sorted(means.index, key=lambda i: (MAIN_METRICS.index(i[0]), i))
        }
    return found
