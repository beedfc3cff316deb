"""Tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from latex import compile_latex, needs_latex

from harmbench.pages.render import (
    head_text,
    latex_escape,
    to_csv,
    to_latex,
    to_markdown,
    write_table,
)
from harmbench.pages.table import Column, Entry, Head, Row, Table, TableNumber


def example(**changes: object) -> Table:
    fields: dict[str, object] = {
        "name": "table-01-mse-ahd",
        "title": "MSE & AHD",
        "number": TableNumber(1),
        "caption": "100 % of_them | see ~note~.",
        "labels": ("Method",),
        "columns": (
            Column((Head("3T to 1.5T"), Head("MSE", "1", -3, "lower")), -3, 2),
            Column((Head("3T to 1.5T"), Head("Volume", "mm3", 4, "none")), 4, 2),
            Column((Head("1.5T to 3T"), Head("bias", "%", 0, "zero")), 0, 1),
        ),
        "rows": (
            Row(("Original",), (Entry(1.85e-3), Entry(3.72e4), Entry(-5.0))),
            Row(
                ("a|b_c*",),
                (Entry(1.5e-3, 1e-3, 2e-3, best=True), Entry(note="2 failed"), Entry(0)),
            ),
        ),
        "data": pd.DataFrame({"method": ["identity"], "fold_mean": [0.00185123456789]}),
    }
    return Table(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (Head("MSE", "1", -3, "lower"), "MSE (\N{MULTIPLICATION SIGN}10⁻³) ↓"),
        (Head("Volume", "mm3", 4), "Volume (\N{MULTIPLICATION SIGN}10⁴ mm³)"),
        (Head("Dice", "1", 0, "higher"), "Dice ↑"),
        (Head("bias", "%", 0, "zero"), "bias (%) →0"),
        (Head("CSF"), "CSF"),
    ],
)
def test_headers_say_scale_unit_and_direction(head: Head, text: str) -> None:
    assert head_text(head) == text


def test_markdown_is_a_pipe_table_with_the_best_in_bold() -> None:
    lines = to_markdown(example()).splitlines()
    assert lines[0] == "**Table 1. MSE & AHD**"
    grid = lines[2:6]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in grid}) == 1
    assert grid[0].split("|")[2].strip() == "3T to 1.5T / MSE (\N{MULTIPLICATION SIGN}10⁻³) ↓"
    assert "a\\|b_c\\*" in grid[3]
    assert "**1.50 [1.00, 2.00]**" in grid[3]
    assert "\N{EN DASH} (2 failed)" in grid[3]
    assert "**1.85**" not in grid[2]


def test_latex_escapes_and_rules() -> None:
    text = to_latex(example())
    assert (
        r"\caption{MSE \& AHD. 100 \% of\_them | see \textasciitilde{}note\textasciitilde{}.}"
        in text
    )
    assert r"\multicolumn{2}{c}{3T to 1.5T} & {1.5T to 3T} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text
    assert r"MSE ($\times$10$^{-3}$) $\downarrow$" in text
    assert r"\textbf{1.50 {[}1.00, 2.00{]}}" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 1
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:-1]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 3 for line in [*body] if line)
    assert text.isascii()


def test_latex_braces_and_environments_are_balanced() -> None:
    text = to_latex(example(columns=example().columns * 3, rows=()))
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert begun == ended[::-1]
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text
    assert r"\footnotesize" in text
    assert r"\footnotesize" not in to_latex(example())


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b%&#$", r"a\_b\%\&\#\$"),
        ("{x}^~\\", r"\{x\}\textasciicircum{}\textasciitilde{}\textbackslash{}"),
        ("10⁻¹²", "10$^{-12}$"),
        ("mm³", "mm$^{3}$"),
        ("1\N{EN DASH}2", "1--2"),
    ],
)
def test_latex_escape(text: str, escaped: str) -> None:
    assert latex_escape(text) == escaped


@needs_latex
@pytest.mark.parametrize("times", [1, 3, 8])
def test_latex_compiles_and_no_table_is_wider_than_the_line(tmp_path: Path, times: int) -> None:
    wide = example(
        columns=example().columns * times,
        rows=tuple(Row(row.labels, row.entries * times) for row in example().rows),
    )
    compile_latex(to_latex(wide), tmp_path)


def spread_table() -> Table:
    """Means with their spreads, one of them without a value, one with a note."""
    cells = (
        Entry(-1.853e-2, spread=2e-4),
        Entry(12.5e-2, spread=1.26e-2, best=True),
        Entry(),
        Entry(3e-2, note="1 failed", spread=1e-3),
    )
    return example(
        columns=(Column((Head("MSE", "1", -2, "lower"),), -2, 2),),
        rows=tuple(Row((str(place),), (entry,)) for place, entry in enumerate(cells)),
    )


def test_mean_and_spread_stand_in_one_cell() -> None:
    lines = to_markdown(spread_table()).splitlines()[4:8]
    assert [line.split("|")[2].strip() for line in lines] == [
        "-1.85 ± 0.02",
        "**12.50 ± 1.26**",
        "\N{EN DASH}",
        "3.00 ± 0.10 (1 failed)",
    ]


def test_columns_of_numbers_are_aligned_at_the_point() -> None:
    text = to_latex(spread_table())
    assert r"\begin{tabular}{lS[table-format=-2.2(3)]}" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert body == [
        r"0 & -1.85 +- 0.02 \\",
        r"1 & \bfseries 12.50 +- 1.26 \\",
        r"2 & {--} \\",
        r"3 & {3.00 $\pm$ 0.10 (1 failed)} \\",
    ]
    # Intervals are no numbers; the last column is one of numbers.
    assert r"\begin{tabular}{lrS[table-format=1.2]S[table-format=-1.1]}" in to_latex(example())


@needs_latex
def test_spreads_compile(tmp_path: Path) -> None:
    compile_latex(to_latex(spread_table()), tmp_path)
    found = shutil.which("pdftotext")
    if found is not None:
        subprocess.run([found, "-layout", "t.pdf", "t.txt"], cwd=tmp_path, check=True)
        assert re.search(r"12\.50\s*±\s*1\.26", (tmp_path / "t.txt").read_text())


def test_csv_has_the_shape_of_the_table() -> None:
    lines = list(csv.reader(StringIO(to_csv(example()))))
    assert lines[0][:2] == ["Method", "3T to 1.5T / MSE (\N{MULTIPLICATION SIGN}10⁻³) ↓"]
    assert lines[1] == ["Original", "1.85", "3.72", "-5.0"]
    assert lines[2] == ["a|b_c*", "1.50 [1.00, 2.00]", "\N{EN DASH} (2 failed)", "0.0"]


def test_files(tmp_path: Path) -> None:
    paths = write_table(example(), tmp_path)
    ends = (".csv", ".md", ".tex", "-as-shown.csv")
    assert [path.name for path in paths] == [f"table-01-mse-ahd{end}" for end in ends]
    assert paths[0].read_text() == "method,fold_mean\nidentity,0.00185123457\n"
    assert sorted(tmp_path.iterdir()) == sorted(paths)
