"""The short answer: which method is best on the main measures, and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.render import head_text
from harmbench.pages.table import Column, Head, decimals_for, exponent_for
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import short_title
from harmbench.results import BASELINE
from harmbench.segmentation.base import TISSUES
from harmbench.statistics import ALL, paired_bootstrap
from harmbench.task import Direction

__all__ = ["MAIN_MEASURES", "Verdict", "caveats", "headline", "verdicts"]

MAIN_MEASURES = (
    ("mse", ""),
    ("ahd", ""),
    *((VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES),
    *(("dice", tissue) for tissue in TISSUES),
)
"""Metric and tissue of the paper's main results."""

_FEW = 10
_FEWEST = 6
"""Pairs below which nothing is called clear: with five, all differences of one sign still have a
probability of 2 / 2**5 = 6 % by chance."""
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is best on one measure.

    Attributes:
        measure: metric, tissue, power of ten, unit and arrow, as text.
        best: methods that share the best mean.
        value: mean over subjects of the best, with its interval, as text.
        change: paired difference to the untreated source with its interval, as text; empty where
            the untreated source is best itself or was not scored.
        runner_up: the next method; empty where there is none.
        pairs: subjects that both the best and the runner-up were measured on.
        clear: whether the interval of the paired difference to the runner-up excludes 0, with at
            least six pairs.
    """

    measure: str
    best: tuple[str, ...]
    value: str
    change: str
    runner_up: str
    pairs: int
    clear: bool

    @property
    def lead(self) -> str:
        """Say how sure the lead is: `yes`, `no`, `tie`, or that there are too few subjects."""
        if len(self.best) > 1 or not self.runner_up:
            return "tie"
        if self.pairs < _FEWEST:
            return f"too few subjects ({self.pairs})"
        return "yes" if self.clear else "no"


def verdicts(evidence: Evidence, direction: Direction) -> list[Verdict]:
    """Judge each main measure that at least two methods were ranked on."""
    found = []
    for metric, tissue in MAIN_MEASURES:
        if not evidence.has(metric):
            continue
        rows = evidence.rows(metric, tissue, ALL)
        rows = rows[(rows["direction"] == str(direction)) & rows["rank"].notna()]
        if len(rows) > 1:
            found.append(_verdict(evidence, direction, metric, tissue, rows.set_index("method")))
    return found


def _verdict(
    evidence: Evidence, direction: Direction, metric: str, tissue: str, rows: pd.DataFrame
) -> Verdict:
    declared = evidence.metrics[metric]
    label = f"{short_title(evidence, metric)} {tissue}".strip()
    ordered = rows.sort_values("rank", kind="stable")
    best = [str(name) for name in ordered.index[ordered["rank"] == 1]]
    others = [str(name) for name in ordered.index[ordered["rank"] > 1]]
    first = ordered.loc[[best[0]]].to_dict("records")[0]
    shown = [first["mean"], first["difference"]]
    exponent = exponent_for(shown)
    # Mean and change may differ in size by far: each shows its three digits.
    decimals = max(decimals_for([number], exponent) for number in shown)
    pairs, clear = 0, False
    if len(best) == 1 and others:
        pairs, clear = _separated(evidence, direction, metric, tissue, best[0], others[0])
    column = Column((Head(label, declared.unit, exponent, declared.better),), exponent, decimals)
    change = ""
    if BASELINE not in best and math.isfinite(first["difference"]):
        change = _interval(
            column, first, "difference", "difference_low", "difference_high", signed=True
        )
    return Verdict(
        measure=head_text(column.heads[0]),
        best=tuple(evidence.methods[name] for name in best),
        value=_interval(column, first, "mean", "low", "high"),
        change=change,
        runner_up=evidence.methods[others[0]] if others else "",
        pairs=pairs,
        clear=clear,
    )


def _interval(
    column: Column,
    row: Mapping[Hashable, Any],
    value: str,
    low: str,
    high: str,
    *,
    signed: bool = False,
) -> str:
    number = float(row[value])
    text = ("+" if signed and number > 0 else "") + column.format(number)
    if math.isfinite(row[low]) and math.isfinite(row[high]):
        text += f" [{column.format(float(row[low]))}, {column.format(float(row[high]))}]"
    return text


def _separated(
    evidence: Evidence, direction: Direction, metric: str, tissue: str, best: str, other: str
) -> tuple[int, bool]:
    """Count pairs, and say whether the interval of their mean difference excludes 0."""
    frame = evidence.results
    frame = frame[(frame["metric"] == metric) & (frame["tissue"] == tissue)]
    frame = frame[(frame["direction"] == str(direction)) & frame["method"].isin([best, other])]
    if tissue:
        frame = frame[frame["segmenter"] == evidence.segmenter]
    magnitude = frozenset({metric}) if evidence.metrics[metric].better == "zero" else frozenset()
    found = paired_bootstrap(frame, best, magnitude)
    if found.empty:
        return 0, False
    pairs = int(found["n_pairs"].iloc[0])
    low, high = float(found["difference_low"].iloc[0]), float(found["difference_high"].iloc[0])
    return pairs, pairs >= _FEWEST and (low > 0 or high < 0)


def headline(judged: Sequence[Verdict]) -> str:
    """Sum up one direction in two sentences."""
    if not judged:
        return "There is nothing to compare: fewer than two methods were measured on all subjects."
    many = len(judged)
    wins = Counter(name for verdict in judged for name in verdict.best).most_common()
    parts = [f"{name} on {count}" for name, count in wins[1:_NAMED]]
    if len(wins) > _NAMED:
        rest = wins[_NAMED:]
        parts.append(
            f"{len(rest)} other{'s' if len(rest) > 1 else ''} on {sum(n for _, n in rest)}"
        )
    text = f"{wins[0][0]} is best on {wins[0][1]} of {many} measures"
    text += f" ({', '.join(parts)})." if parts else "."
    if all(verdict.pairs < _FEWEST for verdict in judged):
        return f"{text} There are too few subjects to call a lead clear."
    clear = sum(verdict.clear for verdict in judged)
    if clear == 0:
        return f"{text} No lead is clear of the runner-up."
    return f"{text} {clear} of these {many} leads {'is' if clear == 1 else 'are'} clear of the runner-up."


def caveats(evidence: Evidence) -> list[str]:
    """Say what limits the answer: data, number of subjects, settings, failures."""
    subjects = evidence.results["subject"].nunique()
    sizes = ", ".join(f"{len(who)} {group}" for group, who in evidence.groups.items())
    folds = evidence.results["fold"].nunique()
    seeds = evidence.results["seed"].nunique()
    found = [
        f"n = {subjects} subjects ({sizes}), {folds} fold{'s' * (folds > 1)}, {seeds} training "
        f"seed{'s' * (seeds > 1)} per method. Intervals are 95 % bootstrap intervals over subjects; "
        "they do not cover the chance of another training run."
    ]
    if subjects < _FEW:
        found.append(
            f"With fewer than {_FEW} subjects, bootstrap intervals are too narrow and an interval "
            "that excludes 0 is weak evidence."
        )
    if evidence.simulated:
        found.append("The scans are simulated: the ranking need not hold on real scans.")
    found.append(
        "The ranking holds for the settings of this run (see Provenance), not for the methods at "
        "their best. Eight measures per direction are compared without correction for their number."
    )
    incomplete = _incomplete(evidence)
    if incomplete:
        found.append(
            f"Not ranked on some measures, because of missing values: {', '.join(incomplete)}."
        )
    return found


def _incomplete(evidence: Evidence) -> list[str]:
    rows = evidence.summary[evidence.summary["group"] == ALL]
    rows = rows[rows["metric"].isin({metric for metric, _ in MAIN_MEASURES}) & ~rows["complete"]]
    return [title for name, title in evidence.methods.items() if name in set(rows["method"])]
