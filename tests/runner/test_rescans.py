"""Rescans as a control of a run, and masks of lesions from a manifest to its results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.errors import CohortError
from harmbench.metrics.lesion_declarations import LESION_METRICS
from harmbench.metrics.suite import METRICS, score_image
from harmbench.report.loading import load_evidence
from harmbench.results import CEILING, RESCAN, read_results
from harmbench.runner.experiment import Summary, run_experiment
from harmbench.runner.folder import RunFolder
from harmbench.runner.rescore import rescore_run
from harmbench.statistics import summarize
from harmbench.study.rescan import floor_ratios
from harmbench.volume import Volume, read, write

pytestmark = pytest.mark.usefixtures("thresholds")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four subjects on A and B; s0 to s2 twice on B; s1 and s3 have lesions, masked on B alone."""
    lines = ["subject,group,scanner,visit,path,lesions"]
    random = np.random.default_rng(0)
    for number, pair in enumerate(tiny_pairs(4)):
        sick = number % 2 == 1
        for scanner, visits in {"A": 1, "B": 2 if number < 3 else 1}.items():
            for visit in range(1, visits + 1):
                own = pair.source if scanner == "A" else pair.target
                noise = 0.02 * random.random(own.shape)
                data = np.clip(own.data * 0.95 + noise, 0, 1) * (own.data > 0)
                name = f"s{number}_{scanner}{visit}.nii.gz"
                write(own.with_data(data), tmp_path / "scans" / name)
                mask = ""
                if sick and scanner == "B":
                    lesions = np.zeros(own.shape, np.uint8)
                    middle = tuple(n // 2 for n in own.shape)
                    lesions[middle] = 1
                    mask = f"s{number}_lesions.nii.gz"
                    write(Volume(lesions, own.affine, kind="label"), tmp_path / "scans" / mask)
                group = "MS" if sick else "HC"
                lines.append(f"s{number},{group},{scanner},{visit},{name},{mask}")
    path = tmp_path / "scans" / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def start(study: Path, tmp_path: Path) -> Callable[..., Summary]:
    def run(*overrides: str, name: str = "out", **changes: object) -> Summary:
        settings = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2"]
        settings += ["volume_controls=[]", *overrides]
        found = load_experiment(None, settings, {"data.path": study, **changes})
        return run_experiment(found, tmp_path / name, say=lambda _: None)

    return run


def test_visits_may_serve_as_rescans_alone(start, tmp_path: Path) -> None:
    ways = "A-to-B,B-to-A"
    assert start(**{"data.direction": ways}).complete
    assert start("split.visits=first", name="first", **{"data.direction": ways}).complete
    everything, first = (read_results(tmp_path / n / "results.csv") for n in ("out", "first"))
    mse = {
        name: own[(own["metric"] == "mse") & (own["method"] == "identity")]
        for name, own in (("all", everything), ("first", first))
    }
    counts = {n: own.groupby("direction")["subject"].count().to_dict() for n, own in mse.items()}
    assert counts["all"] == {"A-to-B": 4, "B-to-A": 7}
    assert counts["first"] == {"A-to-B": 4, "B-to-A": 4}
    # Rescans of the target scanner are scored as before.
    own, other = (
        found[(found["method"] == RESCAN) & (found["direction"] == "A-to-B")]
        for found in (everything, first)
    )
    assert len(own)
    np.testing.assert_array_equal(own["value"].to_numpy(), other["value"].to_numpy())
    words = RunFolder(tmp_path / "first").read_record().split.words
    assert any("the others are rescans" in word for word in words)


def test_a_rescan_is_scored_against_the_reference(start, tmp_path: Path, study: Path) -> None:
    assert start(**{"data.direction": "A-to-B"}).complete
    results = read_results(tmp_path / "out" / "results.csv")
    own = results[results["method"] == RESCAN]
    assert set(own["subject"]) == {"s0", "s1", "s2"}
    assert set(own["status"]) <= {"ok", "undefined", "empty"}
    rescan, reference = (read(study.parent / f"s0_B{visit}.nii.gz") for visit in (2, 1))
    (mse, *_) = score_image(
        rescan.data, reference.data, None, reference.data > 0, spacing_mm=reference.spacing_mm
    )
    found = own[(own["subject"] == "s0") & (own["metric"] == "mse")]["value"]
    assert found.item() == pytest.approx(mse.value, rel=1e-6)
    assert RunFolder(tmp_path / "out").read_record().methods[RESCAN].title == "Rescan"


def test_rescans_are_controls_and_not_ranked(start, tmp_path: Path) -> None:
    start(**{"data.direction": "A-to-B"})
    results = read_results(tmp_path / "out" / "results.csv")
    summary = summarize(results, METRICS)
    assert summary.loc[summary["method"] == RESCAN, "rank"].isna().all()
    # Subjects without a rescan do not make methods incomplete, nor the other way round.
    mine = summary[(summary["method"] == "identity") & (summary["metric"] == "mse")]
    assert mine["complete"].all()
    evidence = load_evidence([tmp_path / "out"], METRICS)
    assert list(evidence.methods)[-2:] == [RESCAN, CEILING]
    assert RESCAN not in evidence.candidates
    ratios = floor_ratios(results, METRICS)
    assert set(ratios["method"]) == {"identity", "histogram_matching"}
    assert (ratios["subjects"] == 3).all()


def test_a_direction_without_rescans_has_no_such_cells(start, tmp_path: Path) -> None:
    start(**{"data.direction": "B-to-A"})
    results = read_results(tmp_path / "out" / "results.csv")
    assert RESCAN not in set(results["method"])
    assert RESCAN not in RunFolder(tmp_path / "out").read_record().methods
    assert not start("ceiling=false", name="bare", **{"data.direction": "A-to-B"}).failed
    bare = read_results(tmp_path / "bare" / "results.csv")
    assert not {RESCAN, CEILING} & set(bare["method"])


def test_rescans_are_skipped_and_scored_again_as_others_are(start, tmp_path: Path) -> None:
    start(**{"data.direction": "A-to-B"})
    out = tmp_path / "out"
    before = (out / "results.csv").read_bytes()
    files = {p: p.stat().st_mtime_ns for p in out.rglob("scores.csv")}
    start(**{"data.direction": "A-to-B"})
    assert {p: p.stat().st_mtime_ns for p in out.rglob("scores.csv")} == files
    assert rescore_run(out, say=lambda _: None).complete
    assert (out / "results.csv").read_bytes() == before
    rescore_run(out, ["scoring.stacking_axis=1"], say=lambda _: None)
    rows = read_results(out / "results.csv")
    assert set(rows.loc[rows["method"] == RESCAN, "subject"]) == {"s0", "s1", "s2"}


def lesion_rows(results: pd.DataFrame) -> pd.DataFrame:
    return results[results["metric"].isin(list(LESION_METRICS))]


def test_subjects_with_masks_have_metrics_of_lesions(start, tmp_path: Path) -> None:
    start()
    results = read_results(tmp_path / "out" / "results.csv")
    own = lesion_rows(results)
    assert set(own["subject"]) == {"s1", "s3"}
    # Masked on B alone, and known in both directions: a subject's scans share a grid.
    assert set(own["direction"]) == {"A-to-B", "B-to-A"}
    errors = own[(own["metric"] == "mse_lesions") & (own["method"] == CEILING)]
    assert (errors["value"] == 0).all()
    assert set(own["metric"]) == set(LESION_METRICS)
    summary = summarize(results, {**METRICS, **LESION_METRICS})
    counts = summary[(summary["metric"] == "mse_lesions") & (summary["group"] == "all")]
    assert (counts["n"] == np.where(counts["method"] == RESCAN, 1, 2)).all()
    assert (counts["n_absent"] == 0).all()


def test_another_mask_is_scored_again_without_a_new_fit(start, study: Path, tmp_path: Path) -> None:
    start()
    out = tmp_path / "out"
    cells = {cell: record.key("fit") for cell, record in RunFolder(out).cells()}
    mask = study.parent / "s1_lesions.nii.gz"
    volume = read(mask, kind="label")
    data = volume.data.copy()
    data[tuple(n // 2 - 1 for n in data.shape)] = 1
    before = lesion_rows(read_results(out / "results.csv"))
    write(Volume(data, volume.affine, kind="label"), mask)
    with pytest.raises(CohortError, match=r"s1_lesions\.nii\.gz has changed"):
        rescore_run(out, say=lambda _: None)
    start()
    after = lesion_rows(read_results(out / "results.csv"))
    assert {cell: record.key("fit") for cell, record in RunFolder(out).cells()} == cells
    merged = before.merge(after, on=[c for c in before.columns if c not in ("value", "status")])
    one = merged[(merged["subject"] == "s1") & (merged["method"] == "identity")]
    assert (one["value_x"].fillna(-1) != one["value_y"].fillna(-1)).any()


def test_a_mask_on_another_grid_is_refused(start, study: Path, tmp_path: Path) -> None:
    mask = study.parent / "s1_lesions.nii.gz"
    volume = read(mask, kind="label")
    write(Volume(volume.data[:-1], volume.affine, kind="label"), mask)
    with pytest.raises(CohortError, match="mask of lesions"):
        start()
    assert not (tmp_path / "out").exists()
