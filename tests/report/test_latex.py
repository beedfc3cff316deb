"""Every table of a report compiles in LaTeX, and none is wider than the line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harmbench.metrics.suite import METRICS
from harmbench.pages.render import to_latex
from harmbench.report.loading import load_evidence
from harmbench.report.tables.run import published_tables, status_table
from harmbench.report.tables.selection import all_tables


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_no_table_is_wider_than_the_line(finished_run: Path, tmp_path: Path) -> None:
    evidence = load_evidence([finished_run], METRICS)
    tables = [*all_tables(evidence), status_table(evidence), *published_tables(evidence)]
    head = r"\documentclass{article}\usepackage{booktabs}\usepackage{graphicx}\begin{document}"
    body = "\\clearpage\n".join(to_latex(table) for table in tables)
    (tmp_path / "t.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert b"Overfull" not in done.stdout
