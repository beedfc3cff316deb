"""Numbers that show a failed preparation, and the flags that they raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from harmbench.arrays import Array
from harmbench.metrics.image import nmi
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.qc.page import QcColumn, QcFlag
from harmbench.preparation.scan import CleanScan
from harmbench.preparation.strip import brain_volume_ml
from harmbench.volume import Volume

__all__ = ["NUMBERS", "SessionNumbers", "flag", "measure"]

NUMBERS: tuple[QcColumn, ...] = (
    QcColumn("mask_ml", "Brain mask", "ml", 0, "Volume of the brain mask on the raw scan."),
    QcColumn(
        "mask_change",
        "Mask against reference",
        "%",
        1,
        "Volume of the mask against that of the reference session: skull stripping should find the "
        "same brain twice.",
    ),
    QcColumn(
        "bias_range",
        "Bias field",
        "",
        2,
        "99th over 1st percentile of the estimated bias field in the brain; 1: none.",
    ),
    QcColumn(
        "overlap",
        "Mask overlap",
        "",
        3,
        "Dice of the session's brain mask and the reference's, after registration.",
    ),
    QcColumn(
        "correlation_before",
        "Correlation before",
        "",
        3,
        "Pearson correlation with the reference session in the common brain, headers alone.",
    ),
    QcColumn(
        "correlation_linear",
        "Correlation, linear",
        "",
        3,
        "The same after the linear part of the registration, which cannot turn one person's brain "
        "into another's.",
    ),
    QcColumn(
        "correlation_after", "Correlation after", "", 3, "The same after the whole registration."
    ),
    QcColumn(
        "nmi_before",
        "Mutual information before",
        "",
        3,
        "Normalized mutual information with the reference (1: none, 2: full), headers alone.",
    ),
    QcColumn("nmi_after", "Mutual information after", "", 3, "The same after registration."),
    QcColumn(
        "jacobian_min",
        "Jacobian, smallest",
        "",
        2,
        "Smallest factor by which registration changes the volume of a piece of brain; a field "
        "that folds has one of 0 or below.",
    ),
    QcColumn("jacobian_max", "Jacobian, largest", "", 2, "Largest such factor."),
)
"""The numbers measured for each session: the fields of `SessionNumbers`."""

# Measured on repeat scans with 3 mm slices and on simulated ones at 1 mm: the same person at .90 or
# more, two people at .45 to .52.
_OTHER_PERSON = 0.75
_NMI_NOISE = 0.002
_LEAST_OVERLAP = 0.92
_MASK_CHANGE_PERCENT = 8.0
_LEAST_JACOBIAN, _MOST_JACOBIAN = 0.1, 8.0

# Outliers are compared with the cohort from this many values on, by the modified z-score with the
# usual limit (Iglewicz & Hoaglin 1993), and only if they are off by this share of the median.
_FEWEST, _LIMIT, _SHARE = 6, 3.5, 0.05
_JUDGED = ("mask_ml", "bias_range", "overlap", "correlation_linear", "nmi_after")


class SessionNumbers(BaseModel):
    """What quality control measures in one session; `NUMBERS` says what each number means.

    Attributes:
        session: the session's name.
        mask_ml: ml.
        bias_range: at least 1.
        mask_change: %; this and the numbers below are `None` for the reference session, which is not
            registered.
        overlap: in [0, 1].
        correlation_before, correlation_linear, correlation_after: in [-1, 1].
        nmi_before, nmi_after: in [1, 2].
        jacobian_min, jacobian_max: factors of volume.
    """

    model_config = ConfigDict(frozen=True)

    session: str
    mask_ml: float | None = None
    bias_range: float | None = None
    mask_change: float | None = None
    overlap: float | None = None
    correlation_before: float | None = None
    correlation_linear: float | None = None
    correlation_after: float | None = None
    nmi_before: float | None = None
    nmi_after: float | None = None
    jacobian_min: float | None = None
    jacobian_max: float | None = None

    @property
    def measured(self) -> dict[str, float]:
        """The numbers that there are, by the names of `NUMBERS`."""
        return self.model_dump(exclude={"session"}, exclude_none=True)


def measure(
    scans: Mapping[str, CleanScan], prepared: Mapping[str, PreparedScan], reference: str
) -> list[SessionNumbers]:
    """Measure a subject's sessions; numbers are rounded to 6 decimals."""
    fixed = prepared[reference]
    fixed_ml = brain_volume_ml(scans[reference].brain, scans[reference].raw)
    rows = []
    for session, found in prepared.items():
        scan = scans[session]
        low, high = np.percentile(scan.bias[scan.brain], (1, 99))
        volume_ml = brain_volume_ml(scan.brain, scan.raw)
        row = {"mask_ml": volume_ml, "bias_range": float(high / low)}
        if found.alignment is not None:
            both = np.count_nonzero(found.brain & fixed.brain)
            row |= {
                "mask_change": 100 * (volume_ml / fixed_ml - 1),
                "overlap": 2
                * both
                / (np.count_nonzero(found.brain) + np.count_nonzero(fixed.brain)),
                "correlation_before": _correlation(found.before, fixed.volume),
                "correlation_linear": _correlation(found.linear, fixed.volume),
                "correlation_after": _correlation(found.volume, fixed.volume),
                "nmi_before": _information(found.before, fixed.volume),
                "nmi_after": _information(found.volume, fixed.volume),
                "jacobian_min": found.alignment.jacobian[0],
                "jacobian_max": found.alignment.jacobian[1],
            }
        rounded = {name: round(float(value), 6) for name, value in row.items()}
        rows.append(SessionNumbers.model_validate({"session": session, **rounded}))
    return rows


def _correlation(one: Volume, other: Volume) -> float:
    both = (one.data > 0) & (other.data > 0)
    a, b = one.data[both].astype(np.float64), other.data[both].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _information(one: Volume, other: Volume) -> float:
    both = (one.data > 0) & (other.data > 0)
    if not both.any():
        return 1.0
    return nmi(_unit(one.data), _unit(other.data), both)


def _unit(data: Array) -> Array:
    """Scale an array to [0, 1] where scaling was switched off."""
    low, high = float(data.min()), float(data.max())
    return data if low >= 0 and high <= 1 else (data - low) / max(high - low, 1e-12)


def flag(rows: Sequence[SessionNumbers]) -> list[list[QcFlag]]:
    """Flag implausible numbers and outliers in the sessions of all subjects.

    Returns:
        One list for each session, empty without flags.
    """
    found = [_absolute(row) for row in rows]
    measured = [row.measured for row in rows]
    titles = {column.name: column.title for column in NUMBERS}
    for name in _JUDGED:
        values = [(place, own[name]) for place, own in enumerate(measured) if name in own]
        if len(values) < _FEWEST:
            continue
        numbers = np.array([value for _, value in values])
        median = float(np.median(numbers))
        spread = float(np.median(np.abs(numbers - median)))
        for place, value in values:
            far = abs(value - median)
            if 0.6745 * far > _LIMIT * spread and far > _SHARE * abs(median):
                text = f"{titles[name]} of {value:.4g} is far from the cohort's median of {median:.4g}."
                found[place].append(QcFlag(name, text))
    return found


def _absolute(row: SessionNumbers) -> list[QcFlag]:
    """Flag a session by limits that hold for any two scans of one adult's head."""
    own = row.measured
    found = []
    correlation, overlap = own.get("correlation_linear", 1.0), own.get("overlap", 1.0)
    low, high = own.get("jacobian_min", 1.0), own.get("jacobian_max", 1.0)
    if correlation < _OTHER_PERSON:
        text = (
            f"Correlation of {correlation:.2f} after linear registration, expected {_OTHER_PERSON} "
            "or more: the sessions may be of two people, or registration failed."
        )
        found.append(QcFlag("correlation_linear", text))
    if own.get("nmi_after", 2.0) < own.get("nmi_before", 1.0) - _NMI_NOISE:
        text = "Registration lowered the mutual information: it made the alignment worse."
        found.append(QcFlag("nmi_after", text))
    if overlap < _LEAST_OVERLAP:
        text = (
            f"The brain masks overlap by {overlap:.2f} (Dice), expected {_LEAST_OVERLAP} or more: "
            "skull stripping or registration failed."
        )
        found.append(QcFlag("overlap", text))
    change = own.get("mask_change", 0.0)
    if abs(change) > _MASK_CHANGE_PERCENT:
        text = (
            f"The volume of the brain mask differs by {change:+.0f} % from the reference session's."
        )
        found.append(QcFlag("mask_change", text))
    if low < _LEAST_JACOBIAN or high > _MOST_JACOBIAN:
        text = (
            f"Registration changes volumes by factors from {low:.2g} to {high:.2g}: implausible for "
            "one person's brain."
        )
        found.append(QcFlag("jacobian_min" if low < _LEAST_JACOBIAN else "jacobian_max", text))
    return found
