"""Tables of scanners by scanners: a mean for each pair of them, where there are more than two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.table import (
    Column,
    Entry,
    Head,
    Row,
    Table,
    TableNumber,
    decimals_for,
    exponent_for,
)
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import against, short_title
from harmbench.results import REAL_SCANS
from harmbench.segmentation.base import TISSUES
from harmbench.statistics import ALL
from harmbench.task import Direction

__all__ = ["MAIN_MEASURES", "overview_tables"]

_NUMBER = 29
MAIN_MEASURES = (
    ("mse", ""),
    ("ahd", ""),
    *((VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES),
    *(("dice", tissue) for tissue in TISSUES),
)
"""Metric and tissue of the measures that are shown for every direction."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Source scanners as rows, target scanners as columns."""

    sources: Sequence[str]
    targets: Sequence[str]


def overview_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each main measure; none where a run has two scanners or fewer."""
    scanners = {s for way in evidence.directions for s in (way.source, way.target)}
    if len(scanners) <= 2:
        return
    grid = _Grid(
        sorted({way.source for way in evidence.directions}),
        sorted({way.target for way in evidence.directions}),
    )
    measured = [(metric, tissue) for metric, tissue in MAIN_MEASURES if evidence.has(metric)]
    for part, (metric, tissue) in enumerate(measured, start=1):
        yield _overview(evidence, TableNumber(_NUMBER, part), grid, metric, tissue)


def _overview(
    evidence: Evidence, number: TableNumber, grid: _Grid, metric: str, tissue: str
) -> Table:
    declared = evidence.metrics[metric]
    data = evidence.rows(metric, tissue, ALL)
    data = data[~data["method"].isin(REAL_SCANS)]
    values = data["fold_mean"].tolist()
    exponent = exponent_for(values)
    decimals = decimals_for(values, exponent)
    top = Head("To", declared.unit, exponent, declared.better)
    columns = tuple(Column((top, Head(target)), exponent, decimals) for target in grid.targets)
    found = data.set_index(["method", "direction"])[["fold_mean", "rank", "n"]]
    rows = tuple(
        Row(
            (title, source),
            tuple(_entry(found, method, Direction(source, target)) for target in grid.targets),
        )
        for method, title in evidence.methods.items()
        if method not in REAL_SCANS
        for source in grid.sources
    )
    label = f"{short_title(evidence, metric)} {tissue}".strip()
    name = "-".join(["overview", metric.replace("_", "-"), *([tissue.lower()] if tissue else [])])
    return Table(
        number.file_name(name),
        f"{label}, from each scanner to each other",
        f"{against(evidence, [metric])} Rows: the scanner that is mapped from; columns: the scanner "
        "that is mapped to. Mean over each fold's subjects, then over folds; a subject's visits are "
        "averaged first. Directions differ in their subjects; their numbers are in the CSV file of "
        "this table. Bold: best method of a direction. A dash: the direction was not run.",
        ("Method", "From"),
        columns,
        rows,
        data,
        section="overview",
        number=number,
    )


def _entry(found: pd.DataFrame, method: str, direction: Direction) -> Entry:
    key = (method, str(direction))
    if key not in found.index:
        return Entry()
    value, rank = (float(found.loc[key, name]) for name in ("fold_mean", "rank"))  # type: ignore[arg-type] # one row for each method and direction
    return Entry(value, best=rank == 1)
