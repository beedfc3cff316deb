"""Which tables a report holds: those of the paper in its shapes, and those beyond it.

Tables 1-3 and 6-13 carry the paper's numbers; tables from 14 on are this project's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from harmbench.files.names import file_label
from harmbench.metrics.volumetry import (
    RELATIVE_VOLUME_DIFFERENCE,
    VOLUME,
    VOLUME_DIFFERENCE,
)
from harmbench.pages.table import Table, TableNumber
from harmbench.report.evidence import Evidence
from harmbench.report.published import DIRECTIONS
from harmbench.report.tables.agreement import agreement_tables
from harmbench.report.tables.overview import overview_tables
from harmbench.report.tables.shapes import (
    fold_table,
    interval_table,
    list_measures,
    mean_columns,
    mean_table,
)
from harmbench.report.tables.titles import against, direction_title
from harmbench.report.tables.worth import worth_tables
from harmbench.task import Direction

__all__ = ["all_tables"]

BOLD = "Bold: best of the methods that were measured on all subjects; arrows: better direction."
MEAN = "Mean over each fold's subjects, then over folds."
SPREAD = (
    "Variance and SD (its square root) are taken over the folds' means, with the number of folds - 1 as "
    "divisor; the paper does not say which divisor it used."
)

_STRUCTURE = ("gradient_correlation", "stripe_index", "bright_voxel_excess")
_VOLUMES = (VOLUME.name, RELATIVE_VOLUME_DIFFERENCE.name)
_VOLUME_DIFFERENCE = VOLUME_DIFFERENCE.name
_OVERLAP = ("dice", "hd", "hd95", "assd")


def all_tables(evidence: Evidence) -> Iterator[Table]:
    """Make every table that the results allow, in the order of their numbers.

    A table whose metrics were not measured is left out.
    """
    yield from _paper_tables(evidence)
    yield from _paper_fold_tables(evidence)
    yield from _metric_tables(evidence)
    yield from _group_tables(evidence)
    yield from _interval_tables(evidence)
    yield from overview_tables(evidence)
    yield from worth_tables(evidence)
    yield from agreement_tables(evidence)


def _paper_tables(evidence: Evidence) -> Iterator[Table]:
    shapes = (
        (1, "mse-ahd", "MSE and AHD", ("mse", "ahd")),
        (2, "volume-differences", "Absolute volume differences", (_VOLUME_DIFFERENCE,)),
        (3, "dice-hd", "Dice score and Hausdorff distance", ("dice", "hd")),
    )
    for number, name, title, metrics in shapes:
        measures = list_measures(evidence, evidence.shown_directions, metrics)
        if measures:
            caption = f"{against(evidence, metrics)} {MEAN} {BOLD}"
            yield mean_table(
                evidence, TableNumber(number), name, title, caption, measures, section="main"
            )


def _paper_fold_tables(evidence: Evidence) -> Iterator[Table]:
    """Tables 6-13: as in the paper, even numbers hold 3T to 1.5T and odd ones 1.5T to 3T.

    Where a run has neither, they hold its first and second direction; all further directions stand
    under the odd number with a suffix.
    """
    shapes = (
        (6, "mse-ahd", "MSE and AHD", ("mse", "ahd")),
        (8, "volume-differences", "Volume differences", (_VOLUME_DIFFERENCE,)),
        (10, "dice", "Dice score", ("dice",)),
        (12, "hd", "Hausdorff distance", ("hd",)),
    )
    for first, name, title, metrics in shapes:
        for direction, place in _places(evidence.shown_directions).items():
            measures = list_measures(evidence, [direction], metrics)
            if not measures:
                continue
            number = TableNumber(first + min(place, 1), place + 1 if place > 1 else 0)
            caption = f"{against(evidence, metrics)} {MEAN} {SPREAD} {BOLD}"
            yield fold_table(
                evidence,
                number,
                f"{name}-folds-{file_label(str(direction))}",
                f"{title} with the spread over folds, {direction_title(direction)}",
                caption,
                measures,
            )


def _places(directions: Sequence[Direction]) -> dict[Direction, int]:
    """Give each direction its place in the paper's order, or one after it."""
    known = [direction for direction in directions if str(direction) in DIRECTIONS]
    others = [direction for direction in directions if direction not in known]
    places = {direction: DIRECTIONS.index(str(direction)) for direction in known}
    first = len(DIRECTIONS) if known else 0
    return places | {direction: first + place for place, direction in enumerate(others)}


def _metric_tables(evidence: Evidence) -> Iterator[Table]:
    """Tables 14-19: every metric that was measured appears in one of them."""
    image = [n for n, m in evidence.metrics.items() if m.scope == "image" and n not in _STRUCTURE]
    counts = [n for n in image if n.startswith(("ahd", "wasserstein"))]
    tissue = [n for n, m in evidence.metrics.items() if m.scope == "tissue"]
    families = (
        (14, "image-metrics", "Voxel-wise similarity", [n for n in image if n not in counts]),
        (15, "intensity-distribution", "Intensity distribution", counts),
        (16, "surface-distances", "Surface distances", ["hd95", "assd"]),
        (17, "structure", "Anatomy, stripes and bright voxels", [*_STRUCTURE]),
        (18, "volumes", "Volumes and signed differences", [*_VOLUMES]),
        (
            19,
            "other-tissue-metrics",
            "Other tissue metrics",
            [n for n in tissue if n not in {*_VOLUMES, _VOLUME_DIFFERENCE, *_OVERLAP}],
        ),
    )
    for number, name, title, metrics in families:
        for direction in evidence.shown_directions:
            measures = list_measures(evidence, [direction], metrics)
            if measures:
                caption = f"{against(evidence, metrics)} {MEAN} {BOLD}"
                yield mean_table(
                    evidence,
                    TableNumber(number),
                    f"{name}-{file_label(str(direction))}",
                    f"{title}, {direction_title(direction)}",
                    caption,
                    measures,
                )


def _group_tables(evidence: Evidence) -> Iterator[Table]:
    """Tables 20-22: the measures of Tables 1-3 for each group of subjects."""
    if len(evidence.groups) < 2:
        return
    shapes = (
        (20, "groups-mse-ahd", "MSE and AHD by group", ("mse", "ahd")),
        (21, "groups-volume-differences", "Volume differences by group", (_VOLUME_DIFFERENCE,)),
        (22, "groups-dice-hd95", "Dice and HD95 by group", ("dice", "hd95")),
    )
    sizes = ", ".join(f"{group} n = {len(who)}" for group, who in evidence.groups.items())
    for number, name, title, metrics in shapes:
        measures = list_measures(evidence, evidence.shown_directions, metrics)
        if not measures:
            continue
        caption = (
            f"{against(evidence, metrics)} {MEAN} {sizes}. Bold: best within a group, of the "
            "methods that were measured on all its subjects."
        )
        tables = [
            mean_table(
                evidence,
                TableNumber(number),
                name,
                title,
                caption,
                measures,
                group=group,
                section="groups",
            )
            for group in evidence.groups
        ]
        rows = [
            replace(row, labels=(*row.labels, group))
            for group, table in zip(evidence.groups, tables, strict=True)
            for row in table.rows
        ]
        data = pd.concat([table.data for table in tables], ignore_index=True)
        columns = mean_columns(evidence, measures)
        yield replace(
            tables[0], labels=("Method", "Group"), columns=columns, rows=tuple(rows), data=data
        )


def _interval_tables(evidence: Evidence) -> Iterator[Table]:
    """Tables 23-26: means over subjects, and differences to the untreated source."""
    families = (
        (23, "intervals-mse-ahd", "MSE and AHD", ("mse", "mse_brain", "ahd")),
        (24, "intervals-volume-differences", "Volume differences", (_VOLUME_DIFFERENCE,)),
        (25, "intervals-dice", "Dice score", ("dice",)),
        (26, "intervals-hd95", "HD95", ("hd95",)),
    )
    for number, name, title, metrics in families:
        for direction in evidence.shown_directions:
            measures = list_measures(evidence, [direction], metrics)
            if measures:
                yield interval_table(evidence, TableNumber(number), name, title, measures)
