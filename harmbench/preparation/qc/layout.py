"""Layout of a subject's figure: two blocks of images, three planes wide, and histograms.

Axes are placed in inches. All images have the same scale in mm, so that a panel's size follows from its
content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harmbench.arrays import Array
from harmbench.pages.views import View, blank_panel, show_cut, write_letters

__all__ = ["WIDTH", "FigureLayout", "ImageRow", "draw_row", "short"]


WIDTH = 9.3
"""Width of a figure in inches."""

_EDGE = 0.08
_GUTTER = 0.2
_GAP = 0.03
_HEADER = 0.23
_ROW_GAP = 0.06
_HISTOGRAM = 1.75
_LEGEND = 1.35

_OUTLINE = "#E69F00"
# Grey levels: more are not visible in noise, and 255 give far larger files.
_LEVELS = 32
_NAME_LENGTH = 11


@dataclass(frozen=True, slots=True, eq=False)
class ImageRow:
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


@dataclass(frozen=True, slots=True, eq=False)
class FigureLayout:
    """Positions of two blocks of images, three planes wide, and of the histograms.

    Attributes:
        scale: inches per mm.
        widths_mm: per block, the width of each plane's panels.
        height_mm: of every panel.
        lines: rows of images.
        beside: whether histograms are in the second block, which then has no images.
        height: of the figure, in inches.
    """

    scale: float
    widths_mm: tuple[tuple[float, ...], tuple[float, ...]]
    height_mm: float
    lines: int
    beside: bool
    height: float

    @classmethod
    def of(cls, masks: Sequence[ImageRow], boards: Sequence[ImageRow]) -> FigureLayout:
        """Find the largest scale at which both blocks fit into the width."""
        widths = tuple(
            tuple(max(row.planes[place].size_mm[0] for row in rows) for place in range(3))
            for rows in (masks, boards or masks)
        )
        tallest = max(view.size_mm[1] for row in (*masks, *boards) for view in row.planes)
        room = WIDTH - 2 * _EDGE - _GUTTER - 4 * _GAP
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
        whole = (WIDTH, self.height)
        low = self.height - top - height
        return figure.add_axes(
            (left / whole[0], low / whole[1], width / whole[0], height / whole[1])
        )

    def strip(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the room for histograms, in inches."""
        if self.beside:
            left, width = self.block(1)
            return left, self.top(0), width, self.height_mm * self.scale + _HEADER
        return _EDGE, self.top(self.lines), WIDTH - 2 * _EDGE - _LEGEND, _HISTOGRAM


def short(name: str) -> str:
    """Shorten a session's name in the middle: names often differ at the start or the end."""
    part = _NAME_LENGTH // 2
    return name if len(name) <= _NAME_LENGTH else f"{name[:part]}…{name[-part:]}"


def draw_row(figure: Figure, layout: FigureLayout, row: ImageRow, block: int, line: int) -> None:
    """Draw a row of images in a block (0 left, 1 right), with its header above."""
    left, _ = layout.block(block)
    top = layout.top(line)
    figure.text(
        left / WIDTH,
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
