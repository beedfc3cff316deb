"""Figures that show numbers: intensity histograms, and values per subject."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from harmbench.files.names import file_label
from harmbench.metrics.base import Metric
from harmbench.metrics.histogram import BINS, histogram
from harmbench.pages.render import ARROWS
from harmbench.pages.style import (
    REFERENCE_COLOUR,
    SOURCE_COLOUR,
    Illustration,
    group_handles,
    group_markers,
    method_colours,
    new_figure,
)
from harmbench.report.evidence import Evidence
from harmbench.report.quantities import quantity
from harmbench.report.tables.titles import direction_title, short_title
from harmbench.results import REAL_SCANS, RESCAN
from harmbench.task import Direction

__all__ = ["histogram_plot", "subject_plot"]

_PER_ROW = 4

Counts = dict[str, NDArray[np.int64]]


def histogram_plot(
    evidence: Evidence, direction: Direction, subjects: Sequence[tuple[str, str]]
) -> Illustration | None:
    """Show brain intensities of source, reference and each method, one panel per method.

    Args:
        evidence: the merged runs.
        direction: which direction.
        subjects: (group, subject) pairs; each gets its own rows of panels.

    Returns:
        `None` where no scans can be read.
    """
    drawn = []
    for group, subject in subjects:
        counts = _histograms(evidence, direction, subject)
        if counts is not None:
            drawn.append((f"{subject} ({group})", counts))
    if not drawn:
        return None
    figure = _histogram_grid(evidence, drawn)
    handles: list[Any] = [
        Patch(color=SOURCE_COLOUR, alpha=0.4, lw=0, label=f"Original ({direction.source})"),
        Line2D([], [], color=REFERENCE_COLOUR, lw=1.4, label=f"Reference ({direction.target})"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    who = " and ".join(label for label, _ in drawn)
    return Illustration(
        name=f"figure-histograms-{file_label(str(direction))}",
        title=f"Histograms, {direction_title(direction)}",
        caption=(
            f"Intensities of the brain (voxels where the reference is above 0) of {who}, in {BINS} "
            "bins from 0 to 1: original, reference, and in colour the method that a panel names. "
            "The height is set by the original and the reference without their outermost bins; "
            "what rises above it is cut. For each group the subject with the median MSE of the "
            "original is shown, the lead subject for its own group."
        ),
        alt=f"Histograms of {who}: each method against the original and the reference.",
        figure=figure,
        vector=True,
        section="histograms",
    )


def _histogram_grid(evidence: Evidence, drawn: Sequence[tuple[str, Counts]]) -> Figure:
    """Draw one block of rows per subject, and in it one panel per method."""
    # Without any method a single panel shows the original and the reference.
    methods = [*evidence.candidates] or [""]
    lines = math.ceil(len(methods) / _PER_ROW)
    # Rows as full as can be: five panels stand three and two, not four and one.
    columns = math.ceil(len(methods) / lines)
    figure = new_figure(3.1 * columns + 0.6, 2.3 * lines * len(drawn) + 0.8)
    axes = figure.subplots(lines * len(drawn), columns, squeeze=False, sharex=True, sharey="row")
    colours = method_colours([*evidence.methods])
    for block, (subject, counts) in enumerate(drawn):
        panels = axes[block * lines : (block + 1) * lines].ravel()
        for panel in panels[len(methods) :]:
            panel.set_axis_off()
        for place, (panel, method) in enumerate(zip(panels, methods, strict=False)):
            _histogram(panel, counts, method, colours.get(method, ""))
            title = evidence.methods.get(method, "")
            title += " (no volume)" if method and method not in counts else ""
            panel.set_title(textwrap.fill(title, 28), fontsize=9.5)
            if block == len(drawn) - 1 and place + columns >= len(methods):
                panel.tick_params(labelbottom=True)
            if place % columns == 0:
                panel.set_ylabel(f"{subject}\nvoxels (1000)")
    figure.supxlabel("Intensity (0 to 1)", fontsize=9)
    return figure


def _histogram(panel: Axes, counts: Counts, method: str, colour: str) -> None:
    """Draw the source as an area, the reference and one method as lines."""
    centres = (np.arange(BINS) + 0.5) / BINS
    panel.fill_between(centres, counts["source"] / 1e3, color=SOURCE_COLOUR, alpha=0.4, lw=0)
    panel.plot(centres, counts["reference"] / 1e3, color=REFERENCE_COLOUR, lw=1.2)
    if method in counts:
        panel.plot(centres, counts[method] / 1e3, color=colour, lw=1.4)
    top = max(counts[key][2:-2].max() for key in ("source", "reference"))
    panel.set_ylim(0, 1.15 * max(top, 1) / 1e3)
    panel.set_xlim(0, 1)
    panel.set_xticks([0.2, 0.4, 0.6, 0.8])


def _histograms(evidence: Evidence, direction: Direction, subject: str) -> Counts | None:
    """Count brain voxels per bin: source, reference, and each method with a volume."""
    pair = evidence.pair(direction, subject)
    source, reference = (evidence.scan(subject, own) for own in (pair.source, pair.target))
    if source is None or reference is None or source.shape != reference.shape:
        return None
    brain = reference.data > 0
    volumes = {"source": source, "reference": reference}
    for method in evidence.candidates:
        volume = evidence.harmonized(method, direction, subject)
        if volume is not None and volume.shape == reference.shape:
            volumes[method] = volume
    return {name: histogram(volume.data, brain) for name, volume in volumes.items()}


def subject_plot(
    evidence: Evidence, name: str, title: str, panels: Sequence[tuple[str, str]]
) -> Illustration | None:
    """Show one value per subject and method, with a box per method.

    Args:
        evidence: the merged runs.
        name: file name without suffix.
        title: heading.
        panels: (metric, tissue) pairs, one row of panels each.

    Returns:
        `None` where none of the metrics was measured.
    """
    shown = [(metric, tissue) for metric, tissue in panels if evidence.has(metric)]
    if not shown:
        return None
    measured = evidence.methods_for(metric for metric, _ in shown)
    methods = [method for method in measured if method not in REAL_SCANS]
    directions = evidence.shown_directions
    height = 0.36 * len(methods) + 0.75
    figure = new_figure(1.6 + 3.9 * len(directions), height * len(shown) + 0.7)
    axes = figure.subplots(len(shown), len(directions), squeeze=False, sharex="row", sharey=True)
    colours = method_colours(methods)
    names = [textwrap.fill(evidence.methods[method], 22) for method in methods]
    for line, (metric, tissue) in enumerate(shown):
        values = evidence.values(metric, tissue)
        values["value"] /= 10.0 ** quantity(evidence, metric).divide
        label = _value_label(evidence, metric, tissue)
        for column, direction in enumerate(directions):
            panel = axes[line, column]
            rows = values[values["direction"] == str(direction)]
            _strip(panel, rows, methods, colours, [*evidence.groups])
            _floor(panel, rows)
            panel.set_xlabel(label)
            panel.set_yticks(range(len(methods)), names)
            panel.set_ylim(len(methods) - 0.45, -0.55)
            panel.grid(visible=False, axis="y")
            panel.xaxis.set_major_locator(MaxNLocator(5))
            if line == 0:
                panel.set_title(direction_title(direction))
    rescanned = any((evidence.values(*own)["method"] == RESCAN).any() for own in shown)
    _legend(figure, evidence, rescanned=rescanned)
    floor = "Dashed line: the median of rescans on the target scanner. " if rescanned else ""
    return Illustration(
        name=name,
        title=title,
        caption=(
            "One point per subject (mean over visits and seeds), its shape by group. Box: quartiles "
            "and median; "
            f"whiskers: furthest point within 1.5 times the box. {floor}Arrows in the axis labels: better "
            "direction. Failed measurements have no point; their number stands in the tables."
        ),
        alt=f"{title}: one point per subject and a box per method, one column per direction.",
        figure=figure,
        vector=True,
        section="subjects",
    )


def _value_label(evidence: Evidence, metric: str, tissue: str) -> str:
    declared: Metric = evidence.metrics[metric]
    unit = quantity(evidence, metric).unit_text
    parts = (
        short_title(evidence, metric),
        tissue,
        f"({unit})" if unit else "",
        ARROWS[declared.better],
    )
    return " ".join(part for part in parts if part)


def _legend(figure: Figure, evidence: Evidence, *, rescanned: bool) -> None:
    """Name the groups where there are several, and the line of rescans."""
    handles: list[Any] = group_handles(evidence.groups) if len(evidence.groups) > 1 else []
    if rescanned:
        handles.append(Line2D([], [], color=REFERENCE_COLOUR, lw=1.2, ls="--", label="Rescan"))
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=6)


def _floor(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw a line where rescans lie, if there are any."""
    known = rows.loc[rows["method"] == RESCAN, "value"].dropna()
    if len(known):
        panel.axvline(float(known.median()), color=REFERENCE_COLOUR, lw=1.2, ls="--", zorder=2)


def _strip(
    panel: Axes,
    rows: pd.DataFrame,
    methods: Sequence[str],
    colours: dict[str, str],
    groups: Sequence[str],
) -> None:
    """Draw a box per method, and a point per subject."""
    known = rows[rows["value"].notna()].sort_values("subject")
    mine = {method: known[known["method"] == method] for method in methods}
    for place, method in enumerate(methods):
        if mine[method].empty:
            across = panel.get_yaxis_transform()
            panel.text(0.02, place, "no value", transform=across, va="center", fontsize=8)
            continue
        panel.boxplot(
            mine[method]["value"].to_numpy(),
            positions=[place],
            orientation="horizontal",
            widths=0.6,
            showfliers=False,
            manage_ticks=False,
            medianprops={"color": "black", "lw": 1.4},
            boxprops={"color": colours[method]},
            whiskerprops={"color": colours[method]},
            capprops={"color": colours[method]},
        )
    # Spread by place and not by chance, so that a rerun draws the same figure.
    offsets = [0.19 * np.sin(2.4 * np.arange(len(part))) for part in mine.values()]
    heights = [place + own for place, own in enumerate(offsets)]
    points = pd.concat(mine.values()).assign(height=np.concatenate(heights))
    for group, marker in group_markers(groups).items():
        part = points[points["group"] == group]
        panel.scatter(
            part["value"],
            part["height"],
            s=13,
            marker=marker,
            facecolor=[colours[method] for method in part["method"]],
            edgecolor="white",
            linewidth=0.4,
            alpha=0.85,
            zorder=3,
        )
