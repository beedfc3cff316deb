"""How the numbers of a metric are shown: one unit and one rounding on the whole page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from harmbench.pages.render import head_text
from harmbench.pages.table import Column, Head, decimals_for, exponent_for
from harmbench.report.evidence import Evidence
from harmbench.results import REAL_SCANS

__all__ = ["Quantity", "quantity", "shown_unit"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """How values of one metric are printed.

    Attributes:
        unit: shown behind the title; empty for none.
        exponent: power of ten that is shown in the header.
        divide: power of ten that values are divided by: that of the header and of the unit.
        decimals: digits behind the point.
    """

    unit: str
    exponent: int
    divide: int
    decimals: int

    @property
    def unit_text(self) -> str:
        """The unit with its power of ten: `ml`, or `×10⁻³`."""
        return head_text(Head("", self.unit, self.exponent)).strip("() ")

    @property
    def unit_exponent(self) -> int:
        """Power of ten of the unit alone: 3 for mm³ in ml."""
        return self.divide - self.exponent

    def column(self, *heads: Head) -> Column:
        """Make a column of a table."""
        return Column(heads, self.divide, self.decimals)

    def format(self, value: float) -> str:
        """Print one value, without its unit."""
        return Column((), self.divide, self.decimals).format(value)


def shown_unit(unit: str) -> tuple[str, int]:
    """Return the unit that values are shown in, and the power of ten that they are divided by.

    Volumes, which are measured in mm³, are shown in millilitres.
    """
    return ("ml", 3) if unit in {"mm3", "mm^3"} else ("" if unit == "1" else unit, 0)


@lru_cache(maxsize=256)
def quantity(evidence: Evidence, metric: str) -> Quantity:
    """Choose unit and rounding by the means of all methods in all directions; real scans do not count."""
    rows = evidence.summary[evidence.summary["metric"] == metric]
    made = rows[~rows["method"].isin(REAL_SCANS)]
    own = made["fold_mean"].tolist() or rows["fold_mean"].tolist()
    unit, divide = shown_unit(evidence.metrics[metric].unit)
    exponent = 0 if divide else exponent_for(own)
    return Quantity(unit, exponent, divide + exponent, decimals_for(own, divide + exponent))
