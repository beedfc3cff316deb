"""Results of several laboratories side by side: pooled where they are comparable, and only there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from harmbench.exchange.archive import Shared, read_archive
from harmbench.exchange.export import shared_results
from harmbench.metrics.base import Metric
from harmbench.report.comparable import Conditions, fold_places, why_apart
from harmbench.report.evidence import Evidence
from harmbench.report.loading import (
    declared_metrics,
    list_directions,
    list_groups,
    merged_results,
    merged_training_sizes,
    method_titles,
)
from harmbench.runner.run_record import CohortRecord, MethodRecord, RunRecord
from harmbench.statistics import summarize
from harmbench.storage import key_of

__all__ = ["Board", "Source", "make_boards", "read_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """Results of one laboratory: from a file, or from a run folder as its file would have them.

    Attributes:
        name: of the file or folder, for the page.
        shared: what the file holds.
    """

    name: str
    shared: Shared

    @property
    def conditions(self) -> Conditions:
        """Under which conditions the results were measured."""
        record, results = self.shared.record, self.shared.results
        cohort = record.cohort
        prepared = cohort.preparation
        return Conditions(
            name=self.name,
            cohort=cohort.kind,
            simulated=cohort.simulated,
            scans={"scans of the cohort": cohort.inputs},
            preparation="" if prepared is None else key_of(prepared),
            folds=fold_places(results),
            segmenter=record.segmenter,
            metrics=frozenset(record.metrics),
            stacking_axis=record.stacking_axis,
        )


@dataclass
class Board:
    """Results that may be pooled.

    Attributes:
        number: from 1, in the order given.
        sources: where they come from; where two measured the same, the later counts.
        apart: why results on the same cohort stand on another board.
    """

    number: int
    sources: list[Source]
    apart: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Key of the cohort."""
        return self.sources[0].shared.record.cohort.key

    @property
    def title(self) -> str:
        """Name of the cohort: that of a laboratory, or the first digits of its key."""
        labels = dict.fromkeys(source.shared.record.cohort.label for source in self.sources)
        label = " / ".join(text for text in labels if text)
        return f"{self.number}. {label or f'Cohort {self.key[:8]}'}"

    @property
    def subjects(self) -> int:
        """Number of subjects of the cohort."""
        return self.sources[0].shared.record.cohort.subjects

    def conditions(self) -> tuple[str, ...]:
        """Say under which conditions the board's results were measured, in words."""
        record = self.sources[0].shared.record
        versions = sorted({v for source in self.sources for v in source.shared.record.versions})
        folds = record.folds
        parts = (
            f"cohort {self.key[:8]}, {self.subjects} subjects",
            f"segmenter {record.segmenter.name} {record.segmenter.version}".rstrip(),
            f"{folds.k} folds" if folds else "",
            f"metrics {key_of(*record.metrics)[:8]}" if record.metrics else "metrics: not recorded",
            f"harmbench {', '.join(versions)}" if versions else "",
        )
        return tuple(part for part in parts if part)

    def evidence(self, metrics: Mapping[str, Metric]) -> Evidence:
        """Return the pooled results, as tables need them; there are no volumes.

        Args:
            metrics: declarations by name, in the order of tables.
        """
        results = merged_results(source.shared.results for source in self.sources)
        record = self._record()
        declared = declared_metrics(results, metrics)
        return Evidence(
            runs=(),
            records=(record,),
            results=results,
            summary=summarize(results, declared),
            metrics=declared,
            methods=method_titles(results, [record]),
            directions=list_directions(results, [record]),
            groups=list_groups(results),
            segmenter=self._segmenter(results),
            cells={},
            lead=str(results["subject"].iloc[0]),
            lead_reason="",
            training_sizes=merged_training_sizes(
                source.shared.training_sizes for source in self.sources
            ),
        )

    def _record(self) -> RunRecord:
        shared = [source.shared.record for source in self.sources]
        methods = {
            name: MethodRecord(title=one.title, maps=one.maps)
            for record in shared
            for name, one in record.methods.items()
        }
        return RunRecord(
            cohort=CohortRecord(name=shared[0].cohort.kind, simulated=shared[0].cohort.simulated),
            directions=tuple(dict.fromkeys(way for one in shared for way in one.directions)),
            methods=methods,
        )

    def _segmenter(self, results: pd.DataFrame) -> str:
        names = results.loc[results["tissue"] != "", "segmenter"]
        own = self.sources[-1].shared.record.segmenter.name
        if own in set(names) or names.empty:
            return own
        return str(names.mode().iloc[0])


def read_source(path: Path, name: str) -> Source:
    """Read a file of exported results, or a run folder as its file would have it.

    Raises:
        ReportError, RunError: it is neither, or is damaged.
    """
    shared = read_archive(path) if path.is_file() else shared_results(path)
    return Source(name, shared)


def make_boards(sources: Iterable[Source]) -> list[Board]:
    """Put results that may be pooled on one board, and all others on boards of their own."""
    boards: list[Board] = []
    for source in sources:
        same = [board for board in boards if board.key == source.shared.record.cohort.key]
        reasons: list[str] = []
        for board in same:
            found = _reasons(board.sources, source)
            if not found:
                board.sources.append(source)
                break
            reasons += found
        else:
            boards.append(Board(len(boards) + 1, [source], list(dict.fromkeys(reasons))))
    return boards


def _reasons(pooled: Sequence[Source], source: Source) -> list[str]:
    own = source.conditions
    return [text for other in pooled for text in why_apart(other.conditions, own)]
