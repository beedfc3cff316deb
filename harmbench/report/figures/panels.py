"""Figures that show images: slices with their difference to the reference, and segmentations.

One row per volume, the reference first; see `harmbench.pages.views` for planes and orientation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harmbench.arrays import Array
from harmbench.files.names import file_label
from harmbench.pages.style import Illustration, new_figure
from harmbench.pages.views import View, blank_panel, show_slice, views, write_letters
from harmbench.report.evidence import Evidence
from harmbench.report.figures.artefacts import find_artefacts, mark_artefacts
from harmbench.report.tables.titles import direction_title
from harmbench.segmentation.base import TISSUES
from harmbench.task import Direction
from harmbench.volume import Volume

__all__ = ["TISSUE_COLOURS", "segmentation_panels", "slice_panels"]


TISSUE_COLOURS: Mapping[str, str] = MappingProxyType(
    {"CSF": "#56B4E9", "GM": "#F0E442", "WM": "#D55E00"}
)
"""As in the paper's Figs. 11-12, with CSF in blue for its green: red beside green is not legible to
readers with a red-green colour vision deficiency."""

_DISAGREEMENT = "#CC00CC"
_BLANK = "#EEEEEE"
_ZERO = to_hex(colormaps["RdBu_r"](0.5))

_ROW_INCHES = 1.95


@dataclass(frozen=True, slots=True, eq=False)
class _PanelRow:
    """One row of a panel figure."""

    label: str
    volume: Volume | None
    missing: str = "no volume"


def _rows(evidence: Evidence, direction: Direction, subject: str, labels: bool) -> list[_PanelRow]:
    """Reference, untreated source, then each method; the ceiling is the reference itself."""
    pair = evidence.pair(direction, subject)

    def scan(session: str) -> Volume | None:
        return evidence.scan_labels(subject, session) if labels else evidence.scan(subject, session)

    rows = [
        _PanelRow(f"Reference\n{direction.target}", scan(pair.target)),
        _PanelRow(f"Original\n{direction.source}", scan(pair.source)),
    ]
    for method in evidence.candidates:
        title = evidence.methods[method]
        if labels:
            volume = evidence.labels(method, direction, subject)
        else:
            volume = evidence.harmonized(method, direction, subject)
        failed = evidence.failed(method, direction, subject)
        rows.append(
            _PanelRow(textwrap.fill(title, 16), volume, "failed" if failed else "no volume")
        )
    first = rows[0].volume
    return [
        row
        if row.volume is None or first is None or row.volume.same_grid(first)
        else replace(row, volume=None, missing="other grid")
        for row in rows
    ]


def _grid(
    rows: Sequence[_PanelRow], planes: Sequence[View], blocks: tuple[str, str], ground: str
) -> tuple[Figure, Array]:
    """Make a figure with one row per volume and two blocks of planes, and label it.

    The first row is the reference, whose second block stays empty but for its headers; `ground` is
    the colour behind the images of the second block.
    """
    height_mm = max(view.size_mm[1] for view in planes)
    widths = [view.size_mm[0] / height_mm for view in planes]
    figure = new_figure(1.3 + _ROW_INCHES * 2 * sum(widths), _ROW_INCHES * len(rows) + 0.9)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.015, wspace=0.0, hspace=0.0)
    count = len(planes)
    axes: Array = figure.subplots(
        len(rows), 2 * count + 1, squeeze=False, width_ratios=[*widths, 0.03, *widths]
    )
    for spacer in axes[:, count]:
        spacer.set_axis_off()
    axes = np.delete(axes, count, axis=1)
    for place, row in enumerate(rows):
        shown = row.volume is not None
        for column, view in enumerate([*planes, *planes]):
            colour = "black" if column < count else ground
            blank_panel(axes[place, column], view, height_mm, colour if shown else _BLANK)
            if place == 0 and column >= count:
                axes[place, column].set_facecolor("none")
        if not shown:
            middle = axes[place, count // 2]
            middle.text(0.5, 0.5, row.missing, transform=middle.transAxes, ha="center", va="center")
        axes[place, 0].set_ylabel(
            row.label, rotation=0, ha="right", va="center", labelpad=6, fontsize=9.5
        )
    for block, name in enumerate(blocks):
        for column, view in enumerate(planes):
            panel = axes[0, block * count + column]
            text = f"{name}\n{view.plane}"
            if block == 0:
                panel.set_title(text, fontsize=9)
            else:
                # There is no difference to itself: the headers stand in the empty panels.
                panel.text(
                    *(0.5, 0.03, text),
                    transform=panel.transAxes,
                    ha="center",
                    va="bottom",
                    fontsize=9,
                )
    return figure, axes


def slice_panels(evidence: Evidence, direction: Direction, subject: str) -> Illustration | None:
    """Show the reference, the source and each method's output, and their difference to it.

    `None` where the reference cannot be read.
    """
    rows = _rows(evidence, direction, subject, labels=False)
    reference = rows[0].volume
    if reference is None:
        return None
    planes = views(reference.data > 0, reference.spacing_mm)
    limit = _difference_limit(reference, [row.volume for row in rows[1:]])
    figure, axes = _grid(rows, planes, ("Image", "Difference"), _ZERO)
    grey = shades = None
    for place, row in enumerate(rows):
        images, differences = axes[place, :3], axes[place, 3:]
        if row.volume is None:
            continue
        found = None
        if place > 1:
            found = find_artefacts(row.volume, reference, evidence.record.stacking_axis or 0)
        for column, view in enumerate(planes):
            settings = {"cmap": "gray", "vmin": 0, "vmax": 1}
            grey = show_slice(images[column], row.volume.data, view, **settings)
            if found:
                mark_artefacts(images[column], found, view, reference.spacing_mm)
            if place == 0:
                write_letters(images[column], view)
                continue
            change = row.volume.data - reference.data
            settings = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
            shades = show_slice(differences[column], change, view, **settings)
    _colour_bar(figure, grey, axes[:, :3], "Intensity (0 to 1)")
    if shades is not None:
        label = "Difference to the reference (intensity)"
        _colour_bar(figure, shades, axes[:, 3:], label, extend="both")
    where = ", ".join(f"{view.plane} slice {view.index}" for view in planes)
    return Illustration(
        name=f"figure-slices-{file_label(str(direction))}",
        title=f"Images, {direction_title(direction)}",
        caption=(
            f"Subject {evidence.pair(direction, subject).name} ({_why(evidence, subject)}). "
            "Left: intensities, all on one scale. "
            "Right: output minus reference, red brighter and blue darker than the reference, all on "
            f"one scale of ±{limit:.2g}. Neurological convention: the subject's left is on the left "
            f"(voxel indices in RAS: {where}). Slices were stacked along the "
            f"{_axis_name(evidence)} axis, so stripes between slices show in the other planes. Red "
            "circles: regions of a method's output that are brighter than the 99th percentile of the "
            "reference's brain, where such voxels are too many or lie together; blue arrows: slices that "
            "are offset against their neighbours. Only what "
            "stands out is marked."
        ),
        alt=(
            f"Slices of subject {subject} in three planes for the reference, the original and each "
            "method, with maps of the signed difference to the reference."
        ),
        figure=figure,
        vector=False,
        section="images",
    )


def _why(evidence: Evidence, subject: str) -> str:
    if subject == evidence.lead:
        return evidence.lead_reason
    return f"subject {evidence.lead} was not tested in this direction"


def _axis_name(evidence: Evidence) -> str:
    axis = evidence.record.stacking_axis or 0
    return (
        "left-right (sagittal slices)",
        "back-front (coronal slices)",
        "foot-head (axial slices)",
    )[axis]


def _difference_limit(reference: Volume, others: Sequence[Volume | None]) -> float:
    """Limit of the colour scale: the largest 99th percentile of absolute brain differences."""
    brain = reference.data > 0
    limits = [
        float(np.percentile(np.abs(other.data[brain] - reference.data[brain]), 99))
        for other in others
        if other is not None and brain.any()
    ]
    return min(max([0.02, *limits]), 0.5)


def _colour_bar(figure: Any, image: Any, axes: Array, label: str, **settings: Any) -> None:
    bar = figure.colorbar(
        image,
        ax=axes.ravel().tolist(),
        location="bottom",
        shrink=0.6,
        aspect=40,
        pad=0.01,
        **settings,
    )
    bar.set_label(label)
    bar.outline.set_visible(False)


def segmentation_panels(
    evidence: Evidence, direction: Direction, subject: str
) -> Illustration | None:
    """Show tissue labels over the images, and where they differ from the reference's labels.

    `None` where the reference has no stored labels.
    """
    rows = _rows(evidence, direction, subject, labels=True)
    images = _rows(evidence, direction, subject, labels=False)
    reference, under = rows[0].volume, images[0].volume
    if reference is None or under is None or not reference.same_grid(under):
        return None
    planes = views(reference.data > 0, reference.spacing_mm)
    figure, axes = _grid(rows, planes, ("Tissue labels", "Disagreement"), "black")
    tissues = ListedColormap([TISSUE_COLOURS[name] for name in TISSUES])
    wrong = ListedColormap([_DISAGREEMENT])
    for place, (row, image) in enumerate(zip(rows, images, strict=True)):
        if row.volume is None:
            continue
        labels = np.where(row.volume.data > 0, row.volume.data, np.nan)
        differs = np.where(row.volume.data != reference.data, 1.0, np.nan)
        own = image.volume if image.volume is not None else under
        for column, view in enumerate(planes):
            settings = {"cmap": tissues, "vmin": 1, "vmax": len(TISSUES)}
            show_slice(axes[place, column], labels, view, **settings)
            if place == 0:
                write_letters(axes[place, column], view)
                continue
            show_slice(axes[place, 3 + column], own.data, view, cmap="gray", vmin=0, vmax=1)
            show_slice(axes[place, 3 + column], differs, view, cmap=wrong, alpha=0.85)
    handles = [Patch(color=colour, label=name) for name, colour in TISSUE_COLOURS.items()]
    handles.append(Patch(color=_DISAGREEMENT, label="class differs from the reference's"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return Illustration(
        name=f"figure-segmentations-{file_label(str(direction))}",
        title=f"Segmentations, {direction_title(direction)}",
        caption=(
            f"Subject {evidence.pair(direction, subject).name}, segmented with "
            f"{evidence.segmenter}. Left: tissue labels. "
            "Right: voxels whose class differs from the reference's, over the image that was "
            "segmented. Black inside the brain: voxels at 0, which a segmenter takes for background. "
            "Same convention as the images above."
        ),
        alt=(
            f"Tissue labels of subject {subject} in three planes for the reference, the original "
            "and each method, and the voxels that differ from the reference's labels."
        ),
        figure=figure,
        vector=False,
        section="segmentations",
    )
