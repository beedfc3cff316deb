"""Figures of training: how the loss of each method fell."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harmbench.pages.style import OKABE_ITO, Illustration, new_figure
from harmbench.report.evidence import Evidence, StoredCell
from harmbench.report.tables.titles import direction_title

__all__ = ["POINTS", "loss_curves", "training_plot"]

POINTS = 60
"""Most points of a curve; each is the mean over as many rows of the loss curve."""

_PER_ROW = 3
_FEW = 8  # points; a line through one of them would not be seen
_LOG_FROM = 20.0  # ratio of the largest to the smallest loss


def loss_curves(evidence: Evidence, method: str) -> pd.DataFrame:
    """Read the loss curves of a method's trainings.

    Returns:
        One row per point of a curve: direction, curve (one per cell and network), step, loss, and
        `name`, what the method calls its loss. Empty for a method that kept none.
    """
    found = [
        _thinned(curve.iloc[:, :2].set_axis(["step", "loss"], axis=1)).assign(
            direction=str(direction), curve=f"{number} {place}", name=str(curve.columns[1])
        )
        for direction in evidence.shown_directions
        for number, cell in enumerate(evidence.counted_cells(method, direction))
        for place, curve in _read(cell)
    ]
    columns = ["direction", "curve", "step", "loss", "name"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _read(cell: StoredCell) -> Iterator[tuple[str, pd.DataFrame]]:
    """Give the loss curves of one cell that can be read: its only one, or one per network."""
    root = cell.folder.training
    for path in sorted(root.rglob("loss.csv")):
        curve = _table(path)
        if curve is not None:
            yield path.parent.relative_to(root).as_posix(), curve


def _table(path: Path) -> pd.DataFrame | None:
    """Read a loss curve; `None` where it has no row, or was cut or changed by hand."""
    try:
        curve = pd.read_csv(path).dropna().astype(float)
    except (OSError, ValueError):
        return None
    good = len(curve) > 0 and len(curve.columns) > 1 and curve.iloc[:, 0].min() > 0
    return curve if good and np.isfinite(curve.to_numpy()).all() else None


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Average a curve over equal spans of steps; each point stands at the end of its span."""
    span = curve["step"].max() / POINTS
    end = (curve["step"] / span).apply(math.ceil) * span
    thinned: pd.DataFrame = curve.assign(step=end).groupby("step")["loss"].mean().reset_index()
    return thinned


def training_plot(evidence: Evidence) -> Illustration | None:
    """Show the loss over the steps of training, one panel per method, one line per direction.

    `None` where no method kept a loss curve.
    """
    # Here, as it imports pyplot, which nothing else of a report needs.
    import seaborn

    curves = {method: loss_curves(evidence, method) for method in evidence.candidates}
    curves = {method: curve for method, curve in curves.items() if len(curve)}
    if not curves:
        return None
    lines = math.ceil(len(curves) / _PER_ROW)
    columns = math.ceil(len(curves) / lines)
    figure = new_figure(3.3 * columns + 0.4, 2.5 * lines + 0.6)
    axes = figure.subplots(lines, columns, squeeze=False)
    ways = [str(direction) for direction in evidence.shown_directions]
    palette = {way: OKABE_ITO[place % len(OKABE_ITO)] for place, way in enumerate(ways)}
    for panel in axes.ravel()[len(curves) :]:
        panel.set_axis_off()
    for panel, (method, curve) in zip(axes.ravel(), curves.items(), strict=False):
        seaborn.lineplot(
            curve,
            x="step",
            y="loss",
            hue="direction",
            hue_order=ways,
            palette=palette,
            errorbar=("pi", 100),
            marker="o" if curve["step"].nunique() < _FEW else "",
            legend=False,
            ax=panel,
        )
        panel.set_title(textwrap.fill(evidence.methods[method], 28), fontsize=9.5)
        name = str(curve["name"].iloc[0])
        panel.set(xlabel="Step", ylabel="Loss" if name == "loss" else f"Loss ({name})")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if 0 < curve["loss"].min() < curve["loss"].max() / _LOG_FROM:
            panel.set_yscale("log")
    handles = [
        Line2D([], [], color=palette[str(way)], label=direction_title(way))
        for way in evidence.shown_directions
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return Illustration(
        name="figure-training",
        title="Training curves",
        caption=(
            "Training loss: mean over folds and seeds, and the range over them as a band; each point "
            f"is a mean over 1/{POINTS} of the steps. Methods minimise different losses, so panels "
            "are not to be compared with each other. A curve that still falls at its end belongs to "
            "a training that was too short."
        ),
        alt="Training loss over steps, one panel per method and one line per direction.",
        figure=figure,
        vector=True,
        section="training",
    )
