"""The files of one cell, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harmbench.errors import DamagedRecordError
from harmbench.files.names import file_label
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.records import read_record, write_record

__all__ = ["CellFolder"]


@dataclass(frozen=True, slots=True)
class CellFolder:
    """Paths inside one cell's folder."""

    root: Path

    @property
    def record(self) -> Path:
        """Status, keys, wall time and peak memory per stage (JSON)."""
        return self.root / "cell.json"

    def read_record(self) -> CellRecord | None:
        """Read `cell.json`; `None` where it is absent or damaged, and the cell starts anew.

        Raises:
            ReportError: a later harmbench wrote it.
        """
        try:
            return read_record(CellRecord, self.record)
        except DamagedRecordError:
            return None

    def why_damaged(self) -> str | None:
        """Say why `cell.json` cannot be used, beginning with its name; `None` where it is good or absent.

        Raises:
            ReportError: a later harmbench wrote it.
        """
        try:
            read_record(CellRecord, self.record)
        except DamagedRecordError as error:
            return str(error).replace(str(self.record), self.record.name, 1)
        return None

    def write_record(self, record: CellRecord) -> None:
        """Write `cell.json`."""
        write_record(record, self.record)

    @property
    def log(self) -> Path:
        """What happened, and the traceback of a failure."""
        return self.root / "log.txt"

    @property
    def model(self) -> Path:
        """Folder of the fitted model."""
        return self.root / "model"

    @property
    def training(self) -> Path:
        """Folder of checkpoints and the loss curve."""
        return self.root / "training"

    @property
    def progress(self) -> Path:
        """Where the work on the cell stands (JSON); there as long as it is worked on."""
        return self.root / "progress.json"

    @property
    def lock(self) -> Path:
        """Which process works on the cell (JSON); there as long as one does."""
        return self.root / "lock.json"

    @property
    def scores(self) -> Path:
        """The cell's rows of the tidy table."""
        return self.root / "scores.csv"

    def volume(self, pair: str) -> Path:
        """Return the path of the harmonized volume of a tested pair, by its name."""
        return self.root / "volumes" / f"{file_label(pair)}.nii.gz"

    @property
    def beside(self) -> Path:
        """Folder of what a method gave beside its results, a folder for each name."""
        return self.root / "beside"

    def kept(self, pair: str, name: str) -> Path:
        """Return the path of what a method gave beside a pair's harmonized volume as `name`."""
        return self.beside / file_label(name) / f"{file_label(pair)}.nii.gz"

    @property
    def segmentations(self) -> Path:
        """Folder of the labels of the harmonized volumes."""
        return self.root / "segmentations"

    def labels(self, pair: str, segmenter: str) -> Path:
        """Return the path of the segmentation of a pair's harmonized volume."""
        return self.segmentations / f"{file_label(pair)}_{segmenter}.nii.gz"
