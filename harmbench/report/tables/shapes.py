"""Tables of summary rows in three shapes: means, means with spread over folds, and intervals.

In all of them methods are rows, and each measure (direction, metric, tissue) is one or more columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

from harmbench.files.names import file_label
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
from harmbench.report.quantities import Quantity, quantity
from harmbench.report.tables.picked import Measure, Picked, joined, pick
from harmbench.report.tables.titles import against, direction_title, short_title
from harmbench.results import REAL_SCANS
from harmbench.runner.tissue_volumes import VOLUME_METRICS
from harmbench.segmentation.base import TISSUES
from harmbench.statistics import ALL
from harmbench.task import Direction

__all__ = [
    "Measure",
    "fold_table",
    "interval_table",
    "list_measures",
    "mean_columns",
    "mean_table",
]


def list_measures(
    evidence: Evidence, directions: Sequence[Direction], metrics: Sequence[str]
) -> list[Measure]:
    """List the measured (direction, metric, tissue), tissue metrics once per tissue."""
    found = []
    for direction in directions:
        for name in metrics:
            if not evidence.has(name):
                continue
            tissue_wise = evidence.metrics[name].scope == "tissue"
            tissues = [*TISSUES] if tissue_wise else [""]
            found += [Measure(direction, name, tissue) for tissue in tissues]
    return found


def _heads(evidence: Evidence, measure: Measure) -> tuple[Head, ...]:
    metric = evidence.metrics[measure.metric]
    shown = quantity(evidence, measure.metric)
    title = short_title(evidence, measure.metric)
    heads = (
        Head(direction_title(measure.direction)),
        Head(title, shown.unit, shown.exponent, metric.better),
    )
    # In a table of volumes and distances the unit belongs to the metric, not to the tissue.
    return (*heads, Head(measure.tissue)) if measure.tissue else heads


def _note(row: Mapping[Hashable, Any]) -> str:
    """Say how many measurements have no value of their own, and of how many: subjects x visits x seeds."""
    of = f" of {sum(int(row[key]) for key in ('n_ok', 'n_failed', 'n_undefined', 'n_empty'))}"
    words = {
        "n_failed": f"{of} failed",
        "n_absent": " not run",
        "n_undefined": f"{of} undefined",
        "n_empty": f"{of} empty",
    }
    return ", ".join(f"{int(row[key])}{word}" for key, word in words.items() if row[key])


def _absent(evidence: Evidence, measure: Measure, method: str) -> str:
    """Say why a method has no row for a measure; nothing where it cannot have one."""
    return "not run" if method in evidence.methods_for([measure.metric]) else ""


def mean_columns(evidence: Evidence, measures: Sequence[Measure]) -> tuple[Column, ...]:
    """Make one column per measure, in the unit and rounding that its metric has on the whole page."""
    return tuple(
        quantity(evidence, measure.metric).column(*_heads(evidence, measure))
        for measure in measures
    )


def mean_table(
    evidence: Evidence,
    number: TableNumber,
    name: str,
    title: str,
    caption: str,
    measures: Sequence[Measure],
    *,
    group: str = ALL,
    section: str = "metrics",
) -> Table:
    """Methods as rows, one column per measure, best in bold."""
    picked = [pick(evidence, measure, group) for measure in measures]
    data = joined(picked)
    rows = []
    # Main tables are read side by side: they show every method, with dashes where it gives no images.
    metrics = [*VOLUME_METRICS] if section == "main" else [one.metric for one in measures]
    for method, label in evidence.methods_for(metrics).items():
        entries = [
            _mean_entry(evidence, measure, found, method)
            for measure, found in zip(measures, picked, strict=True)
        ]
        rows.append(Row((label,), tuple(entries), method in REAL_SCANS))
    return Table(
        name=number.file_name(name),
        title=title,
        caption=caption,
        labels=("Method",),
        columns=mean_columns(evidence, measures),
        rows=tuple(rows),
        data=data,
        section=section,
        number=number,
    )


def _mean_entry(evidence: Evidence, measure: Measure, found: Picked, method: str) -> Entry:
    row = found.rows.get(method)
    if row is None:
        return Entry(note=_absent(evidence, measure, method))
    return Entry(float(row["fold_mean"]), best=method in found.best, note=_note(row))


def fold_table(
    evidence: Evidence,
    number: TableNumber,
    name: str,
    title: str,
    caption: str,
    measures: Sequence[Measure],
) -> Table:
    """Mean ± SD over folds, and variance, of each measure; the direction stands in the title."""
    statistics = {"fold_mean": "mean ± SD", "fold_variance": "variance"}
    picked = [pick(evidence, measure) for measure in measures]
    data = joined(picked)
    columns = []
    for measure in measures:
        metric = evidence.metrics[measure.metric]
        numbers = data[(data["metric"] == measure.metric) & ~data["method"].isin(REAL_SCANS)]
        label = f"{short_title(evidence, measure.metric)} {measure.tissue}".strip()
        how = quantity(evidence, measure.metric)
        for key, word in statistics.items():
            better = metric.better if key == "fold_mean" else "none"
            head = Head(word, how.unit, how.exponent, better)
            column = how.column(Head(label), head)
            if key == "fold_variance":
                column = _variance_column(label, how, numbers[key].tolist())
            columns.append(column)
    rows = []
    shown = evidence.methods_for(measure.metric for measure in measures)
    for method, title_of_method in shown.items():
        entries = []
        for measure, found in zip(measures, picked, strict=True):
            mean = _mean_entry(evidence, measure, found, method)
            row = found.rows.get(method, {})
            sd, variance = (float(row.get(key, nan)) for key in ("fold_sd", "fold_variance"))
            entries += [replace(mean, spread=sd), Entry(variance)]
        rows.append(Row((title_of_method,), tuple(entries), method in REAL_SCANS))
    return Table(
        number.file_name(name),
        title,
        caption,
        ("Method",),
        tuple(columns),
        tuple(rows),
        data,
        section="folds",
        number=number,
    )


def _variance_column(label: str, shown: Quantity, values: Sequence[float]) -> Column:
    """Make the column of a variance, in the square of the unit of its metric."""
    unit = f"{shown.unit}²" if shown.unit else ""
    exponent = exponent_for([value / 10 ** (2 * shown.unit_exponent) for value in values])
    divide = exponent + 2 * shown.unit_exponent
    return Column(
        (Head(label), Head("variance", unit, exponent)), divide, decimals_for(values, divide)
    )


def interval_table(
    evidence: Evidence, number: TableNumber, name: str, title: str, measures: Sequence[Measure]
) -> Table:
    """Mean over subjects with its interval, and the paired change from the untreated source."""
    picked = [pick(evidence, measure) for measure in measures]
    data = joined(picked)
    direction = measures[0].direction
    columns: list[Column] = []
    parts = {"mean": "mean", "difference": "change"} if evidence.has_baseline else {"mean": "mean"}
    for measure in measures:
        metric = evidence.metrics[measure.metric]
        how = quantity(evidence, measure.metric)
        label = f"{short_title(evidence, measure.metric)} {measure.tissue}".strip()
        for key, word in parts.items():
            better = metric.better if key == "mean" else "none"
            head = Head(word, how.unit, how.exponent, better)
            columns.append(how.column(Head(label), head))
    rows = []
    for method, label in evidence.methods_for(one.metric for one in measures).items():
        entries = [_interval_entry(found, method, key) for found in picked for key in parts]
        rows.append(Row((label,), tuple(entries), method in REAL_SCANS))
    caption = (
        f"{against(evidence, [m.metric for m in measures])} Mean over subjects with a 95 % "
        "interval over subjects, for the networks that were trained (Student's t and Hall's correction "
        "for skewed values)."
    )
    if evidence.has_baseline:
        caption += (
            " Change: paired difference to the untreated source in the same subjects. Its interval is not "
            "corrected for the number of comparisons, and does not cover another training run"
        )
        # Results without their run folders have no verdict beside them.
        caption += "; the verdict's tests do both." if evidence.runs else "."
    return Table(
        number.file_name(f"{name}-{file_label(str(direction))}"),
        f"{title} with intervals over subjects, {direction_title(direction)}",
        caption,
        ("Method",),
        tuple(columns),
        tuple(rows),
        data,
        section="intervals",
        number=number,
    )


def _interval_entry(found: Picked, method: str, key: str) -> Entry:
    row = found.rows.get(method)
    if row is None:
        return Entry(note="not run" if key == "mean" else "")
    bounds = ("low", "high") if key == "mean" else ("difference_low", "difference_high")
    low, high = (float(row[bound]) for bound in bounds)
    return Entry(float(row[key]), low, high, note=_note(row) if key == "mean" else "")
