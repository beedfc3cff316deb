"""Tables of errors against the number of training subjects: how many people must be scanned twice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from harmbench.files.names import file_label
from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.quantities import quantity
from harmbench.report.tables.titles import SIMULATED, direction_title, short_title
from harmbench.report.volumes import chosen_corrections
from harmbench.results import BASELINE, RESCAN
from harmbench.segmentation.base import TISSUES
from harmbench.study.learning_curve import FURTHEST, PairsNeeded
from harmbench.study.training_sizes import OPPONENTS, RESCAN_FACTOR, SizeCurve, size_curves
from harmbench.study.worth import CHOSEN
from harmbench.task import Direction

__all__ = ["SHOWN", "curves_of", "learning_tables", "needed_text"]

SHOWN = (*((VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES), ("mse", ""), ("mse_brain", ""))
"""(metric, tissue) of the measures that the table and the figure show; the CSV holds all."""

_NUMBER = TableNumber(48)
_HEADS: Mapping[str, str] = {
    BASELINE: "to beat the untreated source",
    CHOSEN: "to beat the best volume correction",
    RESCAN: f"to reach {RESCAN_FACTOR:g} x a rescan",
}


def curves_of(evidence: Evidence) -> list[SizeCurve]:
    """Return the curves of a report's runs; none where all cells learned from every subject."""
    if evidence.training_sizes.empty:
        return []
    rows = evidence.training_sizes
    rows = rows[(rows["tissue"] == "") | (rows["segmenter"] == evidence.segmenter)]
    return size_curves(rows, evidence.metrics, chosen_corrections(evidence))


def learning_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction in which a method learned from several numbers of subjects."""
    curves = curves_of(evidence)
    for direction in evidence.shown_directions:
        own = [curve for curve in curves if curve.direction == str(direction)]
        if own:
            yield _table(evidence, direction, own)


def _table(evidence: Evidence, direction: Direction, curves: Sequence[SizeCurve]) -> Table:
    sizes = sorted({float(size) for curve in curves for size in curve.sizes})
    titles = evidence.methods
    rows = tuple(
        _row(evidence, curve, titles.get(curve.method, curve.method), sizes)
        for metric, tissue in SHOWN
        for method in titles
        for curve in curves
        if (curve.metric, curve.tissue, curve.method) == (metric, tissue, method)
    )
    trained = tuple(
        Column(
            (Head("Error after training on so many subjects", better="lower"), Head(f"{size:g}"))
        )
        for size in sizes
    )
    needed = tuple(
        Column((Head("Training subjects that are needed"), Head(_HEADS[name])))
        for name in OPPONENTS
    )
    return Table(
        name=_NUMBER.file_name(f"training-subjects-{file_label(str(direction))}"),
        title=f"Training subjects that are needed, {direction_title(direction)}",
        caption=_caption(evidence),
        labels=("Measure", "Method"),
        columns=(*trained, *needed),
        rows=rows,
        data=pd.DataFrame([row for curve in curves for row in _data(curve)]),
        section="study",
        number=_NUMBER,
    )


def _row(evidence: Evidence, curve: SizeCurve, title: str, sizes: Sequence[float]) -> Row:
    shown = quantity(evidence, curve.metric)
    named = f"{short_title(evidence, curve.metric)} {curve.tissue}".strip()
    label = f"{named} ({shown.unit_text})" if shown.unit_text else named
    at = dict(zip(map(float, curve.sizes), range(len(curve.sizes)), strict=True))
    entries = []
    for size in sizes:
        if size not in at:
            entries.append(Entry())
            continue
        place = at[size]
        value, low, high = (float(own[place]) for own in (curve.error, curve.low, curve.high))
        entries.append(Entry(value, low, high, text=Entry(value, low, high).format(shown.column())))
    largest = float(curve.sizes.max())
    entries += [Entry(text=needed_text(curve.needed[name], largest)) for name in OPPONENTS]
    return Row((label, title), tuple(entries))


def needed_text(found: PairsNeeded | None, largest: float) -> str:
    """Print a number of training subjects: `8 [5, 14]`, `2 or fewer`, `more than 64`.

    Args:
        found: the number; `None` where there is nothing to compare with.
        largest: the largest number that was trained on.
    """
    furthest = FURTHEST * largest
    if found is None:
        return "\N{EN DASH}"
    if math.isnan(found.pairs):
        return "not determined"
    if math.isinf(found.pairs):
        return f"more than {furthest:g}" if found.curve.status == "ok" else "not by more subjects"
    low, high = (_bound(value, furthest) for value in (found.low, found.high))
    interval = f" [{low}, {high}]" if low and high else ""
    if found.at_once:
        return f"{found.pairs:g} or fewer{interval}"
    extrapolated = ", extrapolated" if found.beyond else ""
    return f"{math.ceil(found.pairs)}{interval}{extrapolated}"


def _bound(value: float, furthest: float) -> str:
    if math.isnan(value):
        return ""
    return f"above {furthest:g}" if math.isinf(value) else f"{math.ceil(value)}"


def _data(curve: SizeCurve) -> Iterator[dict[str, object]]:
    numbers: dict[str, object] = {"a": curve.curve.a, "b": curve.curve.b, "c": curve.curve.c}
    numbers["fit"] = curve.curve.status
    for name, found in curve.needed.items():
        label = name.replace(" ", "_")
        numbers[f"limit_{label}"] = curve.limits[name]
        for part in ("pairs", "low", "high"):
            numbers[f"{part}_{label}"] = math.nan if found is None else getattr(found, part)
    for row in curve.rows():
        yield {**row, **numbers}


def _caption(evidence: Evidence) -> str:
    text = f"{SIMULATED} " if evidence.simulated else ""
    return (
        f"{text}Mean error over test subjects, with its 95 % interval over them, after training on nested "
        "subsets of the training subjects; the tests are the same. Settings are the same at every number: "
        "with a fixed number of steps, each of fewer subjects is seen more often. The numbers of subjects "
        "that are needed are read from the fit a + b n^-c, with an interval from resampled test subjects; "
        f"no number beyond {FURTHEST:g} times the largest is given. One subset was drawn for each fold and "
        "seed: the interval does not cover the choice of its subjects."
    )
