"""Every table of a report compiles in LaTeX, and none is wider than the line."""

from __future__ import annotations

from pathlib import Path

from latex import compile_latex, needs_latex

from harmbench.metrics.suite import METRICS
from harmbench.pages.render import to_latex
from harmbench.report.loading import load_evidence
from harmbench.report.tables.run import published_tables, status_table
from harmbench.report.tables.selection import all_tables


@needs_latex
def test_no_table_is_wider_than_the_line(finished_run: Path, tmp_path: Path) -> None:
    evidence = load_evidence([finished_run], METRICS)
    tables = [*all_tables(evidence), status_table(evidence), *published_tables(evidence)]
    compile_latex("\\clearpage\n".join(to_latex(table) for table in tables), tmp_path)
