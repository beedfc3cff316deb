"""The sentences of a verdict, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from harmbench.report.quantities import shown_unit
from harmbench.report.verdict import (
    Comparison,
    Harm,
    Judged,
    JudgedMeasure,
    RankStability,
    VerdictRow,
)
from harmbench.statistics.differences import FEWEST_FOLDS, FEWEST_SUBJECTS

__all__ = [
    "Facts",
    "enough",
    "failures",
    "harms",
    "headline",
    "inside_sentence",
    "limits",
    "notes",
]

_NAMED = 4
_HARMFUL = 0.1
"""Share of the original's error that an untested harm must exceed to be named."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences say.

    Attributes:
        measures: columns of the grid, the primary endpoint first.
        rows: rows of the grid.
        leads: title of the leader on each measure; empty where none is shown to lead.
        corrections: methods against the best volume correction.
        subjects, folds, seeds: size of the design.
        split_differs: whether runs split their subjects into different folds.
        incomplete: what was planned and is absent.
        simulated: whether the scans are simulated.
        error: typical standard error of a difference to the original on the primary endpoint, as a
            share of the original's error; NaN where nothing can be judged.
    """

    measures: tuple[JudgedMeasure, ...]
    rows: tuple[VerdictRow, ...]
    leads: tuple[str, ...]
    corrections: tuple[Comparison, ...]
    subjects: int
    folds: int
    seeds: int
    split_differs: bool
    incomplete: tuple[str, ...]
    simulated: bool
    error: float

    @property
    def judgeable(self) -> bool:
        """Whether the design allows any test."""
        return self.folds >= FEWEST_FOLDS and self.subjects >= FEWEST_SUBJECTS

    @property
    def endpoint(self) -> str:
        """The primary endpoint inside a sentence: `GM volume difference`."""
        return inside_sentence(self.measures[0])

    @property
    def ranked(self) -> tuple[VerdictRow, ...]:
        """Rows that were ranked on the primary endpoint."""
        return tuple(row for row in self.rows if math.isfinite(row.chance_best))

    @property
    def likeliest(self) -> VerdictRow | None:
        """The row with the highest chance of being best."""
        return max(self.ranked, key=lambda row: row.chance_best, default=None)


def inside_sentence(measure: JudgedMeasure) -> str:
    """Name a measure inside a sentence: `GM volume difference`, `MSE`."""
    title = measure.title.removesuffix(f" {measure.tissue}") if measure.tissue else measure.title
    if title.startswith(("Volume", "Relative")):
        title = title[0].lower() + title[1:]
    return f"{measure.tissue} {title}".strip()


def headline(facts: Facts) -> str:
    """Answer in one sentence, and name failures and absent parts in one more each."""
    parts = [_answer(facts)]
    failed = failures(facts)
    if failed:
        parts += failed
    text = " ".join(parts)
    if facts.incomplete:
        text = f"The run is incomplete, and this may change: {text}"
    return text


def _answer(facts: Facts) -> str:
    likeliest = facts.likeliest
    if likeliest is None:
        return (
            f"There is nothing to compare: the declared primary endpoint, {facts.endpoint}, was measured "
            "for fewer than two methods."
        )
    guess = (
        f"{likeliest.title} has the highest chance of being best, {_percent(likeliest.chance_best)}"
    )
    if not facts.judgeable:
        return (
            f"This design cannot judge which method is best on {facts.endpoint} "
            f"({_design(facts)}); {guess}."
        )
    leader = facts.leads[0]
    if leader:
        row = next(row for row in facts.rows if row.title == leader)
        if row.role == "original":
            return f"The original is shown to be better than every method on {facts.endpoint}."
        return f"{leader} is shown to be better than every other method on {facts.endpoint}{_gain(row)}."
    better = _titles(facts, "better")
    if better:
        verb = "is" if len(better) == 1 else "are"
        return (
            f"{_names(better)} {verb} shown to be better than the original on {facts.endpoint}; "
            f"which method is best is not ({guess})."
        )
    text = f"No method is shown to be better than the original on {facts.endpoint}"
    for state, words in (("worse", "worse"), ("equivalent", "equivalent to it")):
        found = _titles(facts, state)
        if found:
            text += f"; {_names(found)} {'is' if len(found) == 1 else 'are'} shown to be {words}"
    return f"{text}; {guess}."


def _gain(row: VerdictRow) -> str:
    change = row.cells[0].change
    return f", with {_percent(change)} less error than the original" if change > 0 else ""


def _titles(facts: Facts, state: str) -> list[str]:
    return [row.title for row in facts.rows if row.cells[0].state == state]


def _names(titles: Sequence[str]) -> str:
    if len(titles) > _NAMED:
        return f"{', '.join(titles[:_NAMED])} and {len(titles) - _NAMED} more"
    return f"{', '.join(titles[:-1])} and {titles[-1]}" if len(titles) > 1 else titles[0]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _design(facts: Facts) -> str:
    return f"{_count(facts.subjects, 'subject')}, {_count(facts.folds, 'fold')}"


def failures(facts: Facts) -> tuple[str, ...]:
    """Name methods and subjects that failed on the primary endpoint."""
    found = []
    for row in facts.rows:
        if row.failed:
            shown = ", ".join(row.failed[:_NAMED])
            more = f" and {len(row.failed) - _NAMED} more" if len(row.failed) > _NAMED else ""
            found.append(
                f"{row.title} failed on {len(row.failed)} of {_count(facts.subjects, 'subject')} "
                f"({shown}{more})."
            )
    return tuple(found)


def harms(facts: Facts) -> tuple[Harm, ...]:
    """List what methods make worse than the original has it, certain harms first."""
    found = []
    for row in facts.rows:
        for measure, cell in zip(facts.measures, row.cells, strict=True):
            if cell.state == "worse":
                found.append(_harm(row, measure, cell, certain=True))
            elif cell.change < 0 and _likely(cell):
                found.append(_harm(row, measure, cell, certain=False))
    return tuple(sorted(found, key=lambda harm: not harm.certain))


def _likely(cell: Judged) -> bool:
    if math.isfinite(cell.p):
        return cell.p <= 0.05
    return cell.pairs > 0 and cell.change < -_HARMFUL


def _harm(row: VerdictRow, measure: JudgedMeasure, cell: Judged, *, certain: bool) -> Harm:
    text = f"{row.title} makes {inside_sentence(measure)} worse than the original"
    if not certain:
        text = f"{row.title} may make {inside_sentence(measure)} worse than the original"
    text += f": {_percent(-cell.change)} more error"
    if math.isfinite(cell.low):
        own, low, high = _differences((cell.difference, cell.low, cell.high), measure.unit)
        text += f" (difference {own}, 95 % interval {low} to {high})"
    else:
        text += ", which this design cannot test"
    return Harm(row.title, measure.title, certain, -cell.change, f"{text}.")


def _differences(values: Sequence[float], unit: str) -> list[str]:
    """Print signed values of one measure with the same number of decimals, volumes in ml."""
    unit, divide = shown_unit(unit)
    shown = [value / 10.0**divide for value in values]
    largest = max(map(abs, shown))
    decimals = max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0
    texts = (f"{value:+,.{decimals}f} {unit}".strip() for value in shown)
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]


def limits(facts: Facts) -> str:
    """Say in one line how large the design is, and what it can show."""
    text = f"{_design(facts)}, {_count(facts.seeds, 'seed')} per method"
    if facts.simulated:
        text += ", simulated scans"
    if not facts.judgeable:
        return f"{text}: too few to test anything."
    smallest = _detectable(facts.error, facts.folds)
    if not math.isfinite(smallest):
        return f"{text}."
    return (
        f"{text}: a single difference to the original is found with a probability of 80 % where it is "
        f"{_percent(smallest)} of the original's error or more."
    )


def _detectable(error: float, folds: int) -> float:
    """Smallest difference that a two-sided test at 5 % finds in 80 % of runs, in the unit of `error`."""
    return float(error * (stats.t.ppf(0.975, folds - 1) + stats.t.ppf(0.8, folds - 1)))


def enough(facts: Facts) -> str:
    """Say what would be enough, where the design cannot judge."""
    if facts.judgeable:
        return ""
    if facts.split_differs:
        return "Enough would be runs of all methods on the same folds."
    return (
        f"Any test needs at least {FEWEST_FOLDS} folds and {FEWEST_SUBJECTS} subjects. In simulations, 40 "
        "subjects in 10 folds find differences of 1 to 2 SD of a method's error, and 8 subjects in 8 "
        "folds find 2 SD in half of the runs. More seeds do not replace folds."
    )


def notes(facts: Facts, stability: Sequence[RankStability]) -> tuple[str, ...]:
    """Say how the tests work, and how firm the ranks are."""
    found = [
        "Tests compare methods within subjects and count each fold as one trained network; they are "
        "corrected for the number of comparisons over all measures. The primary endpoint was "
        "declared beforehand; the other measures are secondary."
    ]
    if any(row.failed for row in facts.rows):
        found.append(
            "A claim must hold both on the subjects that all compared methods have, and with failed "
            "subjects ranked last."
        )
    if stability:
        first = [one.method for one in stability if one.rank == 1]
        by_ranks = [one.method for one in stability if one.rank_by_ranks == 1]
        same = set(first) == set(by_ranks)
        found.append(
            f"By mean error and by mean rank, {_names(first)} come{'s' * (len(first) == 1)} first."
            if same
            else f"By mean error {_names(first)} comes first, by mean rank {_names(by_ranks)}."
        )
    if facts.split_differs:
        found.append("The runs split their subjects into different folds, so nothing is judged.")
    if facts.simulated:
        found.append("The scans are simulated: the ranking need not hold on real scans.")
    return tuple(found)
