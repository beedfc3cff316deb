"""What is known of a trained model: how to run it, what it learned from, and how well it did."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from harmbench.cohorts.base import Rescale
from harmbench.errors import RunError
from harmbench.metrics.histogram import BINS
from harmbench.runner.folder import Cell
from harmbench.settings import Settings
from harmbench.storage import file_key, key_of
from harmbench.task import Direction

__all__ = [
    "SAFE_SUFFIXES",
    "CohortNote",
    "ModelRecord",
    "TrainingData",
    "check_files",
]

SAFE_SUFFIXES = (".safetensors", ".json")
"""Files that a model may consist of: neither can hold code."""


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
    settings: dict[str, object]
    source: str
    target: str
    fold: int
    seed: int
    rescale: Rescale
    mask_background: bool
    preparation: dict[str, object] | None
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
        RunError: a file is neither safetensors nor JSON, or cannot be read. Nothing is opened before
            the kinds of all are known.
    """
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    bad = [str(path.relative_to(folder)) for path in paths if path.suffix not in SAFE_SUFFIXES]
    if bad:
        raise RunError(
            f"{folder}: a model consists of {' and '.join(SAFE_SUFFIXES)} files, which cannot hold "
            f"code; not loaded because of {', '.join(bad)}"
        )
    try:
        return {path.relative_to(folder).as_posix(): file_key(path) for path in paths}
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be read ({error.strerror})") from error
