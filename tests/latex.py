"""Compiling LaTeX in tests, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PREAMBLE = "".join(rf"\usepackage{{{name}}}" for name in ("booktabs", "graphicx", "siunitx"))
"""What tables need."""


def _is_missing() -> bool:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        return True
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False)
    return found.returncode != 0


needs_latex = pytest.mark.skipif(
    _is_missing(),
    reason="LaTeX is not installed: apt-get install texlive-latex-base texlive-science",
)


def compile_latex(body: str, folder: Path) -> str:
    """Compile a document with this body, and return what pdflatex says.

    Raises:
        AssertionError: it does not compile, or a box is wider than the line.
    """
    text = rf"\documentclass{{article}}{PREAMBLE}\begin{{document}}" + f"\n{body}\n"
    (folder / "t.tex").write_text(text + r"\end{document}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Overfull" not in said, said[-2000:]
    return said
