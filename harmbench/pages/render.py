"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from tabulate import tabulate

from harmbench.metrics.base import Better
from harmbench.pages.escapes import markdown_text, spreadsheet_safe
from harmbench.pages.table import Head, Table
from harmbench.storage import atomic, write_text

__all__ = [
    "ARROWS",
    "head_text",
    "latex_escape",
    "to_csv",
    "to_latex",
    "to_markdown",
    "unit_text",
    "write_table",
]

ARROWS: Mapping[Better, str] = MappingProxyType(
    {"lower": "↓", "higher": "↑", "zero": "→0", "none": ""}
)
"""Sign of the better direction."""

_ROOMY = 5
"""Columns up to which a LaTeX table keeps the size of the text."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "[": "{[}",  # a bracket that follows \\ would be read as its argument
    "]": "{]}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "·": r"$\cdot$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}
_SUPERSCRIPTS_BACK = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def unit_text(unit: str) -> str:
    """Print a unit: `mm3` as `mm³`, nothing for a dimensionless number."""
    return {"1": "", "mm3": "mm³", "mm^3": "mm³"}.get(unit, unit)


def head_text(head: Head) -> str:
    """Print a header as plain text: `MSE (×10⁻³) ↓`."""
    scale = (
        f"\N{MULTIPLICATION SIGN}10{str(head.exponent).translate(_SUPERSCRIPT)}"
        if head.exponent
        else ""
    )
    inside = " ".join(part for part in (scale, unit_text(head.unit)) if part)
    parts = (head.text, f"({inside})" if inside else "", ARROWS[head.better])
    return " ".join(part for part in parts if part)


def latex_escape(text: str) -> str:
    """Escape text for LaTeX, with the mathematical signs that tables use."""
    out: list[str] = []
    power = ""
    for sign in [*text, ""]:
        if sign and sign in "⁻⁰¹²³⁴⁵⁶⁷⁸⁹":
            power += sign.translate(_SUPERSCRIPTS_BACK)
            continue
        if power:
            out.append(f"$^{{{power}}}$")
            power = ""
        out.append(_LATEX.get(sign, sign))
    return "".join(out)


def to_markdown(table: Table) -> str:
    """Print a table as Markdown, with title and caption; headers of all levels joined by a slash."""
    heads = [" / ".join(head_text(head) for head in column.heads) for column in table.columns]
    body = []
    for row in table.rows:
        cells = [markdown_text(label) for label in row.labels]
        for entry, column in zip(row.entries, table.columns, strict=True):
            text = markdown_text(entry.format(column))
            text = f"**{text}**" if entry.best else text
            cells.append(f"{text} ({markdown_text(entry.note)})" if entry.note else text)
        body.append(cells)
    align = ["left"] * len(table.labels) + ["right"] * len(heads)
    grid = tabulate(
        body,
        headers=[markdown_text(text) for text in (*table.labels, *heads)],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=align if body else None,
    )
    return f"**{markdown_text(table.heading)}**\n\n{grid}\n\n{markdown_text(table.caption)}\n"


def to_csv(table: Table) -> str:
    """Print a table as CSV in its own shape: one header line, and the cells as they are shown."""
    heads = [" / ".join(head_text(head) for head in column.heads) for column in table.columns]
    lines = [[*table.labels, *heads]]
    for row in table.rows:
        cells = [*row.labels]
        for entry, column in zip(row.entries, table.columns, strict=True):
            text = entry.format(column)
            cells.append(f"{text} ({entry.note})" if entry.note else text)
        lines.append(cells)
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def to_latex(table: Table) -> str:
    """Print a table as a LaTeX float no wider than the line; needs booktabs and graphicx.

    A table that is wider is scaled down, and set in smaller type first.
    """
    # LaTeX numbers its own tables; the paper's keep the number that they have in the paper.
    title = table.heading if table.published else table.title
    count = len(table.columns)
    first = len(table.labels)
    lines = [
        "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.",
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{latex_escape(f'{title}. {table.caption}')}}}",
        rf"\label{{tab:{table.name}}}",
    ]
    if count > _ROOMY:
        lines += [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    lines.append(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%")
    lines += [rf"\begin{{tabular}}{{{'l' * first}{'r' * count}}}", r"\toprule"]
    levels = table.header_rows()
    for level, spans in enumerate(levels):
        lowest = level == len(levels) - 1
        cells = [latex_escape(label) if lowest else "" for label in table.labels]
        rules = []
        at = first + 1
        for head, span in spans:
            text = latex_escape(head_text(head))
            cells.append(text if span == 1 else rf"\multicolumn{{{span}}}{{c}}{{{text}}}")
            if not lowest:
                rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        lines.append(" & ".join(cells) + r" \\")
        lines += [" ".join(rules)] if rules else []
    lines.append(r"\midrule")
    for row in table.rows:
        cells = [latex_escape(label) for label in row.labels]
        for entry, column in zip(row.entries, table.columns, strict=True):
            text = latex_escape(entry.format(column))
            text = rf"\textbf{{{text}}}" if entry.best else text
            cells.append(f"{text} ({latex_escape(entry.note)})" if entry.note else text)
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write a table as `.csv` (raw numbers, tidy), `-as-shown.csv`, `.md` and `.tex`, each atomically."""
    suffixes = (".csv", ".md", ".tex", "-as-shown.csv")
    paths = [folder / f"{table.name}{suffix}" for suffix in suffixes]
    with atomic(paths[0]) as temporary:
        spreadsheet_safe(table.data).to_csv(
            temporary, index=False, float_format="%.9g", lineterminator="\n"
        )
    write_text(paths[1], to_markdown(table))
    write_text(paths[2], to_latex(table))
    write_text(paths[3], to_csv(table))
    return paths
