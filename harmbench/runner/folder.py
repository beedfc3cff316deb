"""The layout of a run folder: where each stage leaves its output, and how later stages find it.

```
OUT/
  invocations/        NUMBER-ID.json, what each invocation added: itself, cohort, directions, methods
  run.json            all of them together: cohort, directions, methods with settings, segmenter
  planned.json        the cells of the last run, and their folders
  config.yaml         resolved settings of the last invocation
  folds.csv           subject, group, fold; direction, where some have folds of their own
  inputs.csv          subject, group, session, path, mask, sha256, mask_sha256, rescale; scanner, visit
                      and when, where sessions are not simply the scanners
  results.csv         the tidy table, all cells that learned from every training subject
  results.parquet     the same by columns, where pyarrow is installed
  training-sizes.csv  the same with the column train_subjects, where cells learned from fewer
  segmentations/      labels of the real scans, SUBJECT_SESSION_SEGMENTER.nii.gz
  cells/METHOD/DIRECTION/fold-F/seed-S/   (seed-S_train-N: learned from N training subjects only)
    cell.json         status, keys, wall time and peak memory per stage, and the invocation that made
                      each stage's output
    lock.json         while the cell is worked on: by which process
    progress.json     while the cell is worked on: where that is
    log.txt           what happened, and the traceback of a failure
    model/            what the method saved; training/ its checkpoints and loss curve
    volumes/          PAIR.nii.gz, the harmonized volumes
    beside/NAME/      PAIR.nii.gz, what a method gave beside them, such as a standard deviation
    segmentations/    PAIR_SEGMENTER.nii.gz
    scores.csv        this cell's rows of the tidy table
```

PAIR is SUBJECT, or SUBJECT_VISIT where subjects have several scans on one scanner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harmbench.errors import ReportError, RunError
from harmbench.files.names import file_label
from harmbench.holders import SILENT_S
from harmbench.locks import Lock
from harmbench.results import read_results
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.columns import read_columns
from harmbench.runner.inputs import InputScans, read_inputs, read_table
from harmbench.runner.invocation_files import invocation_files, read_run
from harmbench.runner.run_record import RunRecord
from harmbench.storage import file_key
from harmbench.task import Direction
from harmbench.volume import Volume, read

__all__ = ["Cell", "RunFolder"]

_LONGEST_WAIT_S = 2 * SILENT_S
_MAKES_AGAIN = "the run's own command makes it again"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """The unit of work: one method, direction, fold and seed.

    Attributes:
        method: its label.
        direction: source and target scanner.
        fold: number of the fold that is held out.
        seed: of the method.
        train_subjects: number of training subjects that it learns from; 0: all that the fold has.
    """

    method: str
    direction: Direction
    fold: int
    seed: int
    train_subjects: int = 0

    def __str__(self) -> str:
        plural = "s" if self.train_subjects > 1 else ""
        few = f" on {self.train_subjects} training subject{plural}" if self.train_subjects else ""
        return f"{self.method} {self.direction} fold {self.fold} seed {self.seed}{few}"

    @classmethod
    def of(cls, record: CellRecord) -> Cell:
        """Return the cell that a record is of."""
        return cls(record.method, record.direction, record.fold, record.seed, record.reduced_to)

    @property
    def path(self) -> Path:
        """Folder of the cell, relative to the run folder's root."""
        parts = (file_label(self.method), file_label(str(self.direction)))
        few = f"_train-{self.train_subjects}" if self.train_subjects else ""
        return Path("cells", *parts, f"fold-{self.fold}", f"seed-{self.seed}{few}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder on disk."""

    root: Path

    @property
    def results(self) -> Path:
        """The tidy results table, of cells that learned from every training subject."""
        return self.root / "results.csv"

    @property
    def columns(self) -> Path:
        """The tidy results table by columns (Parquet); it need not exist."""
        return self.root / "results.parquet"

    @property
    def training_sizes(self) -> Path:
        """The tidy results table of all cells, with the number of training subjects."""
        return self.root / "training-sizes.csv"

    @property
    def record(self) -> Path:
        """Cohort, directions, methods and invocations (JSON)."""
        return self.root / "run.json"

    @property
    def folds(self) -> Path:
        """The table subject, group, fold; direction, where some have folds of their own."""
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

    def cells(self) -> Iterator[tuple[Cell, CellRecord]]:
        """Go through the cells on disk that learned from every training subject, in order.

        A cell whose record is damaged is not there: the next run makes it again.
        """
        for cell, record in self.all_cells():
            if not cell.train_subjects:
                yield cell, record

    def all_cells(self) -> Iterator[tuple[Cell, CellRecord]]:
        """Go through all cells on disk with their records, in order: those on fewer subjects too."""
        found = []
        for path in self.root.glob("cells/*/*/fold-*/seed-*/cell.json"):
            record = CellFolder(path.parent).read_record()
            if record is not None:
                found.append((Cell.of(record), record))
        yield from sorted(found, key=lambda item: item[0])

    def read_record(self) -> RunRecord:
        """Read what all invocations of the run recorded.

        Raises:
            ReportError: there is no record, it is damaged, or a later harmbench wrote it.
        """
        record = read_run(self.root)
        if record is None:
            raise ReportError(f"{self.root}: not a run folder, it has no {self.record.name}")
        return record

    @property
    def is_run(self) -> bool:
        """Whether a run has recorded anything here."""
        return self.record.is_file() or bool(invocation_files(self.root))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs from writing tables of the run folder in the block.

        Raises:
            RunError: another one has been doing that for `_LONGEST_WAIT_S` seconds.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with Lock(self.root / "lock.json", beats=False) as lock:
            holder = lock.wait(_LONGEST_WAIT_S)
            if holder is not None:
                raise RunError(f"{self.root}: {holder} has been writing its tables for too long")
            yield

    def why_not_as_written(self, table: Path, known: Collection[str] | None = None) -> str | None:
        """Say why a table of the run is not as any invocation wrote it; `None` where that is not known.

        Args:
            table: the file.
            known: the SHA-256 that it had when it was written; by default those of the run's record.
        """
        if known is None:
            try:
                known = self.read_record().tables.get(table.name, ())
            except ReportError:
                return None
        if not known or not table.is_file() or file_key(table) in known:
            return None
        return "damaged or changed since it was written"

    def _require_as_written(self, table: Path) -> None:
        if why := self.why_not_as_written(table):
            raise RunError(f"{table}: {why}; {_MAKES_AGAIN}")

    def read_results(self) -> pd.DataFrame:
        """Read the results table, by columns where that can be; see `harmbench.results.read_results`.

        Raises:
            ReportError: it is missing, no results table, or not as it was written.
        """
        if why := self.why_not_as_written(self.results):
            raise ReportError(f"{self.results}: {why}; {_MAKES_AGAIN}")
        found = self._read_columns()
        return read_results(self.results) if found is None else found

    def _read_columns(self) -> pd.DataFrame | None:
        """Read the results table by columns; `None` where it has to be read as CSV."""
        try:
            known = self.read_record().tables.get(self.columns.name, ())
        except ReportError:
            return None
        return read_columns(self.columns, self.results, known)

    def fold_table(self) -> pd.DataFrame:
        """Read the table subject, group, fold; all are text.

        Raises:
            RunError: it is missing or damaged.
        """
        self._require_as_written(self.folds)
        return read_table(self.folds, ("subject", "group", "fold"))

    def input_scans(self) -> InputScans:
        """Read the table of real scans.

        Raises:
            RunError: it is missing or damaged.
        """
        self._require_as_written(self.inputs)
        return read_inputs(self.inputs)

    def input_volume(self, subject: str, session: str) -> Volume:
        """Read one real scan as methods see it, in [0, 1]; for many, call `input_scans` once.

        Raises:
            RunError: the run has no such scan.
            VolumeError: the file is gone or damaged.
        """
        return self.input_scans().volume(subject, session)

    def input_labels(self, subject: str, session: str, segmenter: str) -> Path:
        """Return the path of the segmentation of a real scan."""
        name = f"{file_label(subject)}_{file_label(session)}_{segmenter}.nii.gz"
        return self.root / "segmentations" / name

    def harmonized(self, cell: Cell, pair: str) -> Volume:
        """Read the harmonized volume of a tested pair: the subject, and the visit if there is one."""
        return read(self.cell(cell).volume(pair))
