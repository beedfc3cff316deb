"""What a report is made from: the merged results of one or more run folders, and their volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from harmbench.endpoint import EndpointSettings
from harmbench.errors import RunError, VolumeError
from harmbench.metrics.base import Metric
from harmbench.results import BASELINE, REAL_SCANS
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.inputs import InputScans
from harmbench.runner.pairs import SessionPair
from harmbench.runner.pieces import damaged_labels, damaged_volume
from harmbench.runner.run_record import RunRecord
from harmbench.runner.tissue_volumes import VOLUME_METRICS
from harmbench.settings import validated
from harmbench.statistics import subject_values
from harmbench.task import Direction
from harmbench.volume import Kind, Volume, read

__all__ = ["MOST_DIRECTIONS", "Evidence", "StoredCell", "declared_endpoint"]

MOST_DIRECTIONS = 6
"""Directions that a report shows one by one; further ones are in the overview and the files."""


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A cell on disk: where it lies, and its record."""

    run: RunFolder
    cell: Cell
    record: CellRecord

    @property
    def folder(self) -> CellFolder:
        """Paths inside the cell's folder."""
        return self.run.cell(self.cell)

    def has_volume(self, pair: str) -> bool:
        """Whether a pair's harmonized volume is as it was written, as far as that is recorded."""
        return not damaged_volume(self.record, self.folder, pair)

    def has_labels(self, pair: str, segmenter: str) -> bool:
        """Whether a pair's labels are as they were written, as far as that is recorded."""
        return not damaged_labels(self.record, self.folder, pair, segmenter)

    @property
    def failed(self) -> bool:
        """Whether the cell ended with an error."""
        return self.record.status == "failed"

    def tests(self, subject: str) -> bool:
        """Whether a subject is among those that the cell tests on, as far as its record says."""
        return self.record.subjects is None or subject in self.record.subjects

    def pair(self, subject: str) -> SessionPair | None:
        """Return the first pair that the cell tests of a subject; `None` where it tests none."""
        return next((pair for pair in self.record.tested if pair.subject == subject), None)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that tables, figures and the page are made from.

    Attributes:
        runs: the run folders, in the order given; the later counts.
        records: `run.json` of each run.
        results: merged tidy table.
        summary: see `harmbench.statistics.summarize`.
        metrics: declarations of all metrics in the results, in the order of tables; a metric that
            is not declared gets a declaration without a better direction.
        methods: method to title, in the order of tables: untreated first; volume corrections and the
            ceiling last.
        directions: in the order of tables: the paper's first.
        groups: group to subjects, sorted.
        segmenter: name of the segmenter that tissue tables show; empty without tissue scores.
        cells: cells on disk by (method, direction), later runs first.
        lead: subject that panels show.
        lead_reason: why that one, for captions.
        notes: what a reader should know about how the runs fit together.
        training_sizes: results with the column `train_subjects`, see `results.read_training_sizes`;
            empty where all cells learned from every training subject.
    """

    runs: tuple[RunFolder, ...]
    records: tuple[RunRecord, ...]
    results: pd.DataFrame
    summary: pd.DataFrame
    metrics: Mapping[str, Metric]
    methods: Mapping[str, str]
    directions: tuple[Direction, ...]
    groups: Mapping[str, tuple[str, ...]]
    segmenter: str
    cells: Mapping[tuple[str, Direction], tuple[StoredCell, ...]]
    lead: str
    lead_reason: str
    notes: tuple[str, ...] = ()
    training_sizes: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def record(self) -> RunRecord:
        """`run.json` of the last run."""
        return self.records[-1]

    @property
    def name(self) -> str:
        """Names of the runs."""
        names = [r.name or run.root.name for r, run in zip(self.records, self.runs, strict=True)]
        return " + ".join(dict.fromkeys(names))

    @property
    def simulated(self) -> bool:
        """Whether the scans are simulated."""
        return self.record.cohort.simulated

    @property
    def shown_directions(self) -> tuple[Direction, ...]:
        """Directions that have tables and figures of their own; of very many, the first."""
        many = len(self.directions) > MOST_DIRECTIONS
        return self.directions[:MOST_DIRECTIONS] if many else self.directions

    @property
    def corrections(self) -> tuple[str, ...]:
        """Volume corrections: methods that give tissue volumes, and no images."""
        described = {name: one for record in self.records for name, one in record.methods.items()}
        return tuple(n for n in self.methods if n in described and described[n].maps == "volumes")

    @property
    def candidates(self) -> tuple[str, ...]:
        """Methods that give images, without the untreated source, the ceiling and rescans."""
        others = {BASELINE, *REAL_SCANS, *self.corrections}
        return tuple(name for name in self.methods if name not in others)

    def parameters(self, method: str) -> int | None:
        """Return the number of trainable parameters of a method; `None` for one without networks."""
        for record in reversed(self.records):
            known = record.methods.get(method)
            if known is not None and known.parameters:
                return sum(known.parameters.values())
        return None

    @property
    def networks(self) -> tuple[str, ...]:
        """The candidates that are, or have, networks: those that state trainable parameters."""
        return tuple(name for name in self.candidates if self.parameters(name) is not None)

    def methods_for(self, metrics: Iterable[str]) -> dict[str, str]:
        """Return method to title of the methods that can have a value of any of some metrics."""
        left_out = set() if set(metrics) & set(VOLUME_METRICS) else set(self.corrections)
        return {name: title for name, title in self.methods.items() if name not in left_out}

    @property
    def has_baseline(self) -> bool:
        """Whether the untreated source was scored."""
        return BASELINE in self.methods

    def rows(self, metric: str, tissue: str = "", group: str = "all") -> pd.DataFrame:
        """Return the summary rows of one metric, tissue and group, of the segmenter shown."""
        rows = self._summaries.get((metric, tissue, group), self.summary.iloc[:0])
        mine: pd.DataFrame = rows[rows["segmenter"] == self.segmenter] if tissue else rows
        return mine

    @cached_property
    def _summaries(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """The summary by metric, tissue and group."""
        parts = self.summary.groupby(["metric", "tissue", "group"], sort=False)
        return {(str(m), str(t), str(g)): rows for (m, t, g), rows in parts}

    def values(self, metric: str, tissue: str = "") -> pd.DataFrame:
        """Return one row per method, direction and subject (mean over seeds) of one metric."""
        rows = self._values.get((metric, tissue))
        if rows is None:
            return subject_values(self.results.iloc[:0])
        mine = rows[rows["segmenter"] == self.segmenter] if tissue else rows
        return mine.reset_index(drop=True)

    @cached_property
    def _values(self) -> dict[tuple[str, str], pd.DataFrame]:
        """The values of subjects by metric and tissue."""
        parts = subject_values(self.results).groupby(["metric", "tissue"], sort=False)
        return {(str(metric), str(tissue)): rows for (metric, tissue), rows in parts}

    def has(self, metric: str) -> bool:
        """Whether any row measures `metric`."""
        return metric in self.metrics

    def scan(self, subject: str, session: str) -> Volume | None:
        """Read a real scan in [0, 1]; `None` where no run has it any more."""
        for inputs in reversed(self._inputs):
            try:
                return inputs.volume(subject, session)
            except (RunError, VolumeError, FileNotFoundError):
                continue
        return None

    def date(self, subject: str, session: str) -> str:
        """Return the date of a real scan in ISO 8601; empty where no run knows it."""
        found = (inputs.scans.get((subject, session)) for inputs in reversed(self._inputs))
        return next((scan.when for scan in found if scan is not None), "")

    @cached_property
    def _inputs(self) -> tuple[InputScans, ...]:
        """The tables of real scans of the runs that have one, each read once."""
        found = []
        for run in self.runs:
            with suppress(RunError, FileNotFoundError):
                found.append(run.input_scans())
        return tuple(found)

    def pair(self, direction: Direction, subject: str) -> SessionPair:
        """Return the scans of a subject that figures of a direction show: its first tested pair."""
        for (_, way), found in self.cells.items():
            if way == direction:
                for cell in found:
                    tested = cell.pair(subject)
                    if tested is not None:
                        return tested
        return SessionPair(subject, "", direction.source, direction.target)

    def harmonized(self, method: str, direction: Direction, subject: str) -> Volume | None:
        """Read the harmonized volume of a subject's first visit; `None` where no run has it."""
        name = self.pair(direction, subject).name
        cells = self._cells_of(method, direction, subject)
        return _first(c.folder.volume(name) for c in cells if c.has_volume(name))

    def scan_labels(self, subject: str, session: str) -> Volume | None:
        """Read the tissue labels of a real scan; `None` where no run has them."""
        runs = reversed(self.runs)
        return _first((r.input_labels(subject, session, self.segmenter) for r in runs), "label")

    def labels(self, method: str, direction: Direction, subject: str) -> Volume | None:
        """Read the labels of the harmonized volume of a first visit; `None` where no run has them."""
        cells, name = (
            self._cells_of(method, direction, subject),
            self.pair(direction, subject).name,
        )
        whole = (c for c in cells if c.has_labels(name, self.segmenter))
        return _first((c.folder.labels(name, self.segmenter) for c in whole), "label")

    def failed(self, method: str, direction: Direction, subject: str) -> bool:
        """Whether the cell that a subject was tested in failed, in the run that counts."""
        return any(cell.failed for cell in list(self._cells_of(method, direction, subject))[:1])

    def counted_cells(self, method: str, direction: Direction) -> tuple[StoredCell, ...]:
        """Return the cells of a method and direction; where runs share one, the later run's."""
        found: dict[Cell, StoredCell] = {}
        for record in self.cells.get((method, direction), ()):
            found.setdefault(record.cell, record)
        return tuple(found.values())

    def _cells_of(self, method: str, direction: Direction, subject: str) -> Iterator[StoredCell]:
        for found in self.cells.get((method, direction), ()):
            if found.tests(subject):
                yield found


def _first(paths: Iterator[Path], kind: Kind = "intensity") -> Volume | None:
    for path in paths:
        if path.is_file():
            try:
                return read(path, kind)
            except VolumeError:
                continue
    return None


def declared_endpoint(evidence: Evidence) -> EndpointSettings:
    """Return what the last run declared, or the default where it declared nothing."""
    for invocation in reversed(evidence.record.invocations):
        if isinstance(declared := invocation.config.get("endpoint"), Mapping):
            return validated(EndpointSettings, declared, "endpoint")
    return EndpointSettings()
