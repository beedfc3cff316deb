"""Which figures a report holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from harmbench.files.names import file_label
from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.style import Illustration
from harmbench.report.evidence import Evidence
from harmbench.report.figures.agreement import agreement_plot
from harmbench.report.figures.curves import training_plot
from harmbench.report.figures.learning import learning_plot
from harmbench.report.figures.panels import segmentation_panels, slice_panels
from harmbench.report.figures.plots import histogram_plot, subject_plot
from harmbench.report.loading import median_subject
from harmbench.report.tables.titles import direction_title
from harmbench.segmentation.base import TISSUES
from harmbench.task import Direction

__all__ = [
    "Drawing",
    "all_figures",
    "example_subjects",
    "lead_of",
    "planned_figures",
    "why_not_drawn",
]

Drawing = Callable[[Evidence], Illustration | None]
"""Makes one figure; `None` where the results or stored volumes do not allow it. It can be pickled."""

_REASONS = {
    "figure-slices": ("Images", "the scans of the target cannot be read, or are no longer there"),
    "figure-histograms": ("Histograms", "the scans cannot be read, or are no longer there"),
    "figure-volume-agreement": ("Agreement of volumes", "tissue volumes were not measured"),
    "figure-segmentations": ("Segmentations", "no labels of the target's scans are stored"),
}
"""Figures that each direction has: the beginning of their names, title, and why one may be missing."""


def _by_tissue(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((metric, tissue) for tissue in TISSUES)


_SUBJECT_PLOTS = (
    ("image", "Image metrics per subject", tuple((name, "") for name in ("mse", "ahd", "ssim"))),
    (
        "volume-differences",
        "Volume differences per subject",
        _by_tissue(VOLUME_DIFFERENCE.name),
    ),
    ("dice", "Dice score per subject", _by_tissue("dice")),
    ("hd95", "HD95 per subject", _by_tissue("hd95")),
)
"""Name, title, and the metrics and tissues of its panels."""


def example_subjects(evidence: Evidence) -> list[tuple[str, str]]:
    """Choose one (group, subject) per group: the lead subject, or that of the median MSE."""
    found = []
    for group, subjects in evidence.groups.items():
        lead = evidence.lead if evidence.lead in subjects else None
        found.append((group, lead or median_subject(evidence.results, subjects) or subjects[0]))
    return found


def lead_of(evidence: Evidence, direction: Direction) -> str:
    """Choose the subject that panels of a direction show: the lead subject, if it was tested there."""
    rows = evidence.results[evidence.results["direction"] == str(direction)]
    tested = sorted(set(rows["subject"]))
    if evidence.lead in tested or not tested:
        return evidence.lead
    return median_subject(rows, tested) or tested[0]


def planned_figures(evidence: Evidence) -> list[Drawing]:
    """List the figures that a report may hold, in the order of the page."""
    examples = example_subjects(evidence)
    directions = evidence.shown_directions
    leads = [(way, lead_of(evidence, way)) for way in directions]
    return [
        *(partial(slice_panels, direction=way, subject=lead) for way, lead in leads),
        *(partial(histogram_plot, direction=way, subjects=examples) for way in directions),
        *(
            partial(subject_plot, name=f"figure-subjects-{name}", title=title, panels=panels)
            for name, title, panels in _SUBJECT_PLOTS
        ),
        *(partial(agreement_plot, direction=way) for way in directions),
        *(partial(segmentation_panels, direction=way, subject=lead) for way, lead in leads),
        *(partial(learning_plot, direction=way) for way in directions),
        training_plot,
    ]


def all_figures(evidence: Evidence) -> Iterator[Illustration]:
    """Make every figure that the results and stored volumes allow."""
    for draw in planned_figures(evidence):
        figure = draw(evidence)
        if figure is not None:
            yield figure


def why_not_drawn(evidence: Evidence, drawn: Collection[str]) -> list[str]:
    """Say for each figure that could not be made why that is.

    Args:
        evidence: the merged runs.
        drawn: names of the figures that were made.
    """
    found = []
    for begin, (title, reason) in _REASONS.items():
        lacking = [
            direction_title(way)
            for way in evidence.shown_directions
            if f"{begin}-{file_label(str(way))}" not in drawn
        ]
        if lacking:
            found.append(f"{title}, {', '.join(lacking)}: {reason}.")
    for name, title, panels in _SUBJECT_PLOTS:
        if f"figure-subjects-{name}" not in drawn:
            metrics = ", ".join(dict.fromkeys(metric for metric, _ in panels))
            found.append(f"{title}: not measured ({metrics}).")
    if "figure-training" not in drawn:
        found.append("Training curves: no method kept a loss curve.")
    return found
