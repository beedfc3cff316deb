"""What is known of a trained model: how to run it, what it learned from, and how well it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from harmbench.cohorts.base import Rescale
from harmbench.errors import HarmbenchError, RunError
from harmbench.metrics.histogram import BINS
from harmbench.preparation.derivative import raw_spacing_mm
from harmbench.results import read_results
from harmbench.runner.folder import Cell, CellFolder, RunFolder
from harmbench.settings import Settings
from harmbench.storage import file_key, key_of
from harmbench.task import Direction, Progress
from harmbench.trained.scanners import (
    SCANNER_FIELDS,
    brain_histogram,
    largest_distance,
    scanner_of,
)

__all__ = [
    "MAIN_METRICS",
    "SAFE_SUFFIXES",
    "CohortNote",
    "ModelRecord",
    "TrainingData",
    "check_files",
    "describe_cell",
]

SAFE_SUFFIXES = (".safetensors", ".json")
"""Files that a model may consist of: neither can hold code."""

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


class TrainingData(Settings):
    """What a model learned from: numbers over subjects, nothing of a single one.

    Histograms have 255 bins over [0, 1] of the brain's voxels and sum to 1; the mean of the training
    subjects'. `largest_distance` is the Wasserstein distance of the farthest training source's
    histogram from the mean of the others'. `source_raw_spacings_mm` are voxel sizes of the training
    sources before harmbench prepared them; empty where that is not known.
    """

    subjects: int = Field(ge=1)
    groups: dict[str, int]
    spacings_mm: tuple[tuple[float, float, float], ...] = Field(min_length=1)
    shapes: tuple[tuple[int, int, int], ...] = Field(min_length=1)
    source_histogram: tuple[float, ...] = Field(min_length=BINS, max_length=BINS)
    target_histogram: tuple[float, ...] = Field(min_length=BINS, max_length=BINS)
    largest_distance: float = Field(ge=0)
    source_raw_spacings_mm: tuple[tuple[float, float, float], ...] = ()
    source_scanner: dict[str, tuple[str, ...]]
    target_scanner: dict[str, tuple[str, ...]]

    @field_validator("source_histogram", "target_histogram")
    @classmethod
    def _is_distribution(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) < 0 or abs(sum(value) - 1) > 1e-3:
            raise ValueError("shares from 0 that sum to 1")
        return value


class CohortNote(Settings):
    """The data set that a model comes from."""

    name: str
    description: str
    simulated: bool
    citation: str = ""


class ModelRecord(Settings):
    """The record of a trained model, the same for a cell and for what is exported of it.

    `files` has the SHA-256 of each of the model's files. `scores` are means over the subjects that
    the model has not seen, by method and metric (`dice GM`), of every method of the same run,
    direction, fold and seed; `label` is the model's own. `preparation` are the settings by which the
    scans were prepared, `None` where that is not known.
    """

    format: Literal[1] = 1
    label: str
    uses: str
    title: str
    reference: str
    settings: dict[str, Any]
    source: str
    target: str
    fold: int
    seed: int
    rescale: Rescale
    mask_background: bool
    preparation: dict[str, Any] | None
    cohort: CohortNote
    training: TrainingData | None
    held_out: int
    segmenter: str
    scores: dict[str, dict[str, float]]
    versions: dict[str, str]
    files: dict[str, str]

    @property
    def direction(self) -> Direction:
        """From which contrast to which."""
        return Direction(self.source, self.target)

    @property
    def name(self) -> str:
        """Such as `dm 3T-to-1.5T fold 0 seed 0`."""
        return str(Cell(self.label, self.direction, self.fold, self.seed))

    @property
    def key(self) -> str:
        """SHA-256 of all that the model's output depends on: files, method, settings, preparation."""
        names = {
            *("uses", "settings", "source", "target", "fold", "seed", "rescale"),
            *("mask_background", "preparation", "files"),
        }
        return key_of("model", self.model_dump(mode="json", include=names))


def check_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a saved model by its name.

    Raises:
        RunError: a file is neither safetensors nor JSON. Nothing is opened before this is known.
    """
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    bad = [str(path.relative_to(folder)) for path in paths if path.suffix not in SAFE_SUFFIXES]
    if bad:
        raise RunError(
            f"{folder}: a model consists of {' and '.join(SAFE_SUFFIXES)} files, which cannot hold "
            f"code; not loaded because of {', '.join(bad)}"
        )
    return {path.relative_to(folder).as_posix(): file_key(path) for path in paths}


def describe_cell(folder: Path, progress: Progress) -> tuple[ModelRecord, str]:
    """Describe the model of a finished cell.

    Args:
        folder: such as `OUT/cells/dm/3T-to-1.5T/fold-0/seed-0`.
        progress: told about the reading of the training scans.

    Returns:
        The record, and the method as the run called it: a name or FILE.py:CLASS (the record has no
        path in it).

    Raises:
        RunError: not the folder of a cell with a fitted model, or it does not lie in its run.
    """
    paths = CellFolder(folder)
    own = paths.read_record()
    if "keys" not in own:
        raise RunError(f"{folder}: not a cell's folder, nor an exported model")
    if "fit" not in own["keys"] or not paths.model.is_dir():
        raise RunError(f"{folder}: the cell has no fitted model (its status is {own['status']})")
    direction = Direction(own["source"], own["target"])
    cell = Cell(own["method"], direction, own["fold"], own["seed"])
    root = Path(*folder.resolve().parts[: -len(cell.path.parts)])
    run = RunFolder(root)
    if root / cell.path != folder.resolve() or not run.record.is_file():
        raise RunError(f"{folder}: the cell does not lie in its run folder; export it from there")
    record = run.read_record()
    described = record["methods"].get(cell.method, {})
    cohort = record["cohort"]
    found = ModelRecord(
        label=cell.method,
        uses=_without_folder(own["uses"]),
        title=described.get("title") or cell.method,
        reference=described.get("reference", ""),
        settings=own["settings"],
        source=direction.source,
        target=direction.target,
        fold=cell.fold,
        seed=cell.seed,
        rescale=own["rescale"],
        mask_background=own["mask_background"],
        preparation=_portable(cohort.get("preparation")),
        cohort=CohortNote(**{name: cohort[name] for name in CohortNote.model_fields}),
        training=_training_data(run, cell, own["subjects"], progress),
        held_out=len(own["subjects"]),
        segmenter=own["segmenter"],
        scores=_scores(run, cell),
        versions=_versions(record["invocations"], own.get("made_by", {}).get("fit")),
        files=check_files(paths.model),
    )
    return found, own["uses"]


def _versions(invocations: Sequence[Mapping[str, Any]], fitted_by: str | None) -> dict[str, str]:
    """Versions that a model was fitted with.

    A cell of an earlier harmbench does not say which invocation fitted it: then only versions that all
    of the run's invocations share are known.
    """
    own = [one for one in invocations if one.get("id") == fitted_by] if fitted_by else []
    found: dict[str, set[str]] = {}
    for one in own or invocations:
        for name, version in {"harmbench": one["version"], **one["packages"]}.items():
            found.setdefault(name, set()).add(str(version))
    return {name: "not recorded" if len(v) > 1 else v.pop() for name, v in found.items()}


def _without_folder(uses: str) -> str:
    return Path(uses).name if ":" in uses else uses


def _portable(preparation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Preparation settings without what belongs to one machine."""
    if preparation is None:
        return None
    strip = {**preparation.get("strip", {}), "hd_bet_weights": None}
    return {**preparation, "strip": strip}


def _training_data(
    run: RunFolder, cell: Cell, held_out: Sequence[str], progress: Progress
) -> TrainingData | None:
    """Look at the training scans; `None` where they are gone."""
    table = run.input_table()
    groups = {row["subject"]: row["group"] for row in table.to_dict("records")}
    paths = {(r["subject"], r["session"]): Path(r["path"]) for r in table.to_dict("records")}
    subjects = [subject for subject in groups if subject not in set(held_out)]
    histograms: dict[str, list[Any]] = {cell.direction.source: [], cell.direction.target: []}
    scanners: dict[str, dict[str, set[str]]] = {session: {} for session in histograms}
    spacings, shapes, raw_spacings = set(), set(), set()
    try:
        for done, subject in enumerate(subjects):
            progress("training scans", done, len(subjects))
            for session, known in histograms.items():
                volume = run.input_volume(subject, session)
                known.append(brain_histogram(volume))
                for name, value in scanner_of(paths[subject, session]).items():
                    scanners[session].setdefault(name, set()).add(value)
            spacings.add(_rounded(volume.spacing_mm))
            shapes.add(volume.shape)
            raw_spacings.add(raw_spacing_mm(paths[subject, cell.direction.source]))
    except HarmbenchError:
        return None
    counts = [groups[subject] for subject in subjects]
    return TrainingData(
        subjects=len(subjects),
        groups={group: counts.count(group) for group in sorted(set(counts))},
        spacings_mm=tuple(sorted(spacings)),
        shapes=tuple(sorted(shapes)),
        source_histogram=_mean(histograms[cell.direction.source]),
        target_histogram=_mean(histograms[cell.direction.target]),
        largest_distance=largest_distance(histograms[cell.direction.source]),
        source_raw_spacings_mm=tuple(sorted({_rounded(mm) for mm in raw_spacings if mm})),
        source_scanner=_sorted(scanners[cell.direction.source]),
        target_scanner=_sorted(scanners[cell.direction.target]),
    )


def _rounded(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = (round(mm, 3) for mm in spacing_mm)
    return x, y, z


def _mean(histograms: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(f"{share:.9g}") for share in np.mean(histograms, axis=0))


def _sorted(found: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(found[name])) for name in SCANNER_FIELDS if name in found}


def _scores(run: RunFolder, cell: Cell) -> dict[str, dict[str, float]]:
    """Means over the held-out subjects, of every method that was scored on the same ones."""
    found: dict[str, dict[str, float]] = {}
    for other, _ in run.cells():
        same = (other.direction, other.fold, other.seed) == (cell.direction, cell.fold, cell.seed)
        path = run.cell(other).scores
        if not same or not path.is_file():
            continue
        rows = read_results(path)
        rows = rows[rows["metric"].isin(MAIN_METRICS) & rows["value"].notna()]
        means = rows.groupby(["metric", "tissue"])["value"].mean()
        found[other.method] = {
            f"{metric} {tissue}".strip(): float(f"{means[metric, tissue]:.6g}")
            for metric, tissue in sorted(means.index, key=lambda i: (MAIN_METRICS.index(i[0]), i))
        }
    return found
