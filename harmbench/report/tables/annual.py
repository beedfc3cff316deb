"""Tables of change per year between visits, where their dates are known."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from harmbench.files.names import file_label
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import SIMULATED, direction_title
from harmbench.report.volumes import dated_volumes
from harmbench.segmentation.base import TISSUES
from harmbench.study.annual import LEAST_YEARS, annual_changes

__all__ = ["annual_tables"]

_NUMBER = TableNumber(49)


def annual_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction with subjects who have several dated visits."""
    for direction in evidence.shown_directions:
        found = annual_changes(dated_volumes(evidence, direction))
        if found.empty:
            continue
        rows = []
        for method, title in evidence.methods.items():
            mine = found[found["method"] == method].set_index("tissue")
            if not mine.empty:
                by_tissue = {str(tissue): own for tissue, own in mine.to_dict("index").items()}
                entries = [e for tissue in TISSUES for e in _entries(by_tissue.get(tissue, {}))]
                rows.append(Row((title,), tuple(entries), method in evidence.corrections))
        heads = (Head("change", "%/year"), Head("minus target", "%/year", better="zero"))
        most, years = int(found["subjects"].max()), float(found["years"].mean())
        yield Table(
            name=_NUMBER.file_name(f"annual-change-{file_label(str(direction))}"),
            title=f"Change per year between visits, {direction_title(direction)}",
            caption=(
                f"{f'{SIMULATED} ' if evidence.simulated else ''}Change of the volume in percent per year, "
                f"compounded, from the first to the last dated visit of up to {most} subjects ({years:.1f} "
                "years apart on average). Minus target: paired difference to the change between the scans "
                "on the target scanner that methods are scored against, over the visits that are known on "
                "both sides. Means over subjects with 95 % intervals over them. "
                f"Visits less than {12 * LEAST_YEARS:g} months apart do not count."
            ),
            labels=("Method",),
            columns=tuple(
                Column((Head(tissue), head), decimals=2) for tissue in TISSUES for head in heads
            ),
            rows=tuple(rows),
            data=found,
            section="study",
            number=_NUMBER,
        )


def _entries(row: Mapping[Hashable, Any]) -> tuple[Entry, Entry]:
    """Return a method's change and its difference to the target scanner's."""

    def entry(value: str, low: str, high: str) -> Entry:
        one, two, three = (float(row.get(name, math.nan)) for name in (value, low, high))
        return Entry(one, two, three)

    own = entry("percent_per_year", "low", "high")
    return own, entry("difference", "difference_low", "difference_high")
