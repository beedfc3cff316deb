"""One direction of a report, arranged for the tests of its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmbench.metrics.base import Metric
from harmbench.metrics.declarations import METRICS, VOLUME_DIFFERENCE
from harmbench.report.evidence import Evidence, declared_endpoint
from harmbench.report.tables.titles import short_title
from harmbench.report.verdict import JudgedMeasure, Role
from harmbench.results import BASELINE, CEILING, RESCAN
from harmbench.segmentation.base import TISSUES
from harmbench.statistics.claims import mean_losses
from harmbench.statistics.differences import Losses, with_worst
from harmbench.statistics.losses import make_losses
from harmbench.statistics.ranking import Ranking, rank_firmness
from harmbench.task import Direction

__all__ = ["MAIN_MEASURES", "RANKED", "Case", "open_case"]

Array = NDArray[np.float64]

MAIN_MEASURES = (
    ("mse", ""),
    ("ahd", ""),
    *((VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES),
    *(("dice", tissue) for tissue in TISSUES),
)
"""Metric and tissue of the paper's main results."""

RANKED: tuple[Role, ...] = ("method", "control", "volume correction", "original")
"""Roles of rows that are ranked."""

_ORDER: tuple[Role, ...] = (
    "method",
    "control",
    "volume correction",
    "original",
    "rescan floor",
    "ceiling",
)


@dataclass(frozen=True, eq=False)
class Case:
    """One direction, arranged for tests.

    Attributes:
        evidence: the merged runs.
        frame: rows of the direction, of the segmenter shown.
        metrics: declaration of each measure.
        measures: columns of the grid.
        names: methods, in the order of rows.
        roles: of each.
        losses: of all measures, subjects and methods.
        subjects: in the order of `losses`.
        means: mean losses, shape (measures, methods); NaN for rows that are not ranked.
        ranking: of the methods in `ranked` that were measured, on the primary endpoint.
    """

    evidence: Evidence
    frame: pd.DataFrame
    metrics: tuple[Metric, ...]
    measures: tuple[JudgedMeasure, ...]
    names: tuple[str, ...]
    roles: Mapping[str, Role]
    losses: Losses
    subjects: tuple[str, ...]
    means: Array
    ranking: Ranking | None

    @property
    def ranked(self) -> list[int]:
        """Indices of ranked methods."""
        return [n for n, name in enumerate(self.names) if self.roles[name] in RANKED]

    @property
    def on_endpoint(self) -> list[int]:
        """Those of them that were measured on the primary endpoint."""
        return [n for n in self.ranked if np.isfinite(self.means[0, n])]

    @property
    def primary(self) -> Losses:
        """Losses of the primary endpoint alone."""
        return Losses(self.losses.array[:1], self.losses.folds, self.losses.region[:1])

    def chance(self, name: str) -> float:
        """Probability of being best on the primary endpoint."""
        number = self.names.index(name)
        if self.ranking is None or number not in self.on_endpoint:
            return float("nan")
        return float(self.ranking.chance_best[self.on_endpoint.index(number)])

    def failed(self, name: str) -> tuple[str, ...]:
        """Subjects whose primary endpoint failed for a method, and that another method has."""
        known = np.isfinite(self.losses.array[0]).any(axis=1)
        rows = self.frame[self.frame["method"] == name]
        first = self.measures[0]
        rows = rows[(rows["metric"] == first.metric) & (rows["tissue"] == first.tissue)]
        lost = set(rows["subject"]) - set(rows.loc[rows["value"].notna(), "subject"])
        return tuple(s for s, any_ in zip(self.subjects, known, strict=True) if any_ and s in lost)


def open_case(evidence: Evidence, direction: Direction, roles: Mapping[str, Role]) -> Case:
    """Arrange the results of one direction."""
    declared = declared_endpoint(evidence)
    frame = evidence.results
    frame = frame[frame["direction"] == str(direction)]
    frame = frame[frame["segmenter"].isin(["", evidence.segmenter])]
    places = [declared.measure, *(place for place in MAIN_MEASURES if place != declared.measure)]
    places = [p for n, p in enumerate(places) if n == 0 or _measured(frame, p)]
    metrics = tuple(evidence.metrics.get(name, METRICS[name]) for name, _ in places)
    names = tuple(name for name in evidence.methods if name in set(frame["method"]))
    known = {**_known_roles(evidence), **roles}
    own = {name: known.get(name, "method") for name in names}
    ordered = tuple(sorted(names, key=lambda name: _ORDER.index(own[name])))
    tissues = [tissue for _, tissue in places]
    measured = [*zip(metrics, tissues, strict=True)]
    losses, subjects = make_losses(frame, measured, ordered, BASELINE, declared.equivalence)
    ranked = [n for n, name in enumerate(ordered) if own[name] in RANKED]
    means = mean_losses(losses, ranked)
    return Case(
        evidence=evidence,
        frame=frame,
        metrics=metrics,
        measures=tuple(
            _column(evidence, metric, tissue, declared.equivalence, primary=number == 0)
            for number, (metric, tissue) in enumerate(measured)
        ),
        names=ordered,
        roles=own,
        losses=losses,
        subjects=subjects,
        means=means,
        ranking=_ranking(losses, means),
    )


def _measured(frame: pd.DataFrame, place: tuple[str, str]) -> bool:
    rows = frame[(frame["metric"] == place[0]) & (frame["tissue"] == place[1])]
    return bool(rows["value"].notna().any())


def _known_roles(evidence: Evidence) -> dict[str, Role]:
    found: dict[str, Role] = {}
    for invocation in evidence.record.invocations:
        controls = invocation.config.get("controls")
        if isinstance(controls, list | tuple):
            found |= dict.fromkeys(map(str, controls), "control")
    return {**found, BASELINE: "original", RESCAN: "rescan floor", CEILING: "ceiling"}


def _column(
    evidence: Evidence, metric: Metric, tissue: str, equivalence: float, *, primary: bool
) -> JudgedMeasure:
    return JudgedMeasure(
        metric=metric.name,
        tissue=tissue,
        title=f"{short_title(evidence, metric.name)} {tissue}".strip(),
        unit=metric.unit,
        better=metric.better,
        primary=primary,
        region=f"within ±{100 * equivalence:.3g} % of the original's error",
    )


def _ranking(losses: Losses, means: Array) -> Ranking | None:
    """Rank what was measured on the primary endpoint, failed subjects counted as worst."""
    measured = np.flatnonzero(np.isfinite(means[0]))
    values = with_worst(losses).array[0][:, measured]
    known = np.isfinite(values).all(axis=1)
    if len(measured) < 2 or not known.any():
        return None
    return rank_firmness(values[known], losses.folds[known])
