"""Tables about the run itself (cost, status), and the paper's numbers as tables of the same shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber, decimals_for
from harmbench.report.evidence import Evidence, StoredCell
from harmbench.report.published import CITATION, MARK, TABLES, TITLES, PublishedTable, applies_to
from harmbench.report.tables.titles import direction_title, short_title
from harmbench.results import REAL_SCANS
from harmbench.runner.cell_record import Stage
from harmbench.statistics import ALL

__all__ = ["cost_table", "published_tables", "status_table"]

_STAGES: Mapping[Stage, str] = {
    "fit": "cell",
    "harmonize": "volume",
    "segment": "volume",
    "score": "volume",
}


@dataclass(frozen=True, slots=True)
class _Cost:
    """What the cells of a method took.

    Attributes:
        seconds: stage to mean seconds, per fit or per volume.
        peak_memory_mib: the highest of all stages.
    """

    seconds: Mapping[Stage, float]
    peak_memory_mib: float


def cost_table(evidence: Evidence) -> Table | None:
    """Wall time and peak memory of each method's cells; `None` where no cell has recorded any."""
    numbers: list[dict[str, str | float | None]] = []
    for method in evidence.methods:
        cells = [c for d in evidence.directions for c in evidence.counted_cells(method, d)]
        cost = _cost(cells)
        if cost is not None:
            numbers.append(
                {
                    "method": method,
                    "parameters": evidence.parameters(method),
                    "cells": len(cells),
                    **{f"{stage}_s": cost.seconds.get(stage) for stage in _STAGES},
                    "peak_memory_mib": cost.peak_memory_mib,
                }
            )
    if not numbers:
        return None
    # A method without networks has no number of parameters; a stage that no cell has is left out.
    data = pd.DataFrame(numbers).dropna(axis="columns", how="all")
    heads = {
        "parameters": Head("Parameters"),
        "cells": Head("Cells"),
        **{f"{s}_s": Head(f"{s.capitalize()} per {unit}", "s") for s, unit in _STAGES.items()},
        "peak_memory_mib": Head("Peak memory", "MiB"),
    }
    shown = [name for name in data if name != "method"]
    whole = {"parameters", "cells", "peak_memory_mib"}
    columns = tuple(
        Column(
            (heads[str(name)],),
            decimals=0 if name in whole else min(decimals_for(data[name].tolist(), 0), 2),
        )
        for name in shown
    )
    rows = [
        Row(
            (evidence.methods[method],),
            tuple(Entry(float(v)) for v in values),
            method in REAL_SCANS,
        )
        for method, values in zip(data["method"], data[shown].to_numpy(dtype=float), strict=True)
    ]
    caption = (
        "Mean wall time of the recorded stages, and the highest peak memory of any stage. Times "
        "hold for the machine and load of this run (see Provenance) and are no speed comparison "
        "of the methods as such."
    )
    number = TableNumber(27)
    return Table(
        number.file_name("run-cost"),
        "Cost of this run",
        caption,
        ("Method",),
        columns,
        tuple(rows),
        data,
        section="cost",
        number=number,
    )


def _cost(cells: Sequence[StoredCell]) -> _Cost | None:
    """Sum up the cost of a method's cells; `None` where none was recorded."""
    found: dict[Stage, float] = {}
    peaks: list[float] = []
    for stage, unit in _STAGES.items():
        seconds = 0.0
        units = 0
        for cell in cells:
            cost = cell.record.stages.get(stage)
            if cost is None:
                continue
            seconds += cost.wall_s
            subjects = len(cell.record.subjects or ())
            units += cost.count or (1 if unit == "cell" else max(1, subjects))
            peaks.append(cost.peak_memory_mb)
        if units:
            found[stage] = seconds / units
    return _Cost(found, max(peaks)) if peaks else None


def status_table(evidence: Evidence) -> Table:
    """Cells and measurements of each method by how they ended; failures are never left out."""
    measured = {
        "n_ok": "Measured",
        "n_empty": "Empty class",
        "n_undefined": "Undefined",
        "n_failed": "Failed",
        "n_absent": "Not run",
    }
    ended = ("failed", "incomplete", "running")
    summary = evidence.summary[evidence.summary["group"] == ALL]
    totals = summary.groupby(["method", "direction"])[list(measured)].sum()
    rows: list[Row] = []
    numbers: list[dict[str, str | int]] = []
    for method, title in evidence.methods.items():
        for direction in evidence.directions:
            cells = evidence.counted_cells(method, direction)
            key = (method, str(direction))
            counts = [len(cells), *(sum(c.record.status == s for c in cells) for s in ended)]
            counts += [int(totals[name].get(key, 0)) for name in measured]
            entries = tuple(Entry(float(number)) for number in counts)
            labels = (title, direction_title(direction))
            rows.append(Row(labels, entries, method in REAL_SCANS))
            names = ("cells", *(f"cells_{status}" for status in ended), *measured)
            numbers.append(
                {
                    "method": method,
                    "direction": str(direction),
                    **dict(zip(names, counts, strict=True)),
                }
            )
    columns = tuple(
        [Column((Head("Cells"), Head(text)), decimals=0) for text in ("all", *ended)]
        + [Column((Head("Measurements"), Head(text)), decimals=0) for text in measured.values()]
    )
    caption = (
        "A cell is one method, direction, fold and seed; one that is incomplete has volumes without "
        "scores of tissues, one that is running was not finished when this page was made. "
        "A measurement is one metric (and tissue) of one subject. Empty class: a tissue is missing "
        "from one segmentation and the value is the metric's penalty. Failed: the cell or the "
        "segmentation failed and there is no value. "
        "Not run: another method has a value for this subject, this one has no row."
    )
    number = TableNumber(28)
    return Table(
        number.file_name("status"),
        "What was run, and how it ended",
        caption,
        ("Method", "Direction"),
        columns,
        tuple(rows),
        pd.DataFrame(numbers),
        section="status",
        number=number,
    )


def published_tables(evidence: Evidence) -> Iterator[Table]:
    """The paper's tables in the shape of the run's; none where the directions differ."""
    if not applies_to(str(direction) for direction in evidence.directions):
        return
    run = {str(direction) for direction in evidence.directions}
    for table in TABLES.values():
        if run & {column.direction for column in table.columns}:
            yield _published(evidence, table)


def _published(evidence: Evidence, source: PublishedTable) -> Table:
    columns: list[Column] = []
    for column in source.columns:
        start, _, end = column.direction.partition("-to-")
        metric = evidence.metrics.get(column.metric)
        title = short_title(evidence, column.metric) if metric else column.metric
        unit, better = (metric.unit, metric.better) if metric else ("", "none")
        heads = [Head(f"{start} to {end}"), Head(title, unit, column.exponent, better)]
        if column.tissue:
            heads.append(Head(column.tissue))
        columns.append(Column(tuple(heads), column.exponent))
    rows = []
    numbers: list[dict[str, str | float]] = []
    for method, means in source.rows.items():
        spreads = source.spreads.get(method, ())
        entries = []
        for place, mean in enumerate(means):
            shown = f"{mean} [±{spreads[place]}]" if spreads else str(mean)
            entries.append(Entry(best=place in source.best[method], text=shown))
            at = source.columns[place]
            number: dict[str, str | float] = {
                "table": source.number,
                "method": method,
                "direction": at.direction,
                "metric": at.metric,
                "tissue": at.tissue,
                "mean": at.scaled(mean),
            }
            if spreads:
                number["printed_as_variance"] = at.scaled(spreads[place])
            numbers.append({**number, "source": MARK})
        rows.append(Row((TITLES[method],), tuple(entries)))
    spread = (
        " Behind ±: what the paper calls the variance over folds; it does not say with which divisor."
        if source.spreads
        else ""
    )
    return Table(
        f"published-table-{source.number:02d}",
        MARK,
        f"Numbers of the paper, not of this run: {MARK}.{spread} {CITATION}",
        ("Method",),
        tuple(columns),
        tuple(rows),
        pd.DataFrame(numbers),
        published=True,
        section="main" if source.number < 4 else "folds",
        number=TableNumber(source.number),
    )
