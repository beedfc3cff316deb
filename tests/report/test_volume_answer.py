"""Volumes in a report: is a network needed, agreement in the field's terms, and what limits both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.suite import METRICS
from harmbench.pages.table import Table
from harmbench.report import make_report
from harmbench.report.evidence import MOST_DIRECTIONS, Evidence
from harmbench.report.loading import load_evidence
from harmbench.report.tables.agreement import agreement_tables
from harmbench.report.tables.selection import all_tables
from harmbench.report.tables.worth import worth_tables
from harmbench.report.volume_answer import (
    comparisons,
    volume_limits,
    worth_lead,
    worth_sentences,
)
from harmbench.report.volumes import chosen_corrections
from harmbench.segmentation import TISSUES
from harmbench.study.agreement import icc
from harmbench.task import Direction

MakeRun = Callable[..., Path]

SUBJECTS = [f"s{number}" for number in range(8)]


def _evidence(make_run: MakeRun, **fields: object) -> Evidence:
    run = make_run(**{"subjects": SUBJECTS, "volumes": False, **fields})
    return load_evidence([run], METRICS)


@pytest.fixture
def evidence(make_run: MakeRun) -> Evidence:
    """A correction that is better than every image method, and one that is worse but tempting."""
    corrections = {"volume_ratio": 2.0, "volume_offset": 5000.0}
    return _evidence(
        make_run, corrections=corrections, inner={"volume_ratio": 3.0, "volume_offset": 9.0}
    )


def _by_name(evidence: Evidence) -> dict[str, Table]:
    return {table.name: table for table in all_tables(evidence)}


def test_corrections_stand_behind_methods_and_have_no_images(evidence: Evidence) -> None:
    assert list(evidence.methods) == [
        "identity",
        "pgan",
        "dm",
        "volume_offset",
        "volume_ratio",
        "target",
    ]
    assert evidence.corrections == ("volume_offset", "volume_ratio")
    assert evidence.candidates == ("pgan", "dm")
    tables = _by_name(evidence)
    rows = {row.labels[0]: row for row in tables["table-01-mse-ahd"].rows}
    shown = [
        entry.format(column)
        for entry, column in zip(
            rows["volume_ratio"].entries, tables["table-01-mse-ahd"].columns, strict=True
        )
    ]
    assert shown == ["\N{EN DASH}"] * 4
    assert not any(entry.note for entry in rows["volume_ratio"].entries)
    volumes = {row.labels[0]: row for row in tables["table-02-volume-differences"].rows}
    assert all(np.isfinite(entry.value) for entry in volumes["volume_ratio"].entries)
    # Tables beyond the main ones leave out who gives nothing for them.
    for name, table in tables.items():
        if name.startswith(("table-10", "table-14", "table-25")):
            assert "volume_ratio" not in {row.labels[0] for row in table.rows}


def test_training_subjects_choose(evidence: Evidence) -> None:
    choices = chosen_corrections(evidence)
    assert set(choices.values()) == {"volume_ratio"}
    assert len(choices) == 2 * 4 * len(TISSUES)


def test_the_sentence_is_computed(make_run: MakeRun) -> None:
    many = [f"s{number}" for number in range(16)]  # in 8 folds
    good = {"volume_ratio": 2.0, "volume_offset": 5000.0}
    near = {"volume_ratio": 3.0, "volume_offset": 9.0}
    found = comparisons(_evidence(make_run, subjects=many, corrections=good, inner=near))
    assert len(found) == 2 * len(TISSUES)
    csf = next(one for one in found if one.tissue == "CSF" and one.direction == "3T to 1.5T")
    assert set(csf.worse) == {"DM", "pGAN"}
    assert csf.sentence().startswith(
        "CSF: No network is needed for this volume: a volume correction is better than both "
        "networks. Mean absolute error 0.002 ml (volume_ratio, chosen on training subjects) "
        "against "
    )
    # DM's white matter is that of the reference in one direction, which is a small gain, or a large one.
    assert worth_lead(found).startswith(
        "No image method is shown to be better than the best volume"
    )
    wide = _evidence(
        make_run, folder="wide", subjects=many, corrections={"volume_ratio": 17.0}, inner=near
    )
    assert worth_lead(comparisons(wide)).startswith(
        "Volumes need an image method in 1 of 6 comparisons (tissue and direction): WM 3T to 1.5T. "
    )
    grey = [one for one in found if one.tissue == "GM"]
    assert worth_lead(grey) == (
        "No image method is shown to be better than the best volume correction, a few numbers fitted on "
        "the training subjects' volumes, in any of 2 comparisons (tissue and direction). A volume "
        "correction is shown to be enough in 2 of 2: GM 3T to 1.5T, GM 1.5T to 3T. No network is better "
        "there."
    )
    # Nothing is concluded from a difference that is not shown.
    unclear = replace(csf, worse=("DM",), no_gain=False)
    described = (
        "is open. Among these subjects, the correction has a smaller mean error than every network in "
        "1 of 1 comparisons (tissue and direction): CSF 3T to 1.5T; this is not shown."
    )
    assert worth_lead([unclear]).endswith(f"direction). Whether volumes need a network {described}")
    assert worth_lead([*grey, unclear]).endswith(
        "in 2 of 3: GM 3T to 1.5T, GM 1.5T to 3T. No network is better there. Whether the other volumes "
        f"need a network {described}"
    )
    # A gain that is shown to be small needs no network either, be it a sure one.
    small = replace(unclear, no_gain=True, better=("pGAN",), worse=("DM",), region_ml=0.0148)
    assert worth_lead([small]).endswith(
        "enough in 1 of 1: CSF 3T to 1.5T. No network is better there, or by less than the region of "
        "equivalence, a share of the untreated error."
    )
    assert (
        "none is better than a volume correction by 0.015 ml, a share of the untreated error. pGAN is "
        "better, by less than that." in small.sentence()
    )
    assert small.finding() == "better: pGAN; worse: DM; no network is better by 0.015 ml"
    # A method that is no network may be better by any amount.
    plain = replace(small, networks=("DM",))
    assert plain.needs_image
    assert not plain.enough
    # An image method that is no network does not decide whether one is needed.
    assert not unclear.all_beaten
    assert replace(unclear, networks=("DM",)).all_beaten
    best = {"pGAN": 0.0, "DM": 9.0}
    assert not replace(unclear, errors_ml=best).ahead
    assert replace(unclear, errors_ml=best, networks=("DM",)).ahead
    unjudged = replace(csf, folds=2)
    assert worth_lead([csf, unjudged]).endswith(
        "No network is better there. In 1 more there are too few subjects or folds to judge."
    )
    assert list(worth_sentences(found)) == ["3T to 1.5T", "1.5T to 3T"]
    # The same run with corrections that are far off: every image method is better.
    poor = _evidence(
        make_run,
        folder="poor",
        subjects=many,
        corrections={"volume_ratio": 1e5},
        inner={"volume_ratio": 1.0},
    )
    others = comparisons(poor)
    assert all(set(one.better) == {"DM", "pGAN"} for one in others)
    assert (
        worth_lead(others)
        == "Volumes need an image method in all 6 comparisons (tissue and direction)."
    )
    assert "are better than the best volume correction" in others[0].sentence()


def test_every_direction_is_compared(make_run: MakeRun) -> None:
    ways = [Direction(*pair) for pair in permutations("ABC3", 2)][: MOST_DIRECTIONS + 1]
    many = _evidence(
        make_run,
        subjects=SUBJECTS[:4],
        directions=ways,
        corrections={"volume_ratio": 2.0},
        inner={"volume_ratio": 1.0},
    )
    found = comparisons(many)
    assert {one.direction for one in found} == {f"{way.source} to {way.target}" for way in ways}
    assert f"of {len(ways) * len(TISSUES)} comparisons" in worth_lead(found)


def test_few_subjects_are_called_few(make_run: MakeRun) -> None:
    few = _evidence(
        make_run,
        subjects=SUBJECTS[:4],
        corrections={"volume_ratio": 2.0},
        inner={"volume_ratio": 1.0},
    )
    found = comparisons(few)
    assert "There are too few subjects (4) or folds (2)" in found[0].sentence()
    assert found[0].finding() == "too few subjects (4) or folds (2) to judge"
    lead = worth_lead(found)
    assert lead.startswith(
        "There are too few subjects or folds to say whether volumes need a network."
    )
    # What is there is told, without a judgement.
    ahead = [one for one in found if one.ahead]
    assert 0 < len(ahead) < len(found)
    assert f"every network in {len(ahead)} of 6 comparisons" in lead
    assert all(f"{one.tissue} {one.direction}" in lead for one in ahead)


def test_without_a_choice_there_is_nothing_to_say(make_run: MakeRun) -> None:
    none = _evidence(make_run, corrections={"volume_ratio": 2.0})
    assert comparisons(none) == []
    assert worth_lead([]) == ""
    assert list(worth_tables(none)) == []


def test_worth_tables_hold_paired_differences(evidence: Evidence) -> None:
    table = next(iter(worth_tables(evidence)))
    assert table.name == "table-40-worth-3T-to-1.5T"
    data = table.data.set_index(["method", "tissue"])
    rows = evidence.values("volume_difference_mm3", "GM")
    rows = rows[rows["direction"] == "3T-to-1.5T"].pivot_table(
        index="subject", columns="method", values="value"
    )
    expected = rows["dm"] - rows["volume_ratio"]
    assert data["difference_mm3"]["dm", "GM"] == pytest.approx(expected.mean())
    assert data["low_mm3"]["dm", "GM"] <= expected.mean() <= data["high_mm3"]["dm", "GM"]
    assert data["n_pairs"]["dm", "GM"] == 8
    assert set(data["correction"]) == {"volume_ratio"}


def test_agreement_tables(evidence: Evidence) -> None:
    tables = {table.name: table for table in agreement_tables(evidence)}
    assert sorted(tables) == sorted(
        f"table-{name}-{way}"
        for name in ("41-volume-agreement", "42-brain-fractions", "43-group-difference-HC-MS")
        for way in ("3T-to-1.5T", "1.5T-to-3T")
    )
    data = tables["table-41-volume-agreement-3T-to-1.5T"].data.set_index(["method", "tissue"])
    volumes = evidence.values("volume_mm3", "GM")
    volumes = volumes[volumes["direction"] == "3T-to-1.5T"].pivot_table(
        index="subject", columns="method", values="value"
    )
    expected = icc(volumes[["target", "dm"]].to_numpy())[0]
    assert data["icc_a1"]["dm", "GM"] == pytest.approx(expected.value)
    # The correction's error is 1, 2 or 3 mm3.
    assert data["bias_mm3"]["volume_ratio", "GM"] == pytest.approx(
        np.mean([1, 2, 3, 1, 2, 3, 1, 2])
    )
    fractions = tables["table-42-brain-fractions-3T-to-1.5T"].data
    brain = fractions[fractions["measure"] == "BPF"].set_index("method")
    both = _fractions(evidence)
    assert brain["mean_percent"]["dm"] == pytest.approx(both["dm"].mean())
    assert brain["difference_percent"]["dm"] == pytest.approx((both["dm"] - both["target"]).mean())


def _fractions(evidence: Evidence) -> pd.DataFrame:
    parts = []
    for tissue in TISSUES:
        values = evidence.values("volume_mm3", tissue)
        values = values[values["direction"] == "3T-to-1.5T"]
        parts.append(values.pivot_table(index="subject", columns="method", values="value"))
    whole: pd.DataFrame = 100 * (parts[1] + parts[2]) / (parts[0] + parts[1] + parts[2])
    return whole


@pytest.mark.parametrize(
    ("transform", "told"), [("deformable", True), ("affine", False), (None, False)]
)
def test_deformable_registration_is_named(
    make_run: MakeRun, transform: str | None, told: bool
) -> None:
    preparation = transform and {"registration": {"transform": transform}, "spacing_mm": 1.0}
    evidence = _evidence(make_run, preparation=preparation)
    assert any("deformable registration" in text for text in volume_limits(evidence)) == told


def test_the_page_says_it(make_run: MakeRun, blank_figures: None) -> None:
    run = make_run(
        subjects=SUBJECTS,
        volumes=False,
        corrections={"volume_ratio": 20.0},
        inner={"volume_ratio": 1.0},
        preparation={"registration": {"transform": "deformable"}},
    )
    page = make_report([run])
    text = page.read_text()
    assert "Volumes need an image method in 1 of 6 comparisons" in text
    assert "mend volumes, not images" in text
    assert "deformable registration" in text
    for name in ("table-40-worth", "table-41-volume-agreement", "table-42-brain-fractions"):
        assert (page.parent / "tables" / f"{name}-3T-to-1.5T.csv").is_file()
