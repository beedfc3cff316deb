"""Learning curves: errors against the number of training subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from harmbench.files.names import file_label
from harmbench.pages.style import Illustration, method_colours, new_figure
from harmbench.report.evidence import Evidence
from harmbench.report.quantities import quantity
from harmbench.report.tables.learning import SHOWN, curves_of
from harmbench.report.tables.titles import direction_title, short_title
from harmbench.results import BASELINE, RESCAN
from harmbench.study.training_sizes import RESCAN_FACTOR, SizeCurve
from harmbench.study.worth import CHOSEN
from harmbench.task import Direction

__all__ = ["learning_plot"]

_LINES: Mapping[str, tuple[str, str]] = {
    BASELINE: ("untreated source", "-"),
    CHOSEN: ("best volume correction", "--"),
    RESCAN: (f"{RESCAN_FACTOR:g} x a rescan", ":"),
}


def learning_plot(evidence: Evidence, direction: Direction) -> Illustration | None:
    """Show mean errors over the number of training subjects, one panel for each measure.

    `None` where no method learned from several numbers of subjects in this direction.
    """
    curves = [curve for curve in curves_of(evidence) if curve.direction == str(direction)]
    panels = {
        place: [curve for curve in curves if (curve.metric, curve.tissue) == place]
        for place in SHOWN
    }
    panels = {place: own for place, own in panels.items() if own}
    if not panels:
        return None
    methods = [name for name in evidence.methods if any(c.method == name for c in curves)]
    colours = method_colours(methods)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(3.3 * columns, 2.7 * lines + 0.8)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, ((metric, tissue), own) in zip(axes, panels.items(), strict=False):
        shown = quantity(evidence, metric)
        _panel(axis, own, colours, 10.0**shown.divide)
        named = f"{short_title(evidence, metric)} {tissue}".strip()
        axis.set(xlabel="Training subjects", ylabel=shown.unit_text or "Error", title=named)
    present = [n for n in _LINES if any(np.isfinite(c.limits[n]) for c in curves)]
    handles = [
        *(Line2D([], [], color=colours[m], marker="o", label=evidence.methods[m]) for m in methods),
        *(Line2D([], [], color="0.35", ls=_LINES[n][1], label=_LINES[n][0]) for n in present),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return Illustration(
        name=f"figure-training-subjects-{file_label(str(direction))}",
        title=f"Training subjects that are needed, {direction_title(direction)}",
        caption=(
            "Mean error over test subjects after training on nested subsets of the training subjects, with "
            "95 % intervals over test subjects. Thin curves: the fit a + b n^-c, where it is determined. "
            "Grey lines: what a method has to beat."
        ),
        alt="Errors over the number of training subjects, one panel per measure, one line per method.",
        figure=figure,
        vector=True,
        section="learning",
    )


def _panel(
    axis: Axes, curves: Sequence[SizeCurve], colours: Mapping[str, str], divide: float
) -> None:
    for place, curve in enumerate(curves):
        colour = colours[curve.method]
        # Side by side, so that intervals do not hide each other.
        at = curve.sizes * 1.03 ** (place - (len(curves) - 1) / 2)
        spread = np.abs(np.stack([curve.low, curve.high]) - curve.error) / divide
        axis.errorbar(at, curve.error / divide, spread, color=colour, fmt="o", ms=4, lw=1)
        if curve.curve.status in {"ok", "undetermined"}:
            fine = np.geomspace(curve.sizes.min(), curve.sizes.max(), 60)
            axis.plot(fine, curve.curve.error(fine) / divide, color=colour, lw=1)
    for name, (_, line) in _LINES.items():
        limits = [curve.limits[name] for curve in curves if np.isfinite(curve.limits[name])]
        if limits:
            axis.axhline(float(np.mean(limits)) / divide, color="0.35", ls=line, lw=1)
    sizes = sorted({float(size) for curve in curves for size in curve.sizes})
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axis.set_ylim(bottom=0)
