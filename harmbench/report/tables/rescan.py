"""Tables of how far methods are from a rescan."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from harmbench.files.names import file_label
from harmbench.pages.render import unit_text
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber, decimals_for
from harmbench.report.evidence import Evidence
from harmbench.report.tables.overview import MAIN_MEASURES
from harmbench.report.tables.titles import SIMULATED, direction_title, short_title
from harmbench.segmentation.base import TISSUES
from harmbench.study.rescan import floor_ratios

__all__ = ["rescan_tables"]

_NUMBER = TableNumber(45)
_RATIOS = Head("RMS error over that of a rescan", better="lower")


def rescan_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction whose target scanner has rescans; of very many, one of all."""
    found = floor_ratios(evidence.results, evidence.metrics)
    found = found[(found["tissue"] == "") | (found["segmenter"] == evidence.segmenter)]
    for direction in evidence.shown_directions:
        own = found[found["direction"] == str(direction)]
        if own.empty:
            continue
        methods = [name for name in evidence.methods if (own["method"] == name).any()]
        yield Table(
            name=_NUMBER.file_name(f"rescan-floor-{file_label(str(direction))}"),
            title=f"Error relative to a rescan, {direction_title(direction)}",
            caption=_caption(evidence),
            labels=("Measure", "Error of a rescan (RMS)"),
            columns=tuple(
                Column((_RATIOS, Head(evidence.methods[method])), 0, 2) for method in methods
            ),
            rows=tuple(_rows(evidence, own, methods)),
            data=own,
            section="study",
            number=_NUMBER,
        )
    if len(evidence.shown_directions) < len(evidence.directions) and not found.empty:
        yield _all_directions(evidence, found)


def _all_directions(evidence: Evidence, found: pd.DataFrame) -> Table:
    """Make one table of the main measures in all directions; its file has the others too."""
    there = set(zip(found["metric"], found["tissue"], strict=True))
    measures = [own for own in MAIN_MEASURES if own in there]
    rows = []
    for method, title in evidence.methods.items():
        mine = found[found["method"] == method]
        for way in evidence.directions:
            own = mine[mine["direction"] == str(way)]
            by_measure = {(r["metric"], r["tissue"]): r for r in own.to_dict("records")}
            if by_measure:
                entries = (_entry(by_measure[m]) if m in by_measure else Entry() for m in measures)
                rows.append(Row((title, direction_title(way)), tuple(entries)))
    heads = [f"{short_title(evidence, metric)} {tissue}".strip() for metric, tissue in measures]
    return Table(
        name=_NUMBER.file_name("rescan-floor-all-directions"),
        title="Error relative to a rescan, all directions",
        caption=_caption(evidence),
        labels=("Method", "Direction"),
        columns=tuple(Column((_RATIOS, Head(head)), 0, 2) for head in heads),
        rows=tuple(rows),
        data=found,
        section="study",
        number=_NUMBER,
    )


def _rows(evidence: Evidence, own: pd.DataFrame, methods: list[str]) -> Iterator[Row]:
    for name, metric in evidence.metrics.items():
        for tissue in TISSUES if metric.scope == "tissue" else ("",):
            part = own[(own["metric"] == name) & (own["tissue"] == tissue)]
            if part.empty:
                continue
            by_method = {str(row["method"]): row for row in part.to_dict("records")}
            rms = float(part["rescan_rms"].iloc[0])
            label = f"{short_title(evidence, name)} {tissue}".strip()
            shown = f"{rms:.{decimals_for([rms], 0)}f} {unit_text(metric.unit)}".strip()
            entries = [
                _entry(by_method[method]) if method in by_method else Entry() for method in methods
            ]
            yield Row((label, shown), tuple(entries))


def _entry(row: Mapping[Hashable, Any]) -> Entry:
    return Entry(float(row["ratio"]), float(row["low"]), float(row["high"]))


def _caption(evidence: Evidence) -> str:
    text = f"{SIMULATED} " if evidence.simulated else ""
    return (
        f"{text}A rescan is a second scan of the same subject on the target scanner, scored against the "
        "scan that methods are scored against. R = RMS(method error) / RMS(rescan error) over the "
        "same subjects, with a 95 % bootstrap interval: 1 is as good as a rescan. Errors are distances "
        "to a metric's best value; metrics without one, such as PSNR, have no ratio."
    )
