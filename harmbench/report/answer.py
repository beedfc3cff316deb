"""The short answer: which method is best on the main measures, and how sure that is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harmbench.method import Direction
from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.report.evidence import Evidence
from harmbench.report.layout import Column, Head, decimals_for, exponent_for
from harmbench.report.render import head_text
from harmbench.report.shapes import short_title
from harmbench.segmentation.base import TISSUES
from harmbench.statistics import ALL, BASELINE, paired_bootstrap

__all__ = ["MAIN_MEASURES", "Verdict", "caveats", "headline", "verdicts"]

MAIN_MEASURES = (
    ("mse", ""),
    ("ahd", ""),
    *((VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES),
    *(("dice", tissue) for tissue in TISSUES),
)
"""Metric and tissue of the paper's main results."""

_FEW = 10


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
        clear: whether the interval of the paired difference to the runner-up excludes 0.
    """

    measure: str
    best: tuple[str, ...]
    value: str
    change: str
    runner_up: str
    clear: bool


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
    exponent = exponent_for(rows["mean"].tolist())
    decimals = decimals_for(rows["mean"].tolist(), exponent)
    label = f"{short_title(evidence, metric)} {tissue}".strip()
    column = Column((Head(label, declared.unit, exponent, declared.better),), exponent, decimals)
    ordered = rows.sort_values("rank", kind="stable")
    best = [str(name) for name in ordered.index[ordered["rank"] == 1]]
    others = [str(name) for name in ordered.index[ordered["rank"] > 1]]
    first = ordered.loc[best[0]]
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
        clear=len(best) == 1
        and bool(others)
        and _separated(evidence, direction, metric, tissue, best[0], others[0]),
    )


def _interval(
    column: Column, row: pd.Series, value: str, low: str, high: str, *, signed: bool = False
) -> str:
    number = float(row[value])
    text = ("+" if signed and number > 0 else "") + column.format(number)
    if math.isfinite(row[low]) and math.isfinite(row[high]):
        text += f" [{column.format(float(row[low]))}, {column.format(float(row[high]))}]"
    return text


def _separated(
    evidence: Evidence, direction: Direction, metric: str, tissue: str, best: str, other: str
) -> bool:
    """Whether the interval of the paired difference between two methods excludes 0."""
    frame = evidence.results
    frame = frame[(frame["metric"] == metric) & (frame["tissue"] == tissue)]
    frame = frame[(frame["direction"] == str(direction)) & frame["method"].isin([best, other])]
    if tissue:
        frame = frame[frame["segmenter"] == evidence.segmenter]
    magnitude = frozenset({metric}) if evidence.metrics[metric].better == "zero" else frozenset()
    found = paired_bootstrap(frame, best, magnitude)
    if found.empty:
        return False
    low, high = float(found["difference_low"].iloc[0]), float(found["difference_high"].iloc[0])
    return low > 0 or high < 0


def headline(judged: Sequence[Verdict]) -> str:
    """Sum up one direction in a sentence or two; empty where nothing was judged."""
    if not judged:
        return "There is nothing to compare: fewer than two methods were measured."
    wins = Counter(name for verdict in judged for name in verdict.best)
    ranked = sorted(wins.items(), key=lambda item: -item[1])
    many = len(judged)
    parts = [
        f"{name} is best on {count} of {many} measures" if place == 0 else f"{name} on {count}"
        for place, (name, count) in enumerate(ranked)
    ]
    clear = sum(verdict.clear for verdict in judged)
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1] + "."
    leads = "None of these leads is" if clear == 0 else f"{clear} of these {many} leads are"
    if clear == 1:
        leads = f"1 of these {many} leads is"
    return f"{text} {leads} clear of the runner-up."


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
