"""Agreement of tissue volumes with the reference's: Bland-Altman plots."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from harmbench.files.names import file_label
from harmbench.metrics.volumetry import VOLUME, VOLUME_DIFFERENCE
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
from harmbench.report.volumes import reference_volumes
from harmbench.results import REAL_SCANS
from harmbench.segmentation.base import TISSUES
from harmbench.study.agreement import bland_altman
from harmbench.task import Direction

__all__ = ["agreement_plot"]


def agreement_plot(evidence: Evidence, direction: Direction) -> Illustration | None:
    """Show Bland-Altman plots of tissue volumes, methods as rows and tissues as columns.

    `None` where volumes were not measured.
    """
    references = reference_volumes(evidence)
    references = references[references["direction"] == str(direction)]
    if references.empty or not evidence.has(VOLUME.name):
        return None
    methods = _shown_methods(evidence, direction)
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
            "tissue's panels share their axes. With few subjects the limits are uncertain. Of several "
            "volume corrections the one with the smallest mean error is shown; the tables have all."
        ),
        alt="Bland-Altman plots of CSF, GM and WM volume for each method against the reference.",
        figure=figure,
        vector=True,
        section="agreement",
    )


def _shown_methods(evidence: Evidence, direction: Direction) -> list[str]:
    """Choose the methods that make images, and of the volume corrections the best."""
    errors = {
        name: _mean_error(evidence, direction, name)
        for name in evidence.corrections
        if evidence.has(VOLUME_DIFFERENCE.name)
    }
    left_out = {*REAL_SCANS, *evidence.corrections} - {
        min(errors, key=errors.__getitem__, default="")
    }
    return [name for name in evidence.methods if name not in left_out]


def _mean_error(evidence: Evidence, direction: Direction, method: str) -> float:
    """Mean absolute volume difference over tissues and subjects; infinite without a value."""
    parts = [evidence.rows(VOLUME_DIFFERENCE.name, tissue) for tissue in TISSUES]
    rows = pd.concat(parts, ignore_index=True)
    mine = rows[(rows["method"] == method) & (rows["direction"] == str(direction))]
    error = float(mine["mean"].mean())
    return error if math.isfinite(error) else math.inf


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
    bias, low, high = _bias_and_limits(rows)
    panel.axhline(bias, color=colour, lw=1.3)
    if math.isfinite(low):
        panel.axhline(low, color=colour, lw=1, ls="--")
        panel.axhline(high, color=colour, lw=1, ls="--")


def _bias_and_limits(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Bias and limits of agreement, method minus reference, in ml."""
    method, reference = (rows[name].to_numpy() / 1e3 for name in ("value", "value_reference"))
    found = bland_altman(reference, method)
    return found.bias.value, *found.limits


def _limits_text(rows: pd.DataFrame) -> str:
    """Print the bias and the limits of agreement in ml."""
    if rows.empty:
        return "no value"
    bias, low, high = _bias_and_limits(rows)
    largest = max(abs(part) for part in (bias, low, high) if math.isfinite(part))
    decimals = 1 if largest >= 10 else 2 if largest >= 0.1 else 4
    # Adding 0 turns a negative zero into a zero.
    bias, low, high = (round(part, decimals) + 0.0 for part in (bias, low, high))
    limits = f", limits {low:+.{decimals}f} to {high:+.{decimals}f}" if math.isfinite(low) else ""
    return f"bias {bias:+.{decimals}f}{limits} ml"
