"""The verdict: what is claimed, what is not, and what it says of failures and absent parts."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from unsealed import unsealed

from harmbench.metrics.suite import METRICS
from harmbench.report.answer import MAIN_MEASURES, verdict
from harmbench.report.evidence import declared_endpoint
from harmbench.report.loading import load_evidence
from harmbench.report.verdict import Role, Verdict, VerdictRow
from harmbench.results import read_results, write_results
from harmbench.task import Direction

MakeRun = Callable[..., Path]
FORTH = Direction("3T", "1.5T")
GM = ("volume_difference_mm3", "GM")
SUBJECTS = [f"s{number:02d}" for number in range(24)]
"""In pairs over 12 folds."""


def judge(run: Path, roles: Mapping[str, Role] | None = None) -> Verdict:
    return verdict(load_evidence([run], METRICS), FORTH, roles)


def change_values(
    run: Path, values: Mapping[str, np.ndarray], measure: tuple[str, str] = GM
) -> Path:
    """Write values of methods on a measure, subjects in order, both directions alike."""
    frame = read_results(run / "results.csv")
    number = frame["subject"].rank(method="dense").astype(int) - 1
    for method, own in values.items():
        rows = (frame["method"] == method) & (frame["metric"] == measure[0])
        rows &= frame["tissue"] == measure[1]
        frame.loc[rows, "value"] = own[number[rows]]
    write_results(frame, run / "results.csv")
    return run


@pytest.fixture
def large_run(many_subjects_run: Path, tmp_path: Path) -> Path:
    """24 subjects; GM volume differences: dm 2, pgan 4, identity 4, each with its own noise of SD 0.2."""
    run = Path(shutil.copytree(many_subjects_run, tmp_path / "large"))
    rng = np.random.default_rng(0)
    means = {"dm": 2.0, "pgan": 4.0, "identity": 4.0}
    return change_values(run, {name: m + rng.normal(0, 0.2, 24) for name, m in means.items()})


def row(found: Verdict, method: str) -> VerdictRow:
    return next(row for row in found.rows if row.method == method)


def test_the_primary_endpoint_comes_first_and_all_main_measures_follow(large_run: Path) -> None:
    found = judge(large_run)
    assert len(found.measures) == len(MAIN_MEASURES) == 8
    assert (found.measures[0].metric, found.measures[0].tissue) == GM
    assert found.measures[0] == found.endpoint
    assert [m.primary for m in found.measures] == [True, *[False] * 7]
    assert found.endpoint.region == "within ±10 % of the original's error"
    assert all(len(row.cells) == 8 for row in found.rows)
    assert [row.role for row in found.rows] == ["method", "method", "original", "ceiling"]


def test_a_large_difference_makes_a_leader(large_run: Path) -> None:
    found = judge(large_run)
    assert found.leader == "DM"
    assert re.fullmatch(
        r"DM is shown to be better than every other method on GM volume difference, with (49|50|51) % "
        r"less error than the original\.",
        found.sentence,
    )
    cell = row(found, "dm").cells[0]
    assert cell.state == "better"
    assert cell.low < cell.difference < cell.high < 0
    assert (cell.pairs, cell.folds) == (24, 12)
    assert cell.effect_size > 3
    assert cell.change == pytest.approx(0.5, abs=0.03)
    assert row(found, "dm").chance_best > 0.99
    assert math.isnan(row(found, "target").chance_best)
    assert found.judgeable
    assert found.enough == ""


def test_no_difference_is_a_finding(large_run: Path) -> None:
    cell = row(judge(large_run), "pgan").cells[0]
    assert cell.state == "equivalent"
    assert abs(cell.change) < 0.1


def test_the_region_of_equivalence_and_the_endpoint_are_declared(large_run: Path) -> None:
    record = unsealed(large_run / "run.json")
    declared = {"metric": "dice", "tissue": "WM", "equivalence": 0.001}
    record["invocations"][-1]["config"] = {"endpoint": declared, "controls": ["identity", "pgan"]}
    (large_run / "run.json").write_text(json.dumps(record))
    evidence = load_evidence([large_run], METRICS)
    assert declared_endpoint(evidence).measure == ("dice", "WM")
    found = verdict(evidence, FORTH)
    assert (found.endpoint.metric, found.endpoint.tissue) == ("dice", "WM")
    assert found.endpoint.region == "within ±0.1 % of the original's error"
    assert len(found.measures) == 8
    assert row(found, "pgan").role == "control"
    gm = [m.metric for m in found.measures].index("volume_difference_mm3") + 1
    assert row(found, "pgan").cells[gm].state == "unclear"


def test_two_tied_methods_do_not_lead(large_run: Path) -> None:
    rng = np.random.default_rng(1)
    found = judge(change_values(large_run, {"pgan": 2.0 + rng.normal(0, 0.2, 24)}))
    assert found.leader == ""
    assert found.sentence.startswith(
        "pGAN and DM are shown to be better than the original on GM volume difference; which method is "
        "best is not"
    )
    (pair,) = found.rivals
    assert (pair.first, pair.second) == ("pGAN", "DM")
    assert pair.state in {"unclear", "equivalent"}


def test_harm_is_named(large_run: Path) -> None:
    rng = np.random.default_rng(2)
    found = judge(change_values(large_run, {"pgan": 6.0 + rng.normal(0, 0.2, 24)}))
    harm = next(h for h in found.harms if "volume" in h.measure.lower() and h.method == "pGAN")
    assert harm.certain
    assert harm.text.startswith("pGAN makes GM volume difference worse than the original: ")
    assert row(found, "pgan").cells[0].state == "worse"


def test_few_folds_are_not_judged_and_it_is_said_what_would_be_enough(make_run: MakeRun) -> None:
    found = judge(make_run(volumes=False))  # four subjects in two folds
    assert not found.judgeable
    assert found.leader == ""
    assert found.sentence.startswith("This design cannot judge which method is best")
    assert {cell.state for row in found.rows for cell in row.cells} == {"not judged"}
    assert "4 subjects in common" in row(found, "dm").cells[0].reason
    assert found.limits.startswith("4 subjects, 2 folds, 1 seed per method")
    assert "at least 3 folds and 6 subjects" in found.enough


def test_two_folds_of_many_subjects_are_not_judged(large_run: Path) -> None:
    frame = read_results(large_run / "results.csv")
    write_results(frame.assign(fold=frame["fold"] % 2), large_run / "results.csv")
    found = judge(large_run)
    assert row(found, "dm").cells[0].reason == "2 folds; at least 3 are needed"
    assert not found.judgeable


def test_a_failed_subject_is_named_in_the_headline(finished_run: Path) -> None:
    found = judge(finished_run)
    assert row(found, "pgan").failed == ("s2", "s3")
    assert "pGAN failed on 2 of 8 subjects (s2, s3)." in found.sentence
    assert row(found, "pgan").cells[0].pairs == 6


def test_a_failed_subject_does_not_make_a_leader(large_run: Path) -> None:
    # pgan is best where it works. With its four failures ranked last, it is not shown to be.
    rng = np.random.default_rng(3)
    values = 1.5 + rng.normal(0, 0.2, 24)
    run = change_values(large_run, {"pgan": values})
    assert judge(run).leader == "pGAN"
    values[:4] = np.nan
    found = judge(change_values(run, {"pgan": values}))
    assert found.leader != "pGAN"
    assert "pGAN failed on 4 of 24 subjects" in found.sentence


def test_absent_folds_methods_and_seeds_are_named(make_run: MakeRun) -> None:
    run = make_run(subjects=SUBJECTS[:8], volumes=False)
    frame = read_results(run / "results.csv")
    lost = (frame["method"] == "dm") & (frame["fold"] == 2)
    write_results(frame[~lost], run / "results.csv")
    for record in run.glob("cells/dm/*/fold-2/seed-0/cell.json"):
        record.unlink()
    record = unsealed(run / "run.json")
    record["methods"]["unet"] = {"uses": "unet", "title": "U-Net"}
    (run / "run.json").write_text(json.dumps(record))
    found = judge(run)
    assert set(found.incomplete) == {
        "DM: fold 2 of seed 0 is absent.",
        "unet: planned, and absent.",
    }
    assert found.sentence.startswith("The run is incomplete, and this may change:")
    assert row(found, "dm").failed == ()


def test_a_seed_that_was_planned_is_missed(make_run: MakeRun) -> None:
    run = make_run(volumes=False)
    record = unsealed(run / "run.json")
    record["invocations"][-1]["config"] = {"seeds": [0, 1]}
    (run / "run.json").write_text(json.dumps(record))
    (text,) = judge(run).incomplete
    assert text.endswith("folds 0, 1 of seed 1 are absent.")


def test_a_volume_correction_has_one_seed(make_run: MakeRun) -> None:
    run = make_run(volumes=False, corrections={"volume_ratio": 2.0})
    record = unsealed(run / "run.json")
    record["invocations"][-1]["config"] = {"seeds": [0, 1]}
    (run / "run.json").write_text(json.dumps(record))
    (text,) = judge(run).incomplete
    assert "DM" in text
    assert "olume" not in text
    frame = read_results(run / "results.csv")
    lost = (frame["method"] == "volume_ratio") & (frame["fold"] == 1)
    write_results(frame[~lost], run / "results.csv")
    for cell in run.glob("cells/volume_ratio/*/fold-1/seed-0/cell.json"):
        cell.unlink()
    assert [one for one in judge(run).incomplete if "olume" in one and "fold 1 of seed 0" in one]


def test_a_complete_run_has_no_banner(large_run: Path) -> None:
    assert judge(large_run).incomplete == ()


def test_methods_are_compared_with_every_volume_correction(large_run: Path) -> None:
    frame = read_results(large_run / "results.csv")
    extra = frame[(frame["method"] == "identity") & (frame["metric"] == GM[0])]
    corrections = [extra.assign(method=name) for name in ("offset", "ratio")]
    write_results(pd.concat([frame, *corrections]), large_run / "results.csv")
    rng = np.random.default_rng(4)
    run = change_values(
        large_run,
        {"offset": 3.0 + rng.normal(0, 0.2, 24), "ratio": 3.5 + rng.normal(0, 0.2, 24)},
    )
    roles: dict[str, Role] = {"offset": "volume correction", "ratio": "volume correction"}
    found = judge(run, roles)
    assert {(c.first, c.second, c.state) for c in found.corrections} == {
        ("DM", "offset", "better"),
        ("pGAN", "offset", "worse"),
    }
    image = [m.metric for m in found.measures].index("mse")
    assert row(found, "offset").cells[image].reason == "not measured"
    assert row(found, "offset").failed == ()
    # A correction leads if it is best.
    best = judge(change_values(run, {"ratio": 1.0 + rng.normal(0, 0.2, 24)}), roles)
    assert best.leader == "ratio"


def test_floor_and_ceiling_are_shown_and_never_ranked(large_run: Path) -> None:
    found = judge(large_run, {"pgan": "rescan floor"})
    floor = row(found, "pgan")
    assert (floor.role, floor.cells[0].state) == ("rescan floor", "not judged")
    assert floor.cells[0].mean == pytest.approx(4, abs=0.2)
    assert math.isnan(floor.chance_best)
    assert {one.method for one in found.stability} == {"DM", "Original"}


def test_different_folds_cannot_be_judged_together(large_run: Path) -> None:
    frame = read_results(large_run / "results.csv")
    frame.loc[frame["method"] == "dm", "fold"] = (frame["fold"] + 1) % 12
    write_results(frame, large_run / "results.csv")
    found = judge(large_run)
    assert not found.judgeable
    assert found.enough == "Enough would be runs of all methods on the same folds."


def test_an_endpoint_that_was_not_measured_is_said(make_run: MakeRun) -> None:
    run = make_run(subjects=SUBJECTS[:8], volumes=False)
    frame = read_results(run / "results.csv")
    write_results(frame[frame["tissue"] == ""], run / "results.csv")
    found = judge(run)
    assert "There is nothing to compare" in found.sentence
    assert {row.cells[0].state for row in found.rows} == {"not judged"}
    assert [m.metric for m in found.measures] == ["volume_difference_mm3", "mse", "ahd"]


def test_without_the_original_nothing_is_judged_against_it(make_run: MakeRun) -> None:
    run = make_run(subjects=SUBJECTS, gammas={"dm": 0.62, "pgan": 0.66}, volumes=False)
    rng = np.random.default_rng(5)
    values = {"dm": 2 + rng.normal(0, 0.2, 24), "pgan": 4 + rng.normal(0, 0.2, 24)}
    found = judge(change_values(run, values))
    assert {cell.state for row in found.rows for cell in row.cells} == {"not judged"}
    assert found.leader == "DM"  # rivals are compared all the same
