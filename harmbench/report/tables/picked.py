"""The summary rows of one measure, which columns of tables show."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any

import pandas as pd

from harmbench.metrics.declarations import GRADIENT_CORRELATION
from harmbench.report.evidence import Evidence
from harmbench.results import BASELINE, CEILING
from harmbench.statistics import ALL
from harmbench.task import Direction

__all__ = ["Measure", "Picked", "joined", "pick"]


@dataclass(frozen=True, slots=True)
class Measure:
    """What one group of columns shows."""

    direction: Direction
    metric: str
    tissue: str = ""


@dataclass(frozen=True, eq=False)
class Picked:
    """The summary rows of one measure and group.

    Attributes:
        frame: one row per method, in the order of the summary.
    """

    frame: pd.DataFrame

    @cached_property
    def rows(self) -> dict[str, dict[Hashable, Any]]:
        """Method to its row."""
        return {str(row["method"]): row for row in self.frame.to_dict("records")}

    @cached_property
    def best(self) -> frozenset[str]:
        """Methods to be marked: the first of at least two, where they do not tie with most of them."""
        ranks = {name: row["rank"] for name, row in self.rows.items() if not isnan(row["rank"])}
        if len(ranks) < 2:
            return frozenset()
        if next(iter(self.rows.values()))["metric"] == GRADIENT_CORRELATION.name:
            return self._nearest_to_target([name for name in ranks if name != BASELINE])
        first = frozenset(name for name, rank in ranks.items() if rank == 1)
        return first if 2 * len(first) <= len(ranks) else frozenset()

    def _nearest_to_target(self, methods: Sequence[str]) -> frozenset[str]:
        """Name the method whose value is nearest to the ceiling's.

        The correlation is to the source, where the untreated source has 1; what a perfect method
        would have is the value of the target itself.
        """
        if CEILING not in self.rows or not methods:
            return frozenset()
        own = self.rows[CEILING]["fold_mean"]
        return frozenset({min(methods, key=lambda name: abs(self.rows[name]["fold_mean"] - own))})


def pick(evidence: Evidence, measure: Measure, group: str = ALL) -> Picked:
    """Return the rows of a measure for a group of subjects."""
    rows = evidence.rows(measure.metric, measure.tissue, group)
    return Picked(rows[rows["direction"] == str(measure.direction)])


def joined(picked: Sequence[Picked]) -> pd.DataFrame:
    """The rows of several measures, with the method as the first column."""
    whole = pd.concat([one.frame for one in picked], ignore_index=True)
    ordered: pd.DataFrame = whole[["method", *(name for name in whole if name != "method")]]
    return ordered
