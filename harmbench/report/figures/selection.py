"""Which figures a report holds."""

from __future__ import annotations

from collections.abc import Iterator

from harmbench.metrics.volumetry import VOLUME_DIFFERENCE
from harmbench.pages.style import Illustration
from harmbench.report.evidence import Evidence
from harmbench.report.figures.agreement import agreement_plot
from harmbench.report.figures.curves import training_plot
from harmbench.report.figures.panels import segmentation_panels, slice_panels
from harmbench.report.figures.plots import histogram_plot, subject_plot
from harmbench.report.loading import median_subject
from harmbench.segmentation.base import TISSUES
from harmbench.task import Direction

__all__ = ["all_figures", "example_subjects", "lead_of"]


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


def all_figures(evidence: Evidence) -> Iterator[Illustration]:
    """Make every figure that the results and stored volumes allow."""
    examples = example_subjects(evidence)
    directions = evidence.shown_directions
    candidates = [
        *(slice_panels(evidence, d, lead_of(evidence, d)) for d in directions),
    ]
    yield from (figure for figure in candidates if figure is not None)
    for direction in directions:
        histograms = histogram_plot(evidence, direction, examples)
        if histograms is not None:
            yield histograms
    yield from _subject_plots(evidence)
    for direction in directions:
        agreement = agreement_plot(evidence, direction)
        if agreement is not None:
            yield agreement
    for direction in directions:
        overlays = segmentation_panels(evidence, direction, lead_of(evidence, direction))
        if overlays is not None:
            yield overlays
    training = training_plot(evidence)
    if training is not None:
        yield training


def _subject_plots(evidence: Evidence) -> Iterator[Illustration]:
    def tissues(metric: str) -> list[tuple[str, str]]:
        return [(metric, tissue) for tissue in TISSUES]

    plots = (
        ("image", "Image metrics per subject", [(name, "") for name in ("mse", "ahd", "ssim")]),
        ("volume-differences", "Volume differences per subject", tissues(VOLUME_DIFFERENCE.name)),
        ("dice", "Dice score per subject", tissues("dice")),
        ("hd95", "HD95 per subject", tissues("hd95")),
    )
    for name, title, panels in plots:
        plot = subject_plot(evidence, f"figure-subjects-{name}", title, panels)
        if plot is not None:
            yield plot
