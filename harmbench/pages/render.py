"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from tabulate import tabulate

from harmbench.metrics.base import Better
from harmbench.pages.escapes import markdown_text, spreadsheet_safe
from harmbench.pages.table import Column, Entry, Head, Table
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
    """Print a table as a LaTeX float no wider than the line; needs booktabs, graphicx and siunitx.

    Columns of numbers are aligned at the decimal point. A table that is wider than the line is scaled
    down, and set in smaller type first.
    """
    # LaTeX numbers its own tables; the paper's keep the number that they have in the paper.
    title = table.heading if table.published else table.title
    formats = [_number_format(table, place) for place in range(len(table.columns))]
    lines = [
        "% Needs \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage{siunitx}.",
        r"\begin{table}[htbp]",
        r"\centering",
        r"\sisetup{detect-weight=true,separate-uncertainty=true}",
        rf"\caption{{{latex_escape(f'{title}. {table.caption}')}}}",
        rf"\label{{tab:{table.name}}}",
    ]
    if len(table.columns) > _ROOMY:
        lines += [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    lines.append(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%")
    kinds = "".join(f"S[table-format={text}]" if text else "r" for text in formats)
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.labels)}{kinds}}}", r"\toprule"]
    lines += [*_latex_head(table), r"\midrule"]
    for row in table.rows:
        cells = [latex_escape(label) for label in row.labels]
        for entry, column, format_ in zip(row.entries, table.columns, formats, strict=True):
            cells.append(_latex_cell(entry, column, as_number=bool(format_)))
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex_head(table: Table) -> Iterator[str]:
    """Print the header, a line of cells for each level, with rules under all but the lowest."""
    levels = table.header_rows()
    for level, spans in enumerate(levels):
        lowest = level == len(levels) - 1
        cells = [latex_escape(label) if lowest else "" for label in table.labels]
        rules = []
        at = len(table.labels) + 1
        for head, span in spans:
            text = latex_escape(head_text(head))
            # In braces, a column of numbers takes it for text.
            cells.append(f"{{{text}}}" if span == 1 else rf"\multicolumn{{{span}}}{{c}}{{{text}}}")
            if not lowest:
                rules.append(rf"\cmidrule(lr){{{at}-{at + span - 1}}}")
            at += span
        yield " & ".join(cells) + r" \\"
        if rules:
            yield " ".join(rules)


def _number_format(table: Table, place: int) -> str:
    """Return the siunitx format of a column, `-2.3(1)`; empty where it holds more than numbers.

    Cells with a note are set as text, and do not count.
    """
    column = table.columns[place]
    entries = [row.entries[place] for row in table.rows if not row.entries[place].note]
    numbers = [entry for entry in entries if math.isfinite(entry.value)]
    if not numbers or not all(entry.is_number for entry in entries):
        return ""
    shown = [column.format(entry.value) for entry in numbers]
    digits = max(len(text.partition(".")[0].lstrip("-")) for text in shown)
    sign = "-" if any(text.startswith("-") for text in shown) else ""
    spreads = [column.format(one.spread) for one in numbers if math.isfinite(one.spread)]
    # An uncertainty is counted in units of the last digit: 1.61(10).
    widest = max((len(str(int(text.replace(".", "")))) for text in spreads), default=0)
    return f"{sign}{digits}.{column.decimals}" + (f"({widest})" if widest else "")


def _latex_cell(entry: Entry, column: Column, *, as_number: bool) -> str:
    text = entry.format(column)
    if as_number and entry.is_number and math.isfinite(entry.value):
        return (r"\bfseries " if entry.best else "") + text.replace("±", "+-")
    text = latex_escape(text)
    text = rf"\textbf{{{text}}}" if entry.best else text
    text = f"{text} ({latex_escape(entry.note)})" if entry.note else text
    return f"{{{text}}}" if as_number else text


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
