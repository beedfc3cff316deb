"""Where a page's numbers come from: methods and settings, invocations, failures, notes on the scans."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from harmbench.notes import summarize
from harmbench.report.evidence import Evidence
from harmbench.report.explorer import log_link
from harmbench.runner.run_record import MethodRecord

__all__ = ["chosen", "failures", "input_notes", "invocations", "method_rows"]


def failures(evidence: Evidence, out: Path) -> list[dict[str, str]]:
    """List the cells that failed or are incomplete, with the reason."""
    found = []
    for method, direction in evidence.cells:
        for cell in evidence.counted_cells(method, direction):
            link = log_link(cell, out)
            if cell.failed:
                error = cell.record.error.strip() or "no message was recorded"
                found.append({"cell": str(cell.cell), "error": error[:500], "link": link})
            for subject, missing in cell.record.unsegmented.items():
                what = f"subject {subject}, {missing.what} without scores of tissues"
                text = f"{what}: {missing.reason}"[:500]
                found.append({"cell": str(cell.cell), "error": text, "link": link})
    return found


def input_notes(evidence: Evidence) -> list[str]:
    """List what was assumed when the scans were read, or is odd in them."""
    return summarize(note for record in evidence.records for note in record.notes)


def method_rows(evidence: Evidence) -> list[dict[str, str]]:
    """Return title, name, reference, settings and parameters of each method, as texts."""
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


def chosen(evidence: Evidence) -> list[str]:
    """What the runs chose instead of their users: see `harmbench.planning`."""
    plans = [record.plan for record in evidence.records if record.plan is not None]
    return [line for plan in plans for line in plan.lines]


def invocations(evidence: Evidence) -> list[dict[str, str]]:
    """Return when, where and with which version the runs were made, and what stands of each."""
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
