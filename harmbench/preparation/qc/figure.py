"""The figure of one subject: brain masks, alignment and intensities, before and after preparation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array
from harmbench.cohorts.base import CLIP_PERCENTILES
from harmbench.files.names import file_label
from harmbench.pages.style import Illustration, new_figure
from harmbench.pages.views import View, take_slice, views
from harmbench.preparation.align import PreparedScan
from harmbench.preparation.qc.histograms import draw_histograms
from harmbench.preparation.qc.layout import WIDTH, FigureLayout, ImageRow, draw_row, short
from harmbench.preparation.scan import CleanScan
from harmbench.volume import Volume

__all__ = ["READING", "SQUARE_MM", "checkerboard", "qc_figure"]


SQUARE_MM = 20.0
"""Side of the checkerboard's squares."""

READING = (
    "Brain masks: raw scans on their own grids, with the edge of the mask in orange; it should "
    "follow the outer border of the brain and leave out eyes, skull and neck. Checkerboards: squares "
    f"of {SQUARE_MM:g} mm of the reference session in grey and of the other session tinted, the brains "
    "alone, on the common grid; after registration edges should continue from square to square. "
    "Histograms: voxels of the brain, smoothed a little; before preparation, raw intensities scaled "
    f"to their own {CLIP_PERCENTILES[0]:g} and {CLIP_PERCENTILES[1]:g} percentiles. Neurological "
    "convention: the subject's left is on the left."
)
"""How to read the figure of a subject."""

_TINT = (1.0, 0.8, 0.5)
# Margin shown around the brain: in raw scans much of the head, to see what a mask misses or includes.
_HEAD_MM = 18.0
_BRAIN_MM = 8.0


def qc_figure(
    subject: str,
    scans: Mapping[str, CleanScan],
    prepared: Mapping[str, PreparedScan],
    reference: str,
) -> Illustration:
    """Draw the results of a subject's preparation; call it within `pages.style.style`.

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
    layout = FigureLayout.of(masks, boards)
    figure = new_figure(WIDTH, layout.height)
    figure.set_layout_engine("none")
    for block, rows in enumerate((masks, boards)):
        for line, row in enumerate(rows):
            draw_row(figure, layout, row, block, line)
    draw_histograms(figure, layout, sessions, scans, prepared)
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


def _mask_row(session: str, scan: CleanScan, is_reference: bool) -> ImageRow:
    raw = scan.raw
    planes = views(scan.brain, raw.spacing_mm, _HEAD_MM)
    # Exclude fat, which is brighter than the brain, and the noise of air from the grey scale.
    top = 1.15 * _percentile(raw.data[scan.brain], 99)
    window = (max(float(raw.data.min()), 0.12 * top), top)
    return ImageRow(
        header=f"Brain mask: session {short(session)}{' (reference)' if is_reference else ''}",
        planes=planes,
        cuts=[take_slice(raw.data, view) for view in planes],
        window=window if window[1] > window[0] else (window[0], window[0] + 1),
        outlines=[take_slice(scan.brain, view) for view in planes],
    )


def _percentile(values: Array, percentile: float) -> float:
    return float(np.percentile(values, percentile)) if values.size else 0.0


def _board_rows(
    prepared: Mapping[str, PreparedScan], reference: str, other: str
) -> Sequence[ImageRow]:
    """Return checkerboards of a session and the reference, before and after any registration."""
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
    names = f"session {short(reference)} (grey), {short(other)} (tinted)"
    return [
        ImageRow(
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
        one, other: slices of one shape (rows, columns), in [0, 1]; values outside are clipped.
        view: gives the size of the slices in mm.

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
