"""Agreement of tissue volumes with the reference's: Bland-Altman plots."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harmbench.files.names import file_label
from harmbench.metrics.volumetry import RELATIVE_VOLUME_DIFFERENCE, VOLUME
from harmbench.pages.style import (
    Illustration,
    group_handles,
    group_markers,
    method_colours,
    new_figure,
    say,
)
from harmbench.report.evidence import Evidence
from harmbench.report.tables.titles import direction_title
from harmbench.results import CEILING, REAL_SCANS
from harmbench.segmentation.base import TISSUES
from harmbench.task import Direction

__all__ = ["agreement_plot", "bland_altman", "reference_volumes"]


def bland_altman(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Agreement of two measurements of the same subjects (Bland & Altman 1986).

    Args:
        one, other: shape (subjects,).

    Returns:
        Bias (mean of `one - other`), and the lower and upper limit of agreement, bias ± 1.96 SD
        (ddof 1). The limits are NaN with fewer than two subjects.
    """
    differences = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    bias = float(differences.mean()) if differences.size else math.nan
    spread = 1.96 * float(differences.std(ddof=1)) if differences.size > 1 else math.nan
    return bias, bias - spread, bias + spread


def reference_volumes(evidence: Evidence) -> pd.DataFrame:
    """Give the reference's volume per direction, tissue and subject, in mm³.

    It is the volume of the ceiling, or else follows from a method's volume v and its signed
    relative difference r in percent: v / (1 + r / 100).
    """
    rows = evidence.results[evidence.results["segmenter"] == evidence.segmenter]
    at = ["direction", "tissue", "subject"]
    volume = rows[(rows["metric"] == VOLUME.name) & rows["value"].notna()]
    ceiling = volume[volume["method"] == CEILING]
    if len(ceiling):
        known: pd.DataFrame = ceiling.groupby(at)["value"].mean().reset_index()
        return known
    relative = rows[(rows["metric"] == RELATIVE_VOLUME_DIFFERENCE.name) & (rows["value"] > -100)]
    keys = [*at, "visit", "method", "fold", "seed"]
    both = volume.merge(relative[[*keys, "value"]], on=keys, suffixes=("", "_relative"))
    both["value"] = both["value"] / (1 + both["value_relative"] / 100)
    derived: pd.DataFrame = both.groupby(at)["value"].mean().reset_index()
    return derived


def agreement_plot(evidence: Evidence, direction: Direction) -> Illustration | None:
    """Show Bland-Altman plots of tissue volumes, methods as rows and tissues as columns.

    `None` where volumes were not measured.
    """
    references = reference_volumes(evidence)
    references = references[references["direction"] == str(direction)]
    if references.empty or not evidence.has(VOLUME.name):
        return None
    methods = [m for m in evidence.methods if m not in REAL_SCANS]
    figure = new_figure(9.6, 1.75 * len(methods) + 0.9)
    axes = figure.subplots(len(methods), len(TISSUES), squeeze=False, sharex="col", sharey="col")
    colours = method_colours(methods)
    groups = [*evidence.groups]
    for column, tissue in enumerate(TISSUES):
        values = evidence.values(VOLUME.name, tissue)
        values = values[values["direction"] == str(direction)]
        truth = references[references["tissue"] == tissue]
        both = values.merge(truth[["subject", "value"]], on="subject", suffixes=("", "_reference"))
        both = both[both["value"].notna()]
        for line, method in enumerate(methods):
            panel = axes[line, column]
            mine = both[both["method"] == method]
            _agreement(panel, mine, colours[method], groups)
            panel.set_title(f"{tissue}: {_limits_text(mine)}", fontsize=8, loc="left", pad=3)
            if column == 0:
                panel.set_ylabel(textwrap.fill(evidence.methods[method], 20))
    figure.supylabel("Method minus reference (ml)", fontsize=9)
    figure.supxlabel("Mean of the method's and the reference's volume (ml)", fontsize=9)
    if len(groups) > 1:
        figure.legend(handles=group_handles(evidence.groups), loc="outside upper right", ncols=6)
    return Illustration(
        name=f"figure-volume-agreement-{file_label(str(direction))}",
        title=f"Volume agreement, {direction_title(direction)}",
        caption=(
            f"Bland-Altman plots of tissue volumes (segmented with {evidence.segmenter}), one point "
            "per subject: method minus reference against their mean. Solid line: bias; dashed: "
            "limits of agreement (bias ± 1.96 SD over subjects, divisor n - 1); dotted: no difference. A "
            "tissue's panels share their axes. With few subjects the limits are uncertain."
        ),
        alt="Bland-Altman plots of CSF, GM and WM volume for each method against the reference.",
        figure=figure,
        vector=True,
        section="agreement",
    )


def _agreement(panel: Axes, rows: pd.DataFrame, colour: str, groups: Sequence[str]) -> None:
    """Draw one Bland-Altman panel; volumes come in mm³ and are shown in ml."""
    if rows.empty:
        say(panel, "no value")
        return
    panel.axhline(0, color="#999999", lw=0.9, ls=":")
    for group, marker in group_markers(groups).items():
        part = rows[rows["group"] == group]
        mean = (part["value"] + part["value_reference"]) / 2e3
        difference = (part["value"] - part["value_reference"]) / 1e3
        panel.scatter(
            mean,
            difference,
            s=18,
            marker=marker,
            facecolor=colour,
            edgecolor="white",
            linewidth=0.4,
        )
    bias, low, high = bland_altman(
        rows["value"].to_numpy() / 1e3, rows["value_reference"].to_numpy() / 1e3
    )
    panel.axhline(bias, color=colour, lw=1.3)
    if math.isfinite(low):
        panel.axhline(low, color=colour, lw=1, ls="--")
        panel.axhline(high, color=colour, lw=1, ls="--")


def _limits_text(rows: pd.DataFrame) -> str:
    """Print the bias and the limits of agreement in ml."""
    if rows.empty:
        return "no value"
    bias, low, high = bland_altman(
        rows["value"].to_numpy() / 1e3, rows["value_reference"].to_numpy() / 1e3
    )
    largest = max(abs(part) for part in (bias, low, high) if math.isfinite(part))
    decimals = 1 if largest >= 10 else 2 if largest >= 0.1 else 4
    limits = f", limits {low:+.{decimals}f} to {high:+.{decimals}f}" if math.isfinite(low) else ""
    return f"bias {bias:+.{decimals}f}{limits} ml"
