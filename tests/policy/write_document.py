"""Write docs/input-policy.md from the catalogue of cases: `python tests/policy/write_document.py`."""

from __future__ import annotations

from pathlib import Path

from catalogue import CASES
from policy import TOPICS

DOCUMENT = Path(__file__).parents[2] / "docs" / "input-policy.md"

_HEAD = """\
# What harmbench does with each kind of input

Inputs are *accepted* as they are, accepted and *noted*, or *refused* before any work starts. A note
is printed, kept in the run's record (`run.json`), and shown in the report. A refusal ends with exit
code 2 and names every file that is concerned; nothing is written.

The policy is the same for `run`, `cohort`, `prepare`, `segment`, `score` and `apply`. Each row below
is a test (`tests/policy`), which builds the input and gives the command; the last column is a part of
what harmbench says. This page is written from those tests by `tests/policy/write_document.py`.
"""


def document() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for topic in TOPICS:
        rows = [case for case in CASES if case.topic == topic]
        order = {"accepted": 0, "noted": 1, "refused": 2}
        lines = [f"## {topic}", "", "| input | what happens | message |", "|---|---|---|"]
        for case in sorted(rows, key=lambda case: order[case.outcome]):
            said = f"`{case.says}`" if case.says else ""
            lines.append(f"| {case.given} | {case.outcome} | {said} |".replace("|  |", "| |"))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
