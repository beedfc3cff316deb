"""The picture of one subject: brain masks, alignment and intensities, before and after preparation.

Axes are placed by hand, in inches: every image has the same scale in mm, so that the size of a
panel follows from what it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from harmbench.cohorts.base import CLIP_PERCENTILES
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.scan import CleanScan
from harmbench.report.style import OKABE_ITO, Illustration, new_figure
from harmbench.report.views import (
    View,
    blank_panel,
    show_cut,
    take_slice,
    views,
    write_letters,
)
from harmbench.runs import file_label
from harmbench.volume import Volume

__all__ = ["BINS", "READING", "SQUARE_MM", "checkerboard", "qc_figure", "share_curve"]

Array = NDArray[Any]

BINS = 1000
"""Bins of the histograms, before they are smoothed."""
SQUARE_MM = 20.0
"""Side of the checkerboard's squares."""

READING = (
    "Brain masks: raw scans on their own grids, with the edge of the mask in orange; it should "
    "follow the outer border of the brain and leave out eyes, skull and neck. Checkerboards: squares "
    f"of {SQUARE_MM:g} mm of the reference session in grey and of the other session tinted, the brains "
    "alone, on the common grid; after registration edges should run on from square to square. "
    "Histograms: voxels of the brain, smoothed a little; before preparation, raw intensities scaled "
    f"to their own {CLIP_PERCENTILES[0]:g} and {CLIP_PERCENTILES[1]:g} percentiles. Neurological "
    "convention: the subject's left is on the left."
)
"""How the picture of any subject is read."""

_OUTLINE = "#E69F00"
_TINT = (1.0, 0.8, 0.5)
# Steps of grey: as many as the eye tells apart in noise, and far smaller files than with 255.
_LEVELS = 32
_RIM = 50
_LINES = ("-", "--", "-.", ":")
# What is shown around the brain: much of a head, to see what a mask has left out or taken along.
_HEAD_MM = 18.0
_BRAIN_MM = 8.0
_NAME_LENGTH = 11

# Inches.
_WIDTH = 9.3
_EDGE = 0.08
_GUTTER = 0.2
_GAP = 0.03
_HEADER = 0.23
_ROW_GAP = 0.06
_HISTOGRAM = 1.75
_LEGEND = 1.35


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Three planes with a line of text above them.

    Attributes:
        header: what they show.
        planes: the views.
        cuts: one image per view, (rows, columns) or (rows, columns, 3).
        window: intensities shown black and white.
        outlines: per view, a mask whose edge is drawn.
    """

    header: str
    planes: Sequence[View]
    cuts: Sequence[Array]
    window: tuple[float, float] = (0.0, 1.0)
    outlines: Sequence[Array] = ()


def qc_figure(
    subject: str,
    scans: Mapping[str, CleanScan],
    prepared: Mapping[str, PreparedScan],
    reference: str,
) -> Illustration:
    """Show whether the preparation of a subject went well; call it within `report.style.style`.

    Left, each session's raw scan with the edge of its brain mask. Right, for each session other
    than the reference, a checkerboard of both before and after registration. Below, histograms of
    the brain before and after preparation.

    Args:
        subject: label of the subject.
        scans: session to cleaned scan, on its own grid.
        prepared: session to prepared scan, on the common grid.
        reference: the session that the others were brought to.
    """
    sessions = [reference, *(session for session in scans if session != reference)]
    masks = [_mask_row(session, scans[session], session == reference) for session in sessions]
    boards = [row for other in sessions[1:] for row in _board_rows(prepared, reference, other)]
    layout = _Layout.of(masks, boards)
    figure = new_figure(_WIDTH, layout.height)
    figure.set_layout_engine("none")
    for block, rows in enumerate((masks, boards)):
        for line, row in enumerate(rows):
            _draw(figure, layout, row, block, line)
    _histograms(figure, layout, sessions, scans, prepared)
    return Illustration(
        name=f"qc-{file_label(subject)}",
        title=f"Subject {subject}",
        caption=f"Reference session {reference}. {READING}",
        alt=(
            f"Quality control of subject {subject}: brain mask edges, "
            f"{'checkerboards before and after registration, ' if boards else ''}and histograms "
            "before and after preparation."
        ),
        figure=figure,
        vector=False,
        section="subjects",
    )


def _short(name: str) -> str:
    """Shorten a session's name in the middle: dates and numbers differ at the end, sites in front."""
    part = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:part]}…{name[-part:]}"


def _mask_row(session: str, scan: CleanScan, is_reference: bool) -> _Row:
    raw = scan.raw
    planes = views(scan.brain, raw.spacing_mm, _HEAD_MM)
    # Fat is brighter than the brain, and air is noise: neither needs a share of the grey scale.
    top = 1.15 * _percentile(raw.data[scan.brain], 99)
    window = (max(float(raw.data.min()), 0.12 * top), top)
    return _Row(
        header=f"Brain mask: session {_short(session)}{' (reference)' if is_reference else ''}",
        planes=planes,
        cuts=[take_slice(raw.data, view) for view in planes],
        window=window if window[1] > window[0] else (window[0], window[0] + 1),
        outlines=[take_slice(scan.brain, view) for view in planes],
    )


def _percentile(values: Array, percentile: float) -> float:
    return float(np.percentile(values, percentile)) if values.size else 0.0


def _board_rows(prepared: Mapping[str, PreparedScan], reference: str, other: str) -> Sequence[_Row]:
    """Checkerboards of a session and the reference before and after registration, if there was any."""
    fixed, moved = prepared[reference], prepared[other]
    planes = views(fixed.brain, fixed.volume.spacing_mm, _BRAIN_MM)
    tops = [_percentile(scan.volume.data[scan.brain], 99) or 1.0 for scan in (fixed, moved)]
    alignment = moved.alignment
    untouched = alignment is None or (
        alignment.warp is None and np.array_equal(alignment.linear, np.eye(4))
    )
    shown: dict[str, Volume] = {"Not registered": moved.volume}
    if not untouched:
        shown = {"Before registration": moved.before, "After registration": moved.volume}
    names = f"session {_short(reference)} (grey), {_short(other)} (tinted)"
    return [
        _Row(
            header=f"{when}: {names}",
            planes=planes,
            cuts=[
                checkerboard(
                    take_slice(fixed.volume.data, view) / tops[0],
                    take_slice(volume.data, view) / tops[1],
                    view,
                )
                for view in planes
            ],
        )
        for when, volume in shown.items()
    ]


def checkerboard(one: Array, other: Array, view: View) -> NDArray[np.float32]:
    """Mix two slices in squares of 20 mm, the first in grey and the second tinted.

    Args:
        one, other: slices of one shape (rows, columns), in [0, 1]; what lies outside is clipped.
        view: says how large the slices are in mm.

    Returns:
        Shape (rows, columns, 3), colours in [0, 1]; the first slice fills the lower left square.
    """
    rows, columns = one.shape
    right, up = (
        np.floor((np.arange(count) + 0.5) * size / count / SQUARE_MM).astype(int)
        for count, size in zip((columns, rows), view.size_mm, strict=True)
    )
    second = ((up[:, None] + right[None, :]) % 2 == 1)[..., None]
    grey, tinted = (np.clip(cut, 0, 1)[..., None] for cut in (one, other))
    return np.where(second, tinted * np.array(_TINT), grey).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Where things stand: two blocks of images, three planes wide, and histograms.

    Attributes:
        scale: inches per mm.
        widths_mm: per block, the width of each plane's panels.
        height_mm: of every panel.
        lines: rows of images.
        beside: whether histograms stand in the second block, which has no images.
        height: of the figure, in inches.
    """

    scale: float
    widths_mm: tuple[tuple[float, ...], tuple[float, ...]]
    height_mm: float
    lines: int
    beside: bool
    height: float

    @classmethod
    def of(cls, masks: Sequence[_Row], boards: Sequence[_Row]) -> _Layout:
        """Find the largest scale at which both blocks fit into the width."""
        widths = tuple(
            tuple(max(row.planes[place].size_mm[0] for row in rows) for place in range(3))
            for rows in (masks, boards or masks)
        )
        tallest = max(view.size_mm[1] for row in (*masks, *boards) for view in row.planes)
        room = _WIDTH - 2 * _EDGE - _GUTTER - 4 * _GAP
        scale = room / sum(sum(block) for block in widths)
        lines = max(len(masks), len(boards))
        height = _EDGE + lines * (_HEADER + tallest * scale + _ROW_GAP)
        height += _HISTOGRAM if boards else 0
        return cls(scale, (widths[0], widths[1]), tallest, lines, not boards, height)

    def block(self, number: int) -> tuple[float, float]:
        """Left edge and width of a block, in inches."""
        first, second = (sum(block) * self.scale + 2 * _GAP for block in self.widths_mm)
        return (_EDGE, first) if number == 0 else (_EDGE + first + _GUTTER, second)

    def top(self, line: int) -> float:
        """Distance of a row of images from the figure's upper edge, in inches."""
        return _EDGE + line * (_HEADER + self.height_mm * self.scale + _ROW_GAP)

    def axes(self, figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at a place in inches, measured from the figure's upper left corner."""
        whole = (_WIDTH, self.height)
        low = self.height - top - height
        return figure.add_axes(
            (left / whole[0], low / whole[1], width / whole[0], height / whole[1])
        )


def _draw(figure: Figure, layout: _Layout, row: _Row, block: int, line: int) -> None:
    left, _ = layout.block(block)
    top = layout.top(line)
    figure.text(
        left / _WIDTH,
        1 - (top + 0.6 * _HEADER) / layout.height,
        row.header,
        va="center",
        fontsize=8,
    )
    for place, view in enumerate(row.planes):
        width_mm = layout.widths_mm[block][place]
        size = (width_mm * layout.scale, layout.height_mm * layout.scale)
        axes = layout.axes(figure, left, top + _HEADER, *size)
        blank_panel(axes, view, layout.height_mm, "black", width_mm)
        low, high = row.window
        levels = np.round(np.clip((row.cuts[place] - low) / (high - low), 0, 1) * _LEVELS) / _LEVELS
        show_cut(axes, levels, view, cmap="gray", vmin=0, vmax=1)
        if row.outlines:
            _outline(axes, row.outlines[place], view)
        if line == 0:
            write_letters(axes, view)
        left += size[0] + _GAP


def _outline(axes: Axes, mask: Array, view: View) -> None:
    """Draw the edge of a mask, also where it reaches the border of the image."""
    rows, columns = mask.shape
    x, y = (
        (np.arange(count + 2) - 0.5) * size / count
        for count, size in zip((columns, rows), view.size_mm, strict=True)
    )
    padded = np.pad(mask.astype(np.float32), 1)
    if padded.any():
        axes.contour(x, y, padded, levels=[0.5], colors=[_OUTLINE], linewidths=0.9)


def _histograms(
    figure: Figure,
    layout: _Layout,
    sessions: Sequence[str],
    scans: Mapping[str, CleanScan],
    prepared: Mapping[str, PreparedScan],
) -> None:
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
    left, width = layout.block(1) if layout.beside else (_EDGE, _WIDTH - 2 * _EDGE - _LEGEND)
    top = layout.top(0 if layout.beside else layout.lines)
    each = width / 2 - 0.5
    height = layout.height_mm * layout.scale - 0.45 if layout.beside else _HISTOGRAM - 0.8
    titles = ("Brain before preparation", "Brain after preparation")
    labels = (
        "Raw intensity, own scale",
        "Intensity" if scaled else "Intensity, not scaled",
    )
    spans = ((0.0, 1.0), shared)
    panels = []
    for place, (lines, title, label) in enumerate(zip(curves, titles, labels, strict=True)):
        at = left + 0.48 + place * (each + 0.5)
        axes = layout.axes(figure, at, top + _HEADER + 0.08, each, height)
        _histogram(axes, lines, spans[place])
        axes.set_title(title, fontsize=8, loc="left", pad=4)
        axes.set_xlabel(label, fontsize=8, labelpad=2)
        if place == 0:
            axes.set_ylabel("Voxels (%)", fontsize=8, labelpad=3)
        panels.append(axes)
    if len(sessions) > 1:
        panels[1].legend(
            panels[1].lines,
            [_short(session) for session in sessions],
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

    Scanners store whole numbers, which make a comb of a plain histogram: fine bins are smoothed by
    a Gaussian with an SD of a hundredth of the range.

    Args:
        values: intensities; those outside the range are not shown.
        low, high: what becomes 0 and 1.

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
        # Clipped voxels pile up in the outermost bins, and could set the height alone.
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
