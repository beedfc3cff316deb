"""The layout of a run folder: where each stage leaves its output, and how later stages find it.

```
OUT/
  run.json            cohort, directions, methods with settings, segmenter, one entry per invocation
  config.yaml         resolved settings of the last invocation
  folds.csv           subject, group, fold
  inputs.csv          subject, group, session, path, mask, sha256, rescale
  results.csv         the tidy table, all cells
  segmentations/      labels of the real scans, SUBJECT_SESSION_SEGMENTER.nii.gz
  cells/METHOD/DIRECTION/fold-F/seed-S/
    cell.json         status, keys, wall time and peak memory per stage, and the invocation that made
                      each stage's output
    log.txt           what happened, and the traceback of a failure
    model/            what the method saved; training/ its checkpoints and loss curve
    volumes/          SUBJECT.nii.gz, the harmonized volumes
    segmentations/    SUBJECT_SEGMENTER.nii.gz
    scores.csv        this cell's rows of the tidy table
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from harmbench.cohorts.base import Rescale, Scan, load_scan
from harmbench.errors import ReportError, RunError
from harmbench.files.names import file_label
from harmbench.storage import read_json, write_json
from harmbench.task import Direction
from harmbench.volume import Volume, read

__all__ = ["Cell", "CellFolder", "RunFolder"]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """The unit of work: one method, direction, fold and seed."""

    method: str
    direction: Direction
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.method} {self.direction} fold {self.fold} seed {self.seed}"

    @property
    def path(self) -> Path:
        """Folder of the cell, relative to the run folder's root."""
        parts = (file_label(self.method), file_label(str(self.direction)))
        return Path("cells", *parts, f"fold-{self.fold}", f"seed-{self.seed}")


@dataclass(frozen=True, slots=True)
class CellFolder:
    """Paths inside one cell's folder."""

    root: Path

    @property
    def record(self) -> Path:
        """Status, keys, wall time and peak memory per stage (JSON)."""
        return self.root / "cell.json"

    def read_record(self) -> dict[str, Any]:
        """Read `cell.json`; one that is absent or damaged is empty, and the cell starts anew."""
        try:
            record = read_json(self.record)
        except (ValueError, OSError):
            return {}
        return cast(dict[str, Any], record) if isinstance(record, dict) else {}

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
    def scores(self) -> Path:
        """The cell's rows of the tidy table."""
        return self.root / "scores.csv"

    def volume(self, subject: str) -> Path:
        """Return the path of a subject's harmonized volume."""
        return self.root / "volumes" / f"{file_label(subject)}.nii.gz"

    @property
    def beside(self) -> Path:
        """Folder of what a method gave beside its results, a folder for each name."""
        return self.root / "beside"

    def kept(self, subject: str, name: str) -> Path:
        """Return the path of what a method gave beside a subject's harmonized volume as `name`."""
        return self.beside / file_label(name) / f"{file_label(subject)}.nii.gz"

    def labels(self, subject: str, segmenter: str) -> Path:
        """Return the path of the segmentation of a subject's harmonized volume."""
        return self.root / "segmentations" / f"{file_label(subject)}_{segmenter}.nii.gz"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder on disk."""

    root: Path

    @property
    def results(self) -> Path:
        """The tidy results table."""
        return self.root / "results.csv"

    @property
    def record(self) -> Path:
        """Cohort, directions, methods and invocations (JSON)."""
        return self.root / "run.json"

    @property
    def folds(self) -> Path:
        """The table subject, group, fold."""
        return self.root / "folds.csv"

    @property
    def inputs(self) -> Path:
        """The table subject, group, session, path, mask, sha256, rescale."""
        return self.root / "inputs.csv"

    @property
    def config(self) -> Path:
        """The resolved settings of the last invocation (YAML)."""
        return self.root / "config.yaml"

    def cell(self, cell: Cell) -> CellFolder:
        """Return the folder of a cell."""
        return CellFolder(self.root / cell.path)

    def cells(self) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Go through the cells on disk with their records, in order.

        A cell whose record is damaged is not there: the next run makes it again.
        """
        found = []
        for path in self.root.glob("cells/*/*/fold-*/seed-*/cell.json"):
            record = CellFolder(path.parent).read_record()
            try:
                direction = Direction(record["source"], record["target"])
                cell = Cell(record["method"], direction, record["fold"], record["seed"])
            except KeyError:
                continue
            found.append((cell, record))
        yield from sorted(found, key=lambda item: item[0])

    def read_record(self) -> dict[str, Any]:
        """Read `run.json`.

        Raises:
            ReportError: there is none, or it is damaged.
        """
        try:
            record = read_json(self.record)
        except (ValueError, OSError) as error:
            raise ReportError(f"{self.record}: damaged, not JSON ({error})") from error
        if record is None:
            raise ReportError(f"{self.root}: not a run folder, it has no {self.record.name}")
        if not isinstance(record, dict):
            raise ReportError(f"{self.record}: damaged, not the record of a run")
        return cast(dict[str, Any], record)

    def update_record(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change `run.json` as it is now: another run may have written there a moment ago.

        Args:
            change: changes the record in place; it gets an empty one where there is none.

        Raises:
            ReportError: the record is damaged.
        """
        record = self.read_record() if self.record.is_file() else {}
        change(record)
        write_json(self.record, record)

    def fold_table(self) -> pd.DataFrame:
        """Read the table subject, group, fold; all are text.

        Raises:
            RunError: it is missing or damaged.
        """
        return _read_table(self.folds, ("subject", "group", "fold"))

    def input_table(self) -> pd.DataFrame:
        """Read the table of input scans; all columns are text.

        Raises:
            RunError: it is missing or damaged.
        """
        return _read_table(self.inputs, ("subject", "group", "session", "path", "mask", "sha256"))

    def input_volume(self, subject: str, session: str) -> Volume:
        """Read a real scan as the methods saw it, in [0, 1].

        Raises:
            RunError: the run has no such scan.
            VolumeError: the file is gone or damaged.
        """
        frame = self.input_table()
        rows = frame[(frame["subject"] == subject) & (frame["session"] == session)]
        if rows.empty:
            raise RunError(f"{self.root}: no scan of subject {subject}, session {session}")
        row = rows.iloc[0]
        mask = Path(row["mask"]) if row["mask"] else None
        scan = Scan(subject, session, Path(row["path"]), mask)
        return load_scan(scan, cast(Rescale, row["rescale"]))

    def input_labels(self, subject: str, session: str, segmenter: str) -> Path:
        """Return the path of the segmentation of a real scan."""
        name = f"{file_label(subject)}_{file_label(session)}_{segmenter}.nii.gz"
        return self.root / "segmentations" / name

    def harmonized(self, cell: Cell, subject: str) -> Volume:
        """Read a subject's harmonized volume."""
        return read(self.cell(cell).volume(subject))


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: missing or damaged ({error}); choose another --out") from error
    missing = [column for column in columns if column not in found.columns]
    if missing:
        raise RunError(f"{path}: damaged, columns missing: {', '.join(missing)}")
    return found
