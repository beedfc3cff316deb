"""Style of figures: colours, fonts, sizes, and writing to files.

Figures are made with matplotlib's object-oriented interface. `pyplot` and its global state are not used,
and style settings apply only inside `style()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from harmbench.results import BASELINE, REAL_SCANS
from harmbench.storage import atomic

__all__ = [
    "DPI",
    "GROUP_MARKERS",
    "OKABE_ITO",
    "REFERENCE_COLOUR",
    "SOURCE_COLOUR",
    "Illustration",
    "group_handles",
    "group_markers",
    "method_colours",
    "new_figure",
    "say",
    "style",
    "write_figure",
]

DPI = 160
"""Resolution of PNG files."""

_STAMP_INCHES = 0.25

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#A0A000")
"""Categorical colours that people with a colour vision deficiency can tell apart.

The set of Okabe & Ito (2008) without black, which marks the reference; its yellow, too pale for
lines on white, is replaced by an olive, and a violet is added for an eighth method.
"""

REFERENCE_COLOUR = "#000000"
SOURCE_COLOUR = "#8A8A8A"
GROUP_MARKERS = ("o", "^", "s", "D", "v", "P")

_SETTINGS: Mapping[str, object] = MappingProxyType(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9.0,
        "axes.titlesize": 10.0,
        "axes.labelsize": 9.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 9.0,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "svg.hashsalt": "harmbench",
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        # Names of subjects and groups are shown as they are: a dollar sign begins no formula.
        "text.parse_math": False,
    }
)


@dataclass(frozen=True, eq=False)
class Illustration:
    """A figure with its texts for the page.

    Attributes:
        name: file name without suffix, such as `figure-slices-3T-to-1.5T`.
        title: short heading.
        caption: what is shown, of whom, in which units, and how to read it.
        alt: description for readers who cannot see it.
        figure: the drawing.
        vector: whether an SVG is worth having (line art, no images).
        section: where the page puts it.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    vector: bool
    section: str


@contextmanager
def style() -> Iterator[None]:
    """Apply the style settings while figures are made and written."""
    with mpl.rc_context(dict(_SETTINGS)):  # type: ignore[arg-type]  # the stubs list keys
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, drawn by Agg, with constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Give each method a colour: grey for the untreated source, black for real scans of the target."""
    fixed = {BASELINE: SOURCE_COLOUR, **dict.fromkeys(REAL_SCANS, REFERENCE_COLOUR)}
    others = [name for name in methods if name not in fixed]
    colours = {name: OKABE_ITO[place % len(OKABE_ITO)] for place, name in enumerate(others)}
    return {name: fixed.get(name) or colours[name] for name in methods}


def write_figure(illustration: Illustration, folder: Path, stamp: str = "") -> list[Path]:
    """Write a figure as PNG, PDF and, for line art, SVG; each atomically, without dates.

    Args:
        illustration: what to write.
        folder: where to.
        stamp: small text below the figure, which readers need even without the caption.
    """
    figure = illustration.figure
    figure.set_dpi(DPI)
    _lay_out(figure)
    area = _stamped(figure, stamp) if stamp else None
    paths = [folder / f"{illustration.name}.png"]
    with atomic(paths[0]) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, bbox_inches=area)
    paths.append(folder / f"{illustration.name}.pdf")
    with atomic(paths[1]) as temporary:
        nothing = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(temporary, format="pdf", dpi=DPI, bbox_inches=area, metadata=nothing)
    if illustration.vector:
        paths.append(folder / f"{illustration.name}.svg")
        with atomic(paths[2]) as temporary:
            figure.savefig(temporary, format="svg", bbox_inches=area, metadata={"Date": None})
    return paths


def _lay_out(figure: Figure) -> None:
    """Compute the layout once, and take the engine away: with one, each file costs another drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def _stamped(figure: Figure, text: str) -> Bbox:
    """Put small print below a figure, and return the area in inches that holds both."""
    width, height = figure.get_size_inches()
    strip = _STAMP_INCHES / height
    figure.patch.set_bounds(0, -strip, 1, 1 + strip)
    figure.text(
        *(0.008, -strip / 2, text), ha="left", va="center_baseline", fontsize=8, color="#555555"
    )
    return Bbox.from_bounds(0, -_STAMP_INCHES, width, height + _STAMP_INCHES)


def say(panel: Axes, text: str) -> None:
    """Write a remark, such as `no volume`, into a panel."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    panel.text(*(0.5, 0.86, text), transform=panel.transAxes, ha="center", va="center", bbox=box)


def group_markers(groups: Iterable[str]) -> dict[str, str]:
    """Give each group of subjects a marker."""
    return {g: GROUP_MARKERS[place % len(GROUP_MARKERS)] for place, g in enumerate(groups)}


def group_handles(groups: Mapping[str, Sequence[str]]) -> list[Line2D]:
    """Make legend entries: each group's marker, name and number of subjects."""
    return [
        Line2D(
            [],
            [],
            marker=marker,
            label=f"{group} (n = {len(groups[group])})",
            color="#555555",
            lw=0,
        )
        for group, marker in group_markers(groups).items()
    ]
