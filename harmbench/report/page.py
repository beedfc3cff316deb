"""The page: one self-contained HTML file, made from tables and figures that exist already."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harmbench.metrics.base import Metric
from harmbench.pages.bundles import bundle_text, licences, list_bundles
from harmbench.pages.html import EmbeddedFigure, page_environment
from harmbench.pages.render import ARROWS, unit_text
from harmbench.pages.table import Table
from harmbench.report.answer import verdict
from harmbench.report.directions import sum_up
from harmbench.report.evidence import Evidence, declared_endpoint
from harmbench.report.explorer import endpoint_order, explorer_data
from harmbench.report.first_screen import LETTERS, answer
from harmbench.report.packing import Embedded, embed_volumes
from harmbench.report.paragraph import bibtex, methods_paragraph
from harmbench.report.provenance import (
    chosen,
    failures,
    input_notes,
    invocations,
    method_rows,
)
from harmbench.report.published import SLIPS, applies_to
from harmbench.report.verdict import Role, Verdict
from harmbench.report.volume_answer import (
    comparisons,
    volume_limits,
    worth_lead,
    worth_rows,
    worth_sentences,
)
from harmbench.results import STATUSES

__all__ = [
    "FOLDED_FIGURES",
    "FOLDED_TABLES",
    "Contents",
    "endpoint_of",
    "judge",
    "page_contents",
    "render_page",
]


FOLDED_FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "histograms": "Histograms",
        "segmentations": "Segmentations",
        "subjects": "Values per subject",
        "agreement": "Agreement of volumes",
        "learning": "Training subjects that are needed",
    }
)
"""Figures that stand in a fold: section to title."""

FOLDED_TABLES: Mapping[str, str] = MappingProxyType(
    {
        "overview": "Scanners by scanners",
        "study": "What a study asks: a switch of scanner, rescans, known change, lesions, training subjects",
        "metrics": "All metrics",
        "groups": "By group of subjects",
        "intervals": "Intervals over subjects",
    }
)
"""Tables that stand in a fold: section to title."""

_PAPER = ("main", "folds")
_ELSEWHERE = ("cost", "status", "worth", "agreement")


@dataclass(frozen=True, eq=False)
class Contents:
    """What the page shows beside its figures.

    Attributes:
        tables: in any order.
        verdicts: one for each direction.
        embedded: volumes for the viewer.
    """

    tables: Sequence[Table]
    verdicts: Sequence[Verdict]
    embedded: Sequence[Embedded] = ()


def page_contents(evidence: Evidence, tables: Sequence[Table]) -> Contents:
    """Judge every direction, and pack volumes for the viewer."""
    order = endpoint_order(evidence, endpoint_of(evidence))
    return Contents(tables, judge(evidence), [*embed_volumes(evidence, order)])


def judge(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on each direction, also where there are too many for tables of their own."""
    roles: dict[str, Role] = dict.fromkeys(evidence.corrections, "volume correction")
    return [verdict(evidence, way, roles) for way in evidence.directions]


def render_page(
    evidence: Evidence,
    contents: Contents,
    figures: Sequence[EmbeddedFigure],
    out: Path,
    undrawn: Sequence[str] = (),
) -> str:
    """Render the page as HTML.

    Args:
        evidence: the merged runs.
        contents, figures: what the page shows.
        out: the report's folder, which links are relative to.
        undrawn: why figures could not be drawn, in sentences.
    """
    environment = page_environment("harmbench.report")
    verdicts, embedded = contents.verdicts, contents.embedded
    answers = [answer(evidence, one) for one in verdicts]
    bundles = list_bundles()
    return environment.get_template("page.html.j2").render(
        evidence=evidence,
        cohort=evidence.record.cohort,
        answers=answers,
        directions=sum_up(answers),
        volumes=_volumes(evidence),
        letters=LETTERS,
        incomplete=list(dict.fromkeys(text for one in verdicts for text in one.incomplete)),
        **_arranged(contents.tables, verdicts),
        pictures=_by_section(figures),
        folded_figures=FOLDED_FIGURES,
        undrawn=undrawn,
        explorer=_explorer(evidence, out, embedded),
        embedded=embedded,
        bundles=bundles,
        bundle_text=bundle_text,
        licences=licences(),
        metrics=[_metric_row(metric) for metric in evidence.metrics.values()],
        statuses=STATUSES,
        failures=failures(evidence, out),
        paper_applies=applies_to(str(direction) for direction in evidence.directions),
        slips=SLIPS,
        paragraph=methods_paragraph(evidence, verdicts[0] if verdicts else None),
        bibtex=bibtex(evidence),
        methods=method_rows(evidence),
        invocations=invocations(evidence),
        chosen=chosen(evidence),
        input_notes=input_notes(evidence),
    )


def _volumes(evidence: Evidence) -> dict[str, object]:
    """Whether volumes need a network, in words."""
    found = comparisons(evidence)
    return {
        "lead": worth_lead(found),
        "rows": worth_rows(found),
        "directions": worth_sentences(found),
        "limits": volume_limits(evidence),
    }


def _arranged(tables: Sequence[Table], verdicts: Sequence[Verdict]) -> dict[str, object]:
    """Sort tables into those that stand in no fold, those of the folds, and the paper's."""
    sections = _by_section(_in_order(tables))
    folded = {
        title: [table for table in sections.get(name, []) if not _of_endpoint(table, verdicts)]
        for name, title in FOLDED_TABLES.items()
    }
    apart = [table for part in folded.values() for table in part]
    return {
        "sections": sections,
        "open_tables": [
            table
            for name, part in sections.items()
            for table in part
            if name not in {*_PAPER, *_ELSEWHERE} and table not in apart
        ],
        "folded_tables": folded,
        "paper_tables": _in_order([t for name in _PAPER for t in sections.get(name, [])]),
    }


def _of_endpoint(table: Table, verdicts: Sequence[Verdict]) -> bool:
    """Whether a table shows the primary endpoint in detail: then it stands in no fold."""
    if table.section not in {"intervals", "overview"} or not verdicts:
        return False
    endpoint = verdicts[0].endpoint
    shown = table.data[table.data["metric"] == endpoint.metric]
    return bool((shown["tissue"] == endpoint.tissue).any())


def endpoint_of(evidence: Evidence) -> tuple[str, str]:
    """Return the metric and tissue of the primary endpoint."""
    return declared_endpoint(evidence).measure


def _explorer(evidence: Evidence, out: Path, embedded: Sequence[Embedded]) -> dict[str, object]:
    """Collect what the scripts of the page read."""
    data = explorer_data(evidence, endpoint_of(evidence), out)
    subjects = len(data["subjects"])
    how = f"harmbench serve {evidence.runs[-1].root.name}"
    held = f"volumes of {len(embedded)} of {subjects} subjects" if embedded else "no volumes"
    return {
        **data,
        "first": embedded[0].subject if embedded else data["subjects"][0]["id"],
        "elsewhere": f"This page holds {held}. To see this one: {how}",
        "embedded": [{"subject": one.subject, "note": _resolution(one, how)} for one in embedded],
    }


def _resolution(one: Embedded, how: str) -> str:
    """Say how fine the volumes of a subject are in the page."""
    text = f"{one.spacing_mm:.3g} mm voxels"
    return text if one.step == 1 else f"{text}, averaged to save space; at full resolution: {how}"


def _in_order(tables: Sequence[Table]) -> list[Table]:
    """Put each table of the paper's numbers behind the run's own table of that number."""

    def place(table: Table) -> tuple[int, bool]:
        return (table.number.number if table.number else 0, table.published)

    return sorted(tables, key=place)


def _by_section(items: Sequence[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(item.section, []).append(item)
    return found


def _metric_row(metric: Metric) -> dict[str, str]:
    def bound(value: float) -> str:
        return f"{value:g}" if math.isfinite(value) else ("∞" if value > 0 else "\N{MINUS SIGN}∞")

    words = {"lower": "lower", "higher": "higher", "zero": "nearer to 0", "none": "no direction"}
    return {
        "title": metric.title,
        "name": metric.name,
        "unit": unit_text(metric.unit) or "none",
        "range": f"{bound(metric.lower)} to {bound(metric.upper)}",
        "better": f"{words[metric.better]} {ARROWS[metric.better]}".strip(),
        "description": metric.description,
    }
