"""Agreement of volumes with the target scanner's, in the terms of the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.files.names import file_label
from harmbench.metrics.declarations import VOLUME
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import SIMULATED, direction_title
from harmbench.report.volumes import paired_volumes
from harmbench.segmentation.base import TISSUES
from harmbench.statistics import intervals
from harmbench.study.agreement import (
    Interval,
    bland_altman,
    coefficient_of_variation,
    concordance,
    icc,
)
from harmbench.study.groups import group_difference
from harmbench.task import Direction

__all__ = ["agreement_tables"]

_AGREEMENT, _FRACTIONS, _GROUPS = TableNumber(41), TableNumber(42), TableNumber(43)
_FEWEST = 3
_BRAIN = ("GM", "WM")

Values = NDArray[np.float64]
_Numbers = dict[str, float]


def agreement_tables(evidence: Evidence) -> Iterator[Table]:
    """Make the tables of each direction that the results allow."""
    for direction in evidence.shown_directions:
        pairs = paired_volumes(evidence, direction)
        if pairs["subject"].nunique() < _FEWEST:
            continue
        yield _agreement_table(evidence, direction, pairs)
        fractions = _fractions(pairs)
        if not fractions.empty:
            yield _fraction_table(evidence, direction, fractions)
        yield from _group_tables(evidence, direction, pairs)


def _agreement_table(evidence: Evidence, direction: Direction, pairs: pd.DataFrame) -> Table:
    columns = (
        Column((Head("n"),), decimals=0),
        *(Column((Head(text, better="higher"),), decimals=3) for text in ("ICC(A,1)", "ICC(C,1)")),
        Column((Head("Concordance", better="higher"),), decimals=3),
        Column((Head("CV", "%", better="lower"),), decimals=2),
        Column((Head("Bias", "ml", better="zero"),), decimals=2),
        Column((Head("Limits from", "ml"),), decimals=1),
        Column((Head("to", "ml"),), decimals=1),
        Column((Head("Proportional bias", better="zero"),), decimals=3),
    )
    rows, numbers = [], []
    for method, title, tissue, own in _by_method(evidence, pairs):
        found = _agreement(own["value_reference"].to_numpy(), own["value"].to_numpy())
        numbers.append({"method": method, "direction": str(direction), "tissue": tissue, **found})
        entries = [
            Entry(found["n"]),
            *(_entry(found, name) for name in ("icc_a1", "icc_c1", "concordance")),
            Entry(found["cv_percent"]),
            *(Entry(found[name] / 1e3) for name in ("bias_mm3", "limit_low_mm3", "limit_high_mm3")),
            _entry(found, "slope"),
        ]
        rows.append(Row((title, tissue), tuple(entries), method in evidence.corrections))
    caption = (
        f"{_begin(evidence)}ICC(A,1) counts a difference of the means as disagreement, ICC(C,1) does "
        "not (McGraw & Wong 1996, F intervals). Concordance: Lin's coefficient (interval by Fisher's "
        "z). CV: within-subject coefficient of variation of the two volumes. Bias and limits of "
        "agreement (bias ± 1.96 SD, Bland & Altman 1999): method minus target. Proportional bias: "
        "change of the difference per unit of the mean of both; where its interval excludes 0, "
        "the difference depends on the volume, and one pair of limits does not fit all. Intervals: 95 %."
    )
    title = f"Agreement of volumes with the target scanner's, {direction_title(direction)}"
    text = _Text(_AGREEMENT, f"volume-agreement-{file_label(str(direction))}", title, caption)
    return text.table(columns, rows, numbers)


def _agreement(reference: Values, method: Values) -> _Numbers:
    """Compute every number of one method and tissue; NaN with fewer than three subjects."""
    none = Interval(math.nan, math.nan, math.nan)
    one, two, three = none, none, none
    if reference.size >= _FEWEST:
        one, two = icc(np.column_stack([reference, method]))
        three = concordance(reference, method)
    altman = bland_altman(reference, method)
    positive = bool((reference > 0).all() and (method > 0).all())
    cv = 100 * coefficient_of_variation(reference, method) if positive else math.nan
    return {
        "n": reference.size,
        **_named("icc_a1", one),
        **_named("icc_c1", two),
        **_named("concordance", three),
        "cv_percent": cv,
        **_named("bias_mm3", altman.bias),
        "limit_low_mm3": altman.limits[0],
        "limit_high_mm3": altman.limits[1],
        **_named("slope", altman.slope),
        "slope_p": altman.slope_p,
    }


def _fractions(pairs: pd.DataFrame) -> pd.DataFrame:
    """Volumes as percent of the three tissues' total, of subjects with all tissues.

    Returns:
        method, subject, measure (a tissue, or `BPF`), value and value_reference in percent.
    """
    parts: list[pd.DataFrame] = []
    for column in ("value", "value_reference"):
        wide = pairs.pivot_table(index=["method", "subject"], columns="tissue", values=column)
        wide = wide.reindex(columns=list(TISSUES)).dropna()
        total = wide.sum(axis=1)
        wide = 100 * wide.div(total, axis=0)[total > 0]
        wide["BPF"] = wide[list(_BRAIN)].sum(axis=1)
        long = wide.reset_index().melt(["method", "subject"], var_name="measure", value_name=column)
        parts.append(long)
    one, two = parts
    both: pd.DataFrame = one.merge(two, on=["method", "subject", "measure"])
    return both


def _fraction_table(evidence: Evidence, direction: Direction, fractions: pd.DataFrame) -> Table:
    measures = ("BPF", *_BRAIN)
    heads = (Head("mean", "%"), Head("minus target", "%", better="zero"))
    columns = tuple(
        Column((Head(measure), head), decimals=2) for measure in measures for head in heads
    )
    wide = fractions.assign(value=fractions["value"] - fractions["value_reference"]).pivot_table(
        index="subject", columns=["method", "measure"], values="value"
    )
    found = intervals(wide)
    means = fractions.groupby(["method", "measure"])["value"].mean()
    rows, numbers = [], []
    for method in (name for name in evidence.methods if name in set(fractions["method"])):
        entries = []
        for measure in measures:
            mean = float(means[method, measure])
            own = found.loc[[(method, measure)]].to_dict("records")[0]
            ends = {name: float(own[name]) for name in ("mean", "low", "high")}
            entries += [Entry(mean), Entry(ends["mean"], ends["low"], ends["high"])]
            numbers.append(
                {
                    "method": method,
                    "direction": str(direction),
                    "measure": measure,
                    "n": int(own["n"]),
                    "mean_percent": mean,
                    "difference_percent": ends["mean"],
                    "low_percent": ends["low"],
                    "high_percent": ends["high"],
                }
            )
        rows.append(
            Row((evidence.methods[method],), tuple(entries), method in evidence.corrections)
        )
    caption = (
        f"{_begin(evidence)}Volumes in percent of the total of CSF, GM and WM, which stands for the "
        "intracranial volume: scans are skull-stripped. BPF: brain parenchymal fraction, GM and WM. "
        "Minus target: paired difference to the target scanner's fraction, mean over subjects with its "
        "95 % interval, in percentage points."
    )
    title = f"Brain parenchymal fraction, {direction_title(direction)}"
    text = _Text(_FRACTIONS, f"brain-fractions-{file_label(str(direction))}", title, caption)
    return text.table(columns, rows, numbers, labels=("Method",))


def _group_tables(evidence: Evidence, direction: Direction, pairs: pd.DataFrame) -> Iterator[Table]:
    """One table for each two groups with at least three subjects."""
    groups = [g for g, who in evidence.groups.items() if len(who) >= _FEWEST]
    for first, second in combinations(groups, 2):
        table = _group_table(evidence, direction, pairs, (first, second))
        if table.rows:
            yield table


def _group_table(
    evidence: Evidence, direction: Direction, pairs: pd.DataFrame, groups: tuple[str, str]
) -> Table:
    heads = ("harmonized", "on the target scanner", "change")
    columns = tuple(
        Column((Head(f"{' - '.join(groups)} (g)"), Head(text)), decimals=2) for text in heads
    )
    rows, numbers = [], []
    for method, title, tissue, own in _by_method(evidence, pairs):
        parts = [own[own["group"] == group] for group in groups]
        if min(len(part) for part in parts) < _FEWEST:
            continue
        one, two = ((part["value"], part["value_reference"]) for part in parts)
        found = group_difference(one, two)
        kept = (found.measured, found.reference, found.change)
        entries = tuple(Entry(each.value, each.low, each.high) for each in kept)
        rows.append(Row((title, tissue), entries, method in evidence.corrections))
        named = [
            _named(name, each) for name, each in zip(("g", "g_target", "change"), kept, strict=True)
        ]
        values = {key: number for each in named for key, number in each.items()}
        place = {"method": method, "direction": str(direction), "tissue": tissue}
        numbers.append({**place, "first": groups[0], "second": groups[1], **values})
    caption = (
        f"{_begin(evidence)}Standardized difference of the groups' mean volumes (Hedges' g with the 95 % "
        "interval of the normal approximation), in harmonized volumes and in those of the target "
        "scanner of the same people. Change: the first minus the second, with the 95 % percentile "
        "interval of a bootstrap over people within their group. Where it excludes 0, the method weakens, "
        "strengthens or reverses the difference between the groups."
    )
    title = f"Difference between {groups[0]} and {groups[1]} kept, {direction_title(direction)}"
    name = f"group-difference-{file_label('-'.join(groups))}-{file_label(str(direction))}"
    return _Text(_GROUPS, name, title, caption).table(columns, rows, numbers)


class _Text(NamedTuple):
    """The number, file name, title and caption of a table of this module."""

    number: TableNumber
    name: str
    title: str
    caption: str

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Row],
        numbers: Sequence[Mapping[str, object]],
        labels: tuple[str, ...] = ("Method", "Tissue"),
    ) -> Table:
        """Return the table; `numbers` are the rows of its data."""
        return Table(
            self.number.file_name(self.name),
            self.title,
            self.caption,
            labels,
            tuple(columns),
            tuple(rows),
            pd.DataFrame(numbers).assign(metric=VOLUME.name),
            section="agreement",
            number=self.number,
        )


def _by_method(
    evidence: Evidence, pairs: pd.DataFrame
) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Go through method, its title, tissue, and the rows of both, where there are any."""
    for method, title in evidence.methods.items():
        for tissue in TISSUES:
            own = pairs[(pairs["method"] == method) & (pairs["tissue"] == tissue)]
            if len(own):
                yield method, title, tissue, own


def _named(name: str, found: Interval) -> _Numbers:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _entry(found: _Numbers, name: str) -> Entry:
    return Entry(found[name], found[f"{name}_low"], found[f"{name}_high"])


def _begin(evidence: Evidence) -> str:
    simulated = f"{SIMULATED} " if evidence.simulated else ""
    return f"{simulated}Tissues segmented with {evidence.segmenter}. "
