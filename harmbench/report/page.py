"""The page: one self-contained HTML file, made from tables and figures that exist already."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmbench.metrics.base import Metric
from harmbench.notes import summarize
from harmbench.pages.html import EmbeddedFigure, page_environment
from harmbench.pages.render import ARROWS, unit_text
from harmbench.pages.table import Table
from harmbench.report.answer import verdict
from harmbench.report.evidence import Evidence
from harmbench.report.published import SLIPS, applies_to
from harmbench.report.tables.titles import direction_title
from harmbench.report.volume_answer import (
    comparisons,
    volume_limits,
    worth_lead,
    worth_sentences,
)
from harmbench.results import STATUSES
from harmbench.runner.run_record import MethodRecord
from harmbench.storage import write_text

__all__ = ["render_page", "write_page"]


def render_page(
    evidence: Evidence, tables: Sequence[Table], figures: Sequence[EmbeddedFigure]
) -> str:
    """Render the page as HTML."""
    template = page_environment("harmbench.report").get_template("page.html.j2")
    answers = [
        {"title": direction_title(direction), "verdict": verdict(evidence, direction)}
        for direction in evidence.shown_directions
    ]
    return template.render(
        evidence=evidence,
        cohort=evidence.record.cohort,
        answers=answers,
        volumes=_volumes(evidence),
        sections=_by_section(_in_order(tables)),
        pictures=_by_section(figures),
        metrics=[_metric_row(metric) for metric in evidence.metrics.values()],
        statuses=STATUSES,
        failures=_failures(evidence),
        paper_applies=applies_to(str(direction) for direction in evidence.directions),
        slips=SLIPS,
        methods=_method_rows(evidence),
        invocations=_invocations(evidence),
        chosen=_chosen(evidence),
        input_notes=_input_notes(evidence),
    )


def _volumes(evidence: Evidence) -> dict[str, object]:
    """Whether volumes need a network, in words."""
    found = comparisons(evidence)
    return {
        "lead": worth_lead(found),
        "directions": worth_sentences(found),
        "limits": volume_limits(evidence),
    }


def write_page(
    evidence: Evidence, tables: Sequence[Table], figures: Sequence[EmbeddedFigure], path: Path
) -> Path:
    """Write the page atomically."""
    write_text(path, render_page(evidence, tables, figures))
    return path


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


def _failures(evidence: Evidence) -> list[dict[str, str]]:
    """List the cells that failed or are incomplete, with the reason."""
    found = []
    for method, direction in evidence.cells:
        for cell in evidence.counted_cells(method, direction):
            if cell.failed:
                error = cell.record.error.strip() or "no message was recorded"
                found.append({"cell": str(cell.cell), "error": error[:500]})
            for subject, missing in cell.record.unsegmented.items():
                what = f"subject {subject}, {missing.what} without scores of tissues"
                found.append({"cell": str(cell.cell), "error": f"{what}: {missing.reason}"[:500]})
    return found


def _input_notes(evidence: Evidence) -> list[str]:
    return summarize(note for record in evidence.records for note in record.notes)


def _method_rows(evidence: Evidence) -> list[dict[str, str]]:
    found = []
    for name, title in evidence.methods.items():
        known = [record.methods[name] for record in evidence.records if name in record.methods]
        last = known[-1] if known else MethodRecord()
        settings = (f"{k} = {json.dumps(v)}" for k, v in sorted(last.settings.items()))
        found.append(
            {
                "title": title,
                "name": name,
                "uses": last.uses,
                "reference": last.reference,
                "settings": ", ".join(settings),
                "parameters": ", ".join(f"{k}: {v:,}" for k, v in last.parameters.items()),
            }
        )
    return found


def _chosen(evidence: Evidence) -> list[str]:
    """What the runs chose instead of their users: see `harmbench.planning`."""
    plans = [record.plan for record in evidence.records if record.plan is not None]
    return [line for plan in plans for line in plan.lines]


def _invocations(evidence: Evidence) -> list[dict[str, str]]:
    made = _made(evidence)
    return [
        {
            "started": one.started,
            "finished": one.finished,
            "version": one.version,
            "git": one.git,
            "device": one.device,
            "host": one.host,
            "made": made.get(one.id, ""),
        }
        for record in evidence.records
        for one in record.invocations
    ]


def _made(evidence: Evidence) -> dict[str, str]:
    """Invocation to what stands of its work in the cells: `fit 2, harmonize 8, score 8`."""
    counts: dict[str, Counter[str]] = {}
    for cells in evidence.cells.values():
        for cell in cells:
            for invocation, stage in cell.record.made_by.outputs():
                counts.setdefault(invocation, Counter())[stage] += 1
    return {
        name: ", ".join(f"{stage} {count}" for stage, count in sorted(own.items()))
        for name, own in counts.items()
    }
