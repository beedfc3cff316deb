"""Names of metrics and directions in headers, and the first sentences of captions."""

from __future__ import annotations

from collections.abc import Sequence

from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.report.evidence import Evidence
from harmbench.task import Direction

__all__ = ["SIMULATED", "against", "direction_title", "short_title"]

SIMULATED = "Simulated scans, not acquired."
"""Part of the caption of every table of results, and of every figure, of a simulated cohort."""

_SHORT = {
    VOLUME_DIFFERENCE.name: "Volume difference",
    "mse": "MSE",
    "ahd": "AHD",
    "dice": "Dice",
    "hd": "HD",
    "hd95": "HD95",
    "assd": "ASSD",
}


def short_title(evidence: Evidence, metric: str) -> str:
    """Name a metric for a header: the usual abbreviation, or else its declared title."""
    if metric in _SHORT or metric not in evidence.metrics:
        return _SHORT.get(metric, metric)
    return evidence.metrics[metric].title


def direction_title(direction: Direction) -> str:
    """Print a direction: `3T to 1.5T`."""
    return f"{direction.source} to {direction.target}"


def against(evidence: Evidence, metrics: Sequence[str]) -> str:
    """Say what was compared with what; a caption must be clear without its page too."""
    shown = [name for name in metrics if evidence.has(name)]
    text = f"{SIMULATED} " if evidence.simulated else ""
    text += "Each method's output against the same subject's target scan."
    if any(evidence.metrics[name].scope == "tissue" for name in shown):
        text += f" Tissues segmented with {evidence.segmenter}."
    if "gradient_correlation" in shown:
        text += (
            " The gradient correlation compares with the source instead: the original has 1 by "
            "construction, a perfect method what the target has; bold is the nearest to that."
        )
    if any(evidence.metrics[name].better == "zero" for name in shown):
        text += " A signed measure (→0) shows bias: errors of opposite sign cancel in its mean."
    return text
