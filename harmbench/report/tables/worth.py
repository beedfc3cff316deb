"""Each method's volume error against that of the best volume correction."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from harmbench.files.names import file_label
from harmbench.metrics.declarations import VOLUME_DIFFERENCE
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import SIMULATED, direction_title
from harmbench.report.volumes import chosen_corrections, worth_of
from harmbench.segmentation.base import TISSUES
from harmbench.statistics.differences import FEWEST_FOLDS, FEWEST_SUBJECTS
from harmbench.study.worth import Choices
from harmbench.task import Direction

__all__ = ["chosen_names", "worth_tables"]

_JUDGED = f"No interval: fewer than {FEWEST_FOLDS} folds or {FEWEST_SUBJECTS} subjects."

_NUMBER = TableNumber(40)
_ML = 1e-3


def worth_tables(evidence: Evidence) -> Iterator[Table]:
    """Make one table for each direction; none where no volume correction was chosen."""
    found, choices = worth_of(evidence), chosen_corrections(evidence)
    for direction in evidence.shown_directions:
        rows = found[found["direction"] == str(direction)]
        if not rows.empty:
            yield _table(evidence, choices, direction, rows)


def chosen_names(evidence: Evidence, choices: Choices, direction: Direction, tissue: str) -> str:
    """Name the corrections that training subjects chose: `Volume ratio (3 of 4 folds), ...`.

    Args:
        evidence: knows their titles.
        choices: see `harmbench.report.volumes.chosen_corrections`.
        direction: source to target.
        tissue: which volume.
    """
    counts = Counter(
        name for (way, _, own), name in choices.items() if way == str(direction) and own == tissue
    )
    if len(counts) == 1:
        return evidence.methods[next(iter(counts))]
    folds = sum(counts.values())
    return ", ".join(
        f"{evidence.methods[name]} ({count} of {folds} folds)"
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _table(evidence: Evidence, choices: Choices, direction: Direction, rows: pd.DataFrame) -> Table:
    heads = (Head("error", "ml", better="lower"), Head("minus correction", "ml"))
    columns = tuple(
        Column((Head(tissue), head), decimals=2) for tissue in TISSUES for head in heads
    )
    shown = []
    for method, title in evidence.methods.items():
        mine = rows[rows["method"] == method].set_index("tissue")
        if not mine.empty:
            entries = [entry for tissue in TISSUES for entry in _entries(mine, tissue)]
            shown.append(Row((title,), tuple(entries), method in evidence.corrections))
    names = {tissue: chosen_names(evidence, choices, direction, tissue) for tissue in TISSUES}
    chosen = "; ".join(f"{tissue}: {name or 'none'}" for tissue, name in names.items())
    caption = (
        f"{f'{SIMULATED} ' if evidence.simulated else ''}Error: mean absolute difference to the target "
        "scanner's volume, over folds of the folds' means. Minus correction: mean paired difference to "
        "the error of the best volume correction, with its 95 % interval, which accounts for subjects "
        f"of a fold sharing a network; below 0 the method is better. {_JUDGED} Which correction is best was "
        "decided on training subjects alone, by cross-validation within them, for each fold and tissue. "
        f"Chosen: {chosen}. Intervals are not corrected for the number of comparisons; p_adjusted in "
        "the CSV file is (Holm, over tissues and the methods that give images). There, p_no_gain tests that "
        "a method is not better by region_mm3 or more, a share of the untreated error; p_unneeded, that no "
        "network is (Holm, over tissues)."
    )
    data = rows.assign(
        metric=VOLUME_DIFFERENCE.name,
        correction=[names[str(tissue)] for tissue in rows["tissue"]],
    )
    return Table(
        _NUMBER.file_name(f"worth-{file_label(str(direction))}"),
        f"Volumes: each method against the best volume correction, {direction_title(direction)}",
        caption,
        ("Method",),
        columns,
        tuple(shown),
        data,
        section="worth",
        number=_NUMBER,
    )


def _entries(rows: pd.DataFrame, tissue: str) -> tuple[Entry, Entry]:
    """Return a method's error in one tissue, and its difference to the correction's, in ml."""
    if tissue not in rows.index:
        return Entry(math.nan), Entry(math.nan)
    names = ("error_mm3", "difference_mm3", "low_mm3", "high_mm3")
    error, difference, low, high = (float(rows[name][tissue]) * _ML for name in names)
    return Entry(error), Entry(difference, low, high)
