"""Tables of what a switch of scanner costs a study, with each method."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from harmbench.files.names import file_label
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import SIMULATED, direction_title
from harmbench.segmentation.base import TISSUES
from harmbench.study.changes import RATIO_CAP
from harmbench.study.switch import Trial, switch_costs
from harmbench.task import Direction

__all__ = ["ratio_entry", "switch_tables"]

_NUMBER = 44


def switch_tables(evidence: Evidence, trial: Trial | None = None) -> Iterator[Table]:
    """Make one table for each direction with volumes of tissues; of very many, one of all beside.

    Args:
        evidence: the results.
        trial: what change is measured for; by default one of a slowing by 25 % over two years.
    """
    trial = trial or Trial()
    costs = switch_costs(evidence.results, trial)
    costs = costs[costs["segmenter"] == evidence.segmenter]
    for direction in evidence.shown_directions:
        own = costs[costs["direction"] == str(direction)]
        if own.empty:
            continue
        rows = tuple(
            Row((title,), tuple(_entries(own[own["method"] == method])))
            for method, title in evidence.methods.items()
            if (own["method"] == method).any()
        )
        yield _table(evidence, trial, own, rows, direction)
    if len(evidence.shown_directions) < len(evidence.directions) and not costs.empty:
        parts = dict(iter(costs.groupby(["method", "direction"], sort=False)))
        rows = tuple(
            Row((title, direction_title(way)), tuple(_entries(parts[method, str(way)])))
            for method, title in evidence.methods.items()
            for way in evidence.directions
            if (method, str(way)) in parts
        )
        yield _table(evidence, trial, costs, rows)


def _table(
    evidence: Evidence,
    trial: Trial,
    costs: pd.DataFrame,
    rows: tuple[Row, ...],
    direction: Direction | None = None,
) -> Table:
    """Make the table of one direction, or of all where none is named."""
    number = TableNumber(_NUMBER)
    where = file_label(str(direction)) if direction else "all-directions"
    title = direction_title(direction) if direction else "all directions"
    return Table(
        name=number.file_name(f"switch-{where}"),
        title=f"What a switch of scanner costs, {title}",
        caption=_caption(evidence, trial, has_rescans=bool(costs["arm_stay"].notna().any())),
        labels=("Method",) if direction else ("Method", "Direction"),
        columns=_columns(),
        rows=rows,
        data=costs,
        section="study",
        number=number,
    )


def _columns() -> tuple[Column, ...]:
    heads = (
        (Head("SD of the change", "%", better="lower"), 2),
        (Head("smallest change seen", "%", better="lower"), 2),
        (Head("subjects per arm", better="lower"), 0),
        (Head("ratio to one scanner", better="lower"), 2),
    )
    return tuple(
        Column((Head(tissue), head), 0, decimals) for tissue in TISSUES for head, decimals in heads
    )


def _entries(rows: pd.DataFrame) -> Iterator[Entry]:
    for tissue in TISSUES:
        found = rows[rows["tissue"] == tissue].to_dict("records")
        if not found:
            yield from [Entry()] * 4
            continue
        row = found[0]
        sd, low, high = (float(row[name]) for name in ("sd_percent", "sd_low", "sd_high"))
        yield Entry(sd, low, high)
        yield Entry(float(row["smallest_change_percent"]))
        yield Entry(float(row["arm"]))
        yield ratio_entry(float(row["ratio"]))


def ratio_entry(ratio: float) -> Entry:
    """Return the cell of a ratio of sample sizes; one at the cap is printed as above it."""
    text = f"> {RATIO_CAP:g}" if math.isfinite(ratio) and ratio >= RATIO_CAP else ""
    return Entry(ratio, text=text)


def _caption(evidence: Evidence, trial: Trial, *, has_rescans: bool) -> str:
    text = f"{SIMULATED} " if evidence.simulated else ""
    text += (
        "A person is measured on the target scanner first, on the source scanner and harmonized "
        "later: the difference of the harmonized to the target volume of the same subject is the "
        "error of that change, in percent of the volume. SD over subjects, with a 95 % bootstrap "
        "interval; the smallest change of one person that can be told from 0 is 1.96 SD. Subjects per "
        f"arm: two arms, a difference of {trial.effect_percent:g} % of the volume, power "
        f"{trial.power:g}, two-sided {trial.significance:g}. A bias cancels between the arms."
    )
    if trial.people_sd_percent:
        text += f" People differ in their change by an SD of {trial.people_sd_percent:g} %."
    if has_rescans:
        return text + " Staying on one scanner: the SD of rescans on the target scanner."
    return text + " Without rescans on the target scanner, the ratio to staying there is not known."
