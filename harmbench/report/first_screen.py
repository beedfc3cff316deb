"""The first screen of the page: the answer in one sentence, and a grid of methods and measures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harmbench.files.names import file_label
from harmbench.pages.render import ARROWS
from harmbench.report.evidence import Evidence
from harmbench.report.quantities import Quantity, quantity
from harmbench.report.tables.titles import direction_title
from harmbench.report.verdict import (
    Comparison,
    Judged,
    JudgedMeasure,
    Role,
    State,
    Verdict,
    VerdictRow,
)

__all__ = [
    "LETTERS",
    "ROLE_NOTES",
    "Answer",
    "Cell",
    "GridHead",
    "GridRow",
    "HarmLine",
    "Pair",
    "answer",
]

LETTERS: Mapping[State, str] = MappingProxyType(
    {"better": "B", "equivalent": "E", "unclear": "U", "worse": "W", "not judged": ""}
)
"""What stands in a cell of the grid beside its colour."""

_COMPARED: tuple[Role, ...] = ("method", "control", "volume correction")
ROLE_NOTES: Mapping[Role, str] = MappingProxyType(
    {
        "method": "",
        "control": "control",
        "volume correction": "corrects volumes",
        "original": "untreated",
        "rescan floor": "two scans on the target scanner",
        "ceiling": "reference against itself",
    }
)
"""What stands beside the title of a method, by its role."""


@dataclass(frozen=True, slots=True)
class GridHead:
    """A column of the grid: its title, and its unit with the better direction."""

    title: str
    unit: str
    primary: bool
    region: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the grid.

    Attributes:
        state: see `harmbench.report.verdict.State`; with a dash for its space.
        letter: see `LETTERS`.
        sort: the method's mean in full; empty where there is none.
        value: the method's mean.
        change: how much less or more error than the original, such as `-42 %`.
        hint: interval, p and number of pairs in words.
    """

    state: str
    letter: str
    sort: str
    value: str
    change: str
    hint: str


@dataclass(frozen=True, slots=True)
class GridRow:
    """A row of the grid: a method, what it is, its cells, and its chance of being best."""

    method: str
    title: str
    role: str
    note: str
    cells: tuple[Cell, ...]
    chance: str
    failed: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of methods on the primary endpoint, in texts."""

    first: str
    second: str
    state: str
    sort: str
    difference: str
    p: str
    effect: str
    pairs: int


@dataclass(frozen=True, slots=True)
class HarmLine:
    """All that one method makes worse: `Dice CSF: 10 % more error; Dice GM: 12 % more error`."""

    certain: bool
    method: str
    measures: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on one direction as the page shows it.

    Attributes:
        title: of the direction.
        anchor: its place in the page.
        harms: what methods make worse.
    """

    title: str
    anchor: str
    verdict: Verdict
    heads: tuple[GridHead, ...]
    rows: tuple[GridRow, ...]
    pairs: tuple[Pair, ...]
    harms: tuple[HarmLine, ...]


def answer(evidence: Evidence, verdict: Verdict) -> Answer:
    """Turn a verdict into texts."""
    quantities = [_quantity(evidence, measure) for measure in verdict.measures]
    heads = [
        _head(measure, shown) for measure, shown in zip(verdict.measures, quantities, strict=True)
    ]
    rows = [_row(row, quantities) for row in verdict.rows]
    shown = _quantity(evidence, verdict.endpoint)
    pairs = [_pair(rival, shown) for rival in (*verdict.corrections, *verdict.rivals)]
    title = direction_title(verdict.direction)
    return Answer(
        title=title,
        anchor=f"answer-{file_label(str(verdict.direction))}",
        verdict=verdict,
        heads=tuple(heads),
        rows=tuple(rows),
        pairs=tuple(pairs),
        harms=tuple(_harm_lines(verdict)),
    )


def _harm_lines(verdict: Verdict) -> Iterator[HarmLine]:
    """Put the harms of each method on one line, certain ones first."""
    lines: dict[tuple[bool, str], list[str]] = {}
    for harm in verdict.harms:
        text = f"{harm.measure}: {_more_error(harm.more)}"
        lines.setdefault((harm.certain, harm.method), []).append(text)
    for (certain, method), texts in lines.items():
        yield HarmLine(certain, method, "; ".join(texts))


def _more_error(share: float) -> str:
    """Print how much more error than the original: `12 % more error`, `2.1 times the error`."""
    if not math.isfinite(share):
        return "more error"
    if share >= 1:
        return f"{1 + share:.1f} times the error"
    percent = f"{100 * share:.0f}" if share >= 0.005 else "less than 1"
    return f"{percent}\N{NO-BREAK SPACE}% more error"


def _quantity(evidence: Evidence, measure: JudgedMeasure) -> Quantity:
    if evidence.has(measure.metric):
        return quantity(evidence, measure.metric)
    return Quantity(measure.unit, 0, 0, 2)


def _head(measure: JudgedMeasure, shown: Quantity) -> GridHead:
    unit = " ".join(part for part in (shown.unit_text, ARROWS[measure.better]) if part)
    return GridHead(measure.title, unit, measure.primary, measure.region)


def _row(row: VerdictRow, quantities: list[Quantity]) -> GridRow:
    cells = [
        _cell(row.role, judged, shown) for judged, shown in zip(row.cells, quantities, strict=True)
    ]
    return GridRow(
        method=row.method,
        title=row.title,
        role=row.role.replace(" ", "-"),
        note=ROLE_NOTES[row.role],
        cells=tuple(cells),
        chance=_share(row.chance_best),
        failed=f"no value: {', '.join(row.failed)}" if row.failed else "",
    )


def _cell(role: Role, judged: Judged, shown: Quantity) -> Cell:
    compared = role in _COMPARED
    return Cell(
        state=judged.state.replace(" ", "-") if compared else "shown",
        letter=LETTERS[judged.state] if compared else "",
        sort=_full(judged.mean),
        value=shown.format(judged.mean),
        change=_percent(-judged.change) if compared else "",
        hint=_hint(judged, shown) if compared else "",
    )


def _pair(rival: Comparison, shown: Quantity) -> Pair:
    difference = shown.format(rival.difference)
    if math.isfinite(rival.low) and math.isfinite(rival.high):
        difference += f" [{shown.format(rival.low)}, {shown.format(rival.high)}]"
    return Pair(
        first=rival.first,
        second=rival.second,
        state=f"{rival.state}: {rival.reason}" if rival.reason else rival.state,
        sort=_full(rival.difference),
        difference=f"{difference} {shown.unit_text}".strip(),
        p=f"{rival.p_adjusted:.3f}" if math.isfinite(rival.p_adjusted) else "\N{EN DASH}",
        effect=f"{rival.effect_size:.2f}" if math.isfinite(rival.effect_size) else "\N{EN DASH}",
        pairs=rival.pairs,
    )


def _full(value: float) -> str:
    """Print a number for sorting; nothing for a missing one."""
    return f"{value:.9g}" if math.isfinite(value) else ""


def _share(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%" if math.isfinite(share) else ""


def _percent(share: float) -> str:
    """Print a change of the error: `+12 %`, and beyond twice as much as a factor."""
    if not math.isfinite(share):
        return ""
    if share >= 1:
        return f"\N{MULTIPLICATION SIGN}{1 + share:.1f}"
    percent = round(100 * share)
    sign = "+" if percent > 0 else "\N{MINUS SIGN}" if percent < 0 else ""
    return f"{sign}{abs(percent)}\N{NO-BREAK SPACE}%"


def _hint(judged: Judged, shown: Quantity) -> str:
    """Say in words what a cell rests on."""
    parts = [judged.state if not judged.reason else f"{judged.state}: {judged.reason}"]
    if math.isfinite(judged.difference):
        text = f"difference to the original {shown.format(judged.difference)}"
        if math.isfinite(judged.low) and math.isfinite(judged.high):
            text += f" (95 % interval {shown.format(judged.low)} to {shown.format(judged.high)})"
        parts.append(f"{text} {shown.unit}".strip())
    if math.isfinite(judged.p_adjusted):
        parts.append(f"corrected p {judged.p_adjusted:.2g}")
    if judged.pairs:
        parts.append(f"{judged.pairs} subjects")
    return "; ".join(parts)
