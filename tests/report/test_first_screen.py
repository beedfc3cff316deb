"""The first screen as texts, and the paragraph for a paper."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harmbench.metrics.suite import METRICS
from harmbench.report.answer import verdict
from harmbench.report.evidence import Evidence
from harmbench.report.first_screen import LETTERS, answer
from harmbench.report.loading import load_evidence
from harmbench.report.paragraph import bibtex, methods_paragraph
from harmbench.report.quantities import quantity, shown_unit
from harmbench.report.verdict import Harm

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def evidence(finished_run: Path) -> Evidence:
    return load_evidence([finished_run], METRICS)


def test_every_cell_says_what_the_verdict_says(evidence: Evidence) -> None:
    known = verdict(evidence, evidence.directions[0])
    shown = answer(evidence, known)
    assert shown.title == "3T to 1.5T"
    assert [head.primary for head in shown.heads] == [True] + [False] * (len(shown.heads) - 1)
    assert len(shown.pairs) == len(known.rivals) + len(known.corrections)
    for row, own in zip(known.rows, shown.rows, strict=True):
        assert bool(own.chance) == math.isfinite(row.chance_best)
        for judged, cell, measure in zip(row.cells, own.cells, known.measures, strict=True):
            assert cell.value == quantity(evidence, measure.metric).format(judged.mean)
            if row.role in {"method", "control"}:
                assert cell.letter == LETTERS[judged.state]
                assert judged.state in cell.hint
            else:
                assert (cell.letter, cell.change, cell.hint) == ("", "", "")
            if cell.change.endswith("%") and judged.change != 0:
                assert cell.change.startswith(
                    "\N{MINUS SIGN}" if judged.change > 0.005 else ("+", "0")
                )


def test_one_unit_for_all_values_of_a_metric(evidence: Evidence) -> None:
    assert shown_unit("mm3") == ("ml", 3)
    assert shown_unit("1") == ("", 0)
    volume = quantity(evidence, "volume_difference_mm3")
    assert (volume.unit, volume.exponent, volume.divide) == ("ml", 0, 3)
    assert volume.unit_exponent == 3
    mse = quantity(evidence, "mse")
    assert mse.unit_text == "\N{MULTIPLICATION SIGN}10⁻⁴"
    assert mse.format(0.000215) == f"{2.15:.{mse.decimals}f}"


def test_the_paragraph_tells_what_was_done(evidence: Evidence) -> None:
    text = methods_paragraph(evidence, verdict(evidence, evidence.directions[0]))
    assert "on simulated scans of 8 subjects (4 HC, 4 MS)" in text
    assert "pGAN and DM were compared in 4-fold cross-validation" in text
    assert "The primary endpoint was Volume difference GM" in text
    assert ".." not in text


def test_references_are_valid_bibtex(make_run: MakeRun) -> None:
    run = make_run(simulated=False, volumes=False)
    text = bibtex(load_evidence([run], METRICS))
    keys = re.findall(r"^@\w+\{([^,]+),$", text, flags=re.MULTILINE)
    assert keys[:2] == ["harmbench", "durrer2023diffusion"]
    assert len(keys) == len(set(keys))
    assert text.count("{") == text.count("}")
    assert "note = {Lesjak et al. 2018}" in text


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (0.1, "Dice CSF: 10\N{NO-BREAK SPACE}% more error"),
        (0.001, "Dice CSF: less than 1\N{NO-BREAK SPACE}% more error"),
        (1.1, "Dice CSF: 2.1 times the error"),
        (math.nan, "Dice CSF: more error"),
    ],
)
def test_a_harm_says_that_it_is_an_error(evidence: Evidence, more: float, text: str) -> None:
    known = verdict(evidence, evidence.directions[0])
    harms = (Harm("DM", "Dice CSF", True, more, ""), Harm("DM", "MSE", True, 0.5, ""))
    line = answer(evidence, replace(known, harms=harms)).harms[0]
    assert line.measures == f"{text}; MSE: 50\N{NO-BREAK SPACE}% more error"
