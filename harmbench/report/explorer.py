"""What the explorer of the page holds: every subject's scores, and the logs of the cells."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from harmbench.metrics.base import Better
from harmbench.pages.style import method_colours
from harmbench.report.evidence import Evidence, StoredCell
from harmbench.report.quantities import quantity
from harmbench.report.tables.titles import direction_title, short_title
from harmbench.results import CEILING
from harmbench.segmentation.base import TISSUES

__all__ = [
    "DirectionData",
    "ExplorerData",
    "LogData",
    "MeasureData",
    "MethodData",
    "SubjectData",
    "endpoint_order",
    "explorer_data",
    "log_link",
    "measures",
]

_LOG_LINES = 12
_LOG_CHARACTERS = 1500

Measure = tuple[str, str]
"""Metric and tissue; the tissue of image metrics is empty."""


class MeasureData(TypedDict):
    """One measure: its title, and how its values are shown: divided by `scale`, with `decimals`."""

    id: str
    title: str
    unit: str
    better: Better
    scale: float
    decimals: int


class MethodData(TypedDict):
    """A method, its colour, and whether it makes images."""

    id: str
    title: str
    colour: str
    images: bool


class DirectionData(TypedDict):
    """A direction and its scanners."""

    id: str
    title: str
    source: str
    target: str


class SubjectData(TypedDict):
    """A subject, and its group."""

    id: str
    group: str


class LogData(TypedDict):
    """One cell: its name and status, a link to its log, and the log's last lines."""

    cell: str
    status: str
    link: str
    text: str
    subjects: list[int]


Values = dict[str, dict[str, dict[str, list[float | None]]]]
"""Measure, direction and method to one value per subject."""


class ExplorerData(TypedDict):
    """All that the explorer's script reads; subjects are named by their place in the list."""

    endpoint: str
    measures: list[MeasureData]
    methods: list[MethodData]
    directions: list[DirectionData]
    subjects: list[SubjectData]
    values: Values
    logs: dict[str, dict[str, list[LogData]]]


def measures(evidence: Evidence) -> list[Measure]:
    """List what was measured: metrics in the order of tables, each tissue by itself."""
    return [
        (name, tissue)
        for name, metric in evidence.metrics.items()
        for tissue in ([*TISSUES] if metric.scope == "tissue" else [""])
    ]


def endpoint_order(evidence: Evidence, endpoint: Measure) -> list[str]:
    """Order subjects for the viewer: worst, median and best by an endpoint, then the others.

    A subject's value is its mean over methods and directions; subjects without one come last.
    """
    values = evidence.values(*endpoint)
    values = values[values["method"].isin(evidence.candidates)]
    better = evidence.metrics[endpoint[0]].better if endpoint[0] in evidence.metrics else "lower"
    size = values["value"].abs() if better == "zero" else values["value"]
    means = size.groupby(values["subject"]).mean().dropna()
    ranked = [str(name) for name in means.sort_values(ascending=better == "higher").index]
    ranked = ranked if better != "none" else sorted(ranked)
    first = [ranked[0], ranked[(len(ranked) - 1) // 2], ranked[-1]] if ranked else []
    everyone = [name for group in evidence.groups.values() for name in group]
    return list(dict.fromkeys([*first, *ranked, *everyone]))


def explorer_data(evidence: Evidence, endpoint: Measure, out: Path) -> ExplorerData:
    """Collect what the explorer shows.

    Args:
        evidence: the merged runs.
        endpoint: the measure that it shows first.
        out: the report's folder; logs are linked to where they lie beside it.
    """
    groups = [(name, group) for group, names in evidence.groups.items() for name in names]
    order = {name: place for place, (name, _) in enumerate(sorted(groups))}
    known = measures(evidence)
    return {
        "endpoint": _id(endpoint) if endpoint in known else _id(known[0]),
        "measures": [_measure(evidence, measure) for measure in known],
        "methods": _methods(evidence),
        "directions": [
            {
                "id": str(way),
                "title": direction_title(way),
                "source": way.source,
                "target": way.target,
            }
            for way in evidence.shown_directions
        ],
        "subjects": [{"id": name, "group": group} for name, group in sorted(groups)],
        "values": {_id(measure): _values(evidence, measure, order) for measure in known},
        "logs": _logs(evidence, order, out),
    }


def _id(measure: Measure) -> str:
    return f"{measure[0]} {measure[1]}".strip()


def _measure(evidence: Evidence, measure: Measure) -> MeasureData:
    metric, tissue = measure
    shown = quantity(evidence, metric)
    return {
        "id": _id(measure),
        "title": f"{short_title(evidence, metric)} {tissue}".strip(),
        "unit": shown.unit_text,
        "better": evidence.metrics[metric].better,
        "scale": 10.0**shown.divide,
        "decimals": shown.decimals,
    }


def _methods(evidence: Evidence) -> list[MethodData]:
    """The methods in the order of tables, without the ceiling, whose values are all perfect."""
    colours = method_colours([*evidence.methods])
    return [
        {
            "id": name,
            "title": title,
            "colour": colours[name],
            "images": name in evidence.candidates,
        }
        for name, title in evidence.methods.items()
        if name != CEILING
    ]


def _values(
    evidence: Evidence, measure: Measure, order: Mapping[str, int]
) -> dict[str, dict[str, list[float | None]]]:
    rows = evidence.values(*measure)
    rows = rows[rows["method"].isin([*evidence.methods]) & (rows["method"] != CEILING)]
    rows = rows[rows["direction"].isin([str(way) for way in evidence.shown_directions])]
    found: dict[str, dict[str, list[float | None]]] = {}
    for (direction, method), part in rows.groupby(["direction", "method"], sort=True):
        line: list[float | None] = [None] * len(order)
        for subject, value in zip(part["subject"], part["value"], strict=True):
            line[order[subject]] = float(f"{value:.6g}") if math.isfinite(value) else None
        found.setdefault(str(direction), {})[str(method)] = line
    return found


def _logs(
    evidence: Evidence, order: Mapping[str, int], out: Path
) -> dict[str, dict[str, list[LogData]]]:
    return {
        str(way): {
            method: [_log(cell, order, out) for cell in evidence.counted_cells(method, way)]
            for method in evidence.methods
            if method != CEILING
        }
        for way in evidence.shown_directions
    }


def _log(cell: StoredCell, order: Mapping[str, int], out: Path) -> LogData:
    return {
        "cell": str(cell.cell),
        "status": cell.record.status,
        "link": log_link(cell, out),
        "text": _last_lines(cell.folder.log),
        "subjects": [place for name, place in order.items() if cell.tests(name)],
    }


def log_link(cell: StoredCell, out: Path) -> str:
    """Return the address of a cell's log from the page; empty where it is not in the run's folder."""
    log = cell.folder.log
    root = cell.run.root.resolve()
    if not log.is_file() or not out.resolve().is_relative_to(root):
        return ""
    return quote(Path(os.path.relpath(log.resolve(), out.resolve())).as_posix())


def _last_lines(log: Path) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LOG_LINES:])[-_LOG_CHARACTERS:]
