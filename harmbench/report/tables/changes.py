"""Tables of measured against true change, from `harmbench study changes`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from harmbench.files.names import file_label
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.switch import ratio_entry
from harmbench.report.tables.titles import SIMULATED, direction_title
from harmbench.segmentation.base import TISSUES
from harmbench.study.change_table import change_table_path, read_changes
from harmbench.study.changes import NO_SWITCH, change_lines

__all__ = ["change_tables"]

_NUMBER = 46
_CAPTION = (
    f"{SIMULATED} The change is simulated too, and known: follow-up visits with a true loss of about 0, "
    "0.5, 1 and 2 % of brain tissue, by a smooth deformation. First visit on the target scanner, later "
    "visit on the source scanner, harmonized by the method of the fold that held the subject out; a "
    "volume correction maps the volumes of that visit. Line "
    "of measured on true change: slope 1 keeps change, 0 erases it; the offset is change that is "
    "invented; SD about the line, of single visits. 95 % bootstrap intervals over subjects. Ratio: "
    "subjects that a trial needs over those on one scanner (no switch); it is not given where the "
    "interval of a slope includes 0."
)


def change_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction in which changes were measured."""
    frames = [read_changes(change_table_path(run.root)) for run in evidence.runs]
    known = [frame for frame in frames if len(frame)]
    if not known:
        return
    rows = pd.concat(known, ignore_index=True)
    same = [c for c in rows.columns if c not in ("measured_percent", "status", "key", "group")]
    rows = rows.drop_duplicates(same, keep="last")
    lines = change_lines(rows[rows["segmenter"] == evidence.segmenter])
    titles = {**evidence.methods, NO_SWITCH: "No switch (target scanner)"}
    controls = {NO_SWITCH, *evidence.corrections}
    for direction in evidence.shown_directions:
        own = lines[lines["direction"] == str(direction)]
        if own.empty:
            continue
        number = TableNumber(_NUMBER)
        yield Table(
            name=number.file_name(f"changes-{file_label(str(direction))}"),
            title=f"Known change over a switch of scanner, {direction_title(direction)}",
            caption=_CAPTION,
            labels=("Method",),
            columns=_columns(),
            rows=tuple(
                Row((title,), tuple(_entries(own[own["method"] == method])), method in controls)
                for method, title in titles.items()
                if (own["method"] == method).any()
            ),
            data=own,
            section="study",
            number=number,
        )


def _columns() -> tuple[Column, ...]:
    heads = (
        Head("slope"),
        Head("offset", "%", better="zero"),
        Head("SD", "%", better="lower"),
        Head("ratio", better="lower"),
    )
    # Fluid takes the place of tissue in ways of its own: no change of it was asked for.
    shown = [tissue for tissue in TISSUES if tissue != "CSF"]
    return tuple(Column((Head(tissue), head), 0, 2) for tissue in shown for head in heads)


def _entries(rows: pd.DataFrame) -> Iterator[Entry]:
    for tissue in TISSUES:
        if tissue == "CSF":
            continue
        found = rows[rows["tissue"] == tissue].to_dict("records")
        if not found or not math.isfinite(float(found[0]["slope"])):
            yield from [Entry()] * 4
            continue
        row = found[0]
        for name in ("slope", "offset", "residual_sd"):
            yield Entry(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))
        missing = int(row["missing"])
        ratio = ratio_entry(float(row["ratio"]))
        yield Entry(ratio.value, text=ratio.text, note=f"{missing} missing" if missing else "")
