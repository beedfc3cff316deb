"""Histograms of the brain before and after preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from harmbench.arrays import Array
from harmbench.cohorts.base import CLIP_PERCENTILES
from harmbench.pages.style import OKABE_ITO
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.qc.layout import FigureLayout, short
from harmbench.preparation.scan import CleanScan

__all__ = ["BINS", "draw_histograms", "share_curve"]


BINS = 1000
"""Number of bins before smoothing."""

# Bins at either end that are ignored in the choice of the height.
_RIM = 50
_LINES = ("-", "--", "-.", ":")

# Inches above and below the axes.
_TITLE = 0.31
_TICKS = 0.47


def draw_histograms(
    figure: Figure,
    layout: FigureLayout,
    sessions: Sequence[str],
    scans: Mapping[str, CleanScan],
    prepared: Mapping[str, PreparedScan],
) -> None:
    """Draw histograms of the brain before and after preparation, one line per session."""
    scaled = all(prepared[session].limits is not None for session in sessions)
    before = [scans[session].raw.data[scans[session].brain] for session in sessions]
    after = [prepared[session].volume.data[prepared[session].brain] for session in sessions]
    own = [_limits(values) for values in before]
    ends = [_limits(values) for values in after]
    shared = (0.0, 1.0) if scaled else (min(low for low, _ in ends), max(high for _, high in ends))
    curves = (
        [share_curve(values, *ends) for values, ends in zip(before, own, strict=True)],
        [share_curve(values, *shared) for values in after],
    )
    left, top, width, height = layout.strip()
    each = width / 2 - 0.5
    titles = ("Brain before preparation", "Brain after preparation")
    labels = (
        "Raw intensity, own scale",
        "Intensity" if scaled else "Intensity, not scaled",
    )
    spans = ((0.0, 1.0), shared)
    panels = []
    for place, (lines, title, label) in enumerate(zip(curves, titles, labels, strict=True)):
        at = left + 0.48 + place * (each + 0.5)
        axes = layout.axes(figure, at, top + _TITLE, each, height - _TITLE - _TICKS)
        _histogram(axes, lines, spans[place])
        axes.set_title(title, fontsize=8, loc="left", pad=4)
        axes.set_xlabel(label, fontsize=8, labelpad=2)
        if place == 0:
            axes.set_ylabel("Voxels (%)", fontsize=8, labelpad=3)
        panels.append(axes)
    if len(sessions) > 1:
        panels[1].legend(
            panels[1].lines,
            [short(session) for session in sessions],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.05),
            fontsize=8,
            title="Session",
            title_fontsize=8,
            alignment="left",
        )


def _limits(values: Array) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = (float(part) for part in np.percentile(values, CLIP_PERCENTILES))
    return low, high if high > low else low + 1.0


def share_curve(values: Array, low: float, high: float) -> tuple[Array, Array]:
    """Count values along a range that is mapped to [0, 1].

    Scanners store whole numbers, which leave gaps in a plain histogram. Fine bins are smoothed by a
    Gaussian with an SD of a hundredth of the range.

    Args:
        values: intensities, any shape; those outside the range are not shown.
        low, high: the intensities that become 0 and 1.

    Returns:
        Centres of the bins, shape (1000,), and in each the percentage of all values per hundredth
        of the range.
    """
    counts, edges = np.histogram((values - low) / (high - low), BINS, (0, 1))
    share = 100 * counts * (BINS / 100) / max(values.size, 1)
    return (edges[1:] + edges[:-1]) / 2, gaussian_filter1d(share, BINS / 100, mode="reflect")


def _histogram(
    axes: Axes, curves: Sequence[tuple[Array, Array]], span: tuple[float, float]
) -> None:
    """Draw one line per session: the share of its voxels in each hundredth of the range."""
    low, high = span
    tops = [0.1]
    for place, (centres, share) in enumerate(curves):
        # Clipped voxels fill the outermost bins, which would determine the height.
        tops.append(float(share[_RIM:-_RIM].max()))
        axes.plot(
            low + centres * (high - low),
            share,
            color=OKABE_ITO[place % len(OKABE_ITO)],
            linestyle=_LINES[place % len(_LINES)],
            linewidth=1.3,
        )
    axes.set_xlim(low, high)
    axes.set_ylim(0, 1.1 * max(tops))
    axes.tick_params(labelsize=8, length=2)
    axes.locator_params(axis="y", nbins=4)
