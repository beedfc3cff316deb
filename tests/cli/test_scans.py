"""Commands on scans: cohort, segment, score, apply, prepare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.metrics.suite import METRICS
from harmbench.runner.score_summary import summarize_scores
from harmbench.volume import Volume, read, write


def test_cohort_lists_scans_or_every_problem(call, make_manifest, tmp_path) -> None:
    manifest = make_manifest(2)
    code, out, _ = call("cohort", "--data", manifest, "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["scans"]) == 4
    assert [row["direction"] for row in found["directions"]] == ["A-to-B", "B-to-A"]
    _, out, _ = call("cohort", "--data", manifest, "--scans")
    assert "s1_B.nii.gz" in out
    (tmp_path / "scans" / "s0_A.nii.gz").write_text("x")
    code, _, err = call("cohort", "--data", manifest)
    assert code == 2
    assert "subject s0, session A" in err


def test_segment_one_scan(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(1)
    scan, labels = tmp_path / "scans" / "s0_A.nii.gz", tmp_path / "labels.nii.gz"
    code, out, _ = call("segment", scan, labels, "--segmenter", "thresholds", "--json")
    assert code == 0
    found = read(labels, kind="label")
    rows = {row["tissue"]: row for row in json.loads(out)}
    volume_mm3 = float(np.prod(found.spacing_mm))
    for tissue, label in (("CSF", 1), ("GM", 2), ("WM", 3)):
        assert rows[tissue]["voxels"] == np.count_nonzero(found.data == label)
        assert rows[tissue]["volume_mm3"] == pytest.approx(
            rows[tissue]["voxels"] * volume_mm3, rel=1e-2
        )
    dark = read(scan)
    write(dark.with_data(dark.data * 0.1), tmp_path / "dark.nii.gz")
    code, _, err = call(
        "segment", tmp_path / "dark.nii.gz", tmp_path / "no.nii.gz", "--segmenter", "thresholds"
    )
    assert code == 2
    assert "too dark" in err
    assert not (tmp_path / "no.nii.gz").exists()


def test_score_files_and_folders(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(2)
    scans = tmp_path / "scans"
    a, b = scans / "s0_A.nii.gz", scans / "s0_B.nii.gz"
    tail = ["--segmenter", "thresholds", "--json", "--jobs", "1"]
    code, out, _ = call("score", "--volume", a, "--reference", b, "--source", a, *tail)
    assert code == 0
    rows = {(r["metric"], r["tissue"]): r for r in json.loads(out)}
    expected = np.mean((read(a).data.astype(float) - read(b).data) ** 2)
    assert rows["mse", ""]["value"] == pytest.approx(expected)
    assert rows["gradient_correlation", ""]["value"] == pytest.approx(1)
    assert {m for m, _ in rows} == set(METRICS)
    for name, session in (("made", "A"), ("real", "B")):
        for subject in ("s0", "s1"):
            volume = read(scans / f"{subject}_{session}.nii.gz")
            write(volume, tmp_path / name / f"{subject}.nii.gz")
    folders = ["--volume", tmp_path / "made", "--reference", tmp_path / "real"]
    code, _, _ = call("score", *folders, *tail, "--out", tmp_path / "scores.csv")
    assert code == 0
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert set(frame["name"]) == {"s0", "s1"}
    correlation = frame[frame["metric"] == "gradient_correlation"]
    assert (correlation["status"] == "undefined").all()
    assert "source_value" not in frame
    (tmp_path / "real" / "s1.nii.gz").unlink()
    code, _, err = call("score", *folders, *tail)
    assert code == 2
    assert "s1.nii.gz: no such file" in err


def test_score_prints_means_with_those_of_the_sources(
    call, thresholds, make_manifest, tmp_path
) -> None:
    make_manifest(2)
    errors = []
    for subject in ("s0", "s1"):
        a, b = (read(tmp_path / "scans" / f"{subject}_{session}.nii.gz") for session in "AB")
        half = a.with_data((a.data + b.data) / 2)
        for name, volume in (("made", half), ("real", b), ("input", a)):
            write(volume, tmp_path / name / f"{subject}.nii.gz")
        errors.append(((a.data.astype(float) - b.data) ** 2).mean())
    folders = [f"--{n}={tmp_path / p}" for n, p in (("volume", "made"), ("reference", "real"))]
    more = [f"--source={tmp_path / 'input'}", "--segmenter", "thresholds", "--jobs", "1"]
    code, out, err = call("score", *folders, *more, "--out", tmp_path / "scores.csv")
    assert code == 0
    assert f"2 volumes; scores: {tmp_path / 'scores.csv'}" in err
    assert max(map(len, out.splitlines())) <= 80
    lines = {line.strip().split("  ")[0]: line.split() for line in out.splitlines()}
    assert out.split()[:6] == ["metric", "better", "unit", "n", "mean", "source"]
    mean = np.mean(errors)
    assert lines["mse"] == ["mse", "lower", "2", f"{mean / 4:.3g}", f"{mean:.3g}"]
    assert "higher" in lines["dice GM"]
    assert "near" in lines["relative_volume_difference CSF"]
    frame = pd.read_csv(tmp_path / "scores.csv").query("metric == 'mse'")
    np.testing.assert_allclose(frame["source_value"], errors, rtol=1e-5)
    np.testing.assert_allclose(frame["value"], np.divide(errors, 4), rtol=1e-4)


def test_score_shows_volume_corrections_of_the_sources(
    call, thresholds, make_manifest, tmp_path
) -> None:
    make_manifest(4)
    for subject in ("s0", "s1", "s2", "s3"):
        a, b = (read(tmp_path / "scans" / f"{subject}_{session}.nii.gz") for session in "AB")
        for name, volume in (("made", b), ("real", b), ("input", a)):
            write(volume, tmp_path / name / f"{subject}.nii.gz")
    folders = [f"--{n}={tmp_path / p}" for n, p in (("volume", "made"), ("reference", "real"))]
    more = [f"--source={tmp_path / 'input'}", "--segmenter", "thresholds", "--jobs", "1"]
    code, out, err = call("score", *folders, *more)
    assert code == 0
    assert "each of 4 people corrected by a fit on the others" in err
    lines = [line.strip() for line in out.splitlines()]
    assert any(line.startswith("scored GM") for line in lines)
    assert any(line.startswith("volume_ratio WM") for line in lines)
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = call("score", *folders, *more, "--study", "--json")
    assert code == 0
    study = {(r["volumes"], r["tissue"]): r for r in json.loads(out)}
    assert study["scored", "GM"]["error_ml"] == 0
    assert study["scored", "GM"]["icc_a1"] == 1
    assert study["source", "GM"]["n"] == 4
    code, out, _ = call("score", *folders, *more, "--json")
    assert code == 0
    (row,) = [
        r
        for r in json.loads(out)
        if (r["name"], r["metric"], r["tissue"]) == ("s0", "volume_difference_mm3", "GM")
    ]
    assert row["value"] == 0
    assert row["volume_offset_value"] is not None
    assert row["volume_ratio_value"] is not None


def test_summaries_of_scores_count_what_is_missing() -> None:
    frame = pd.DataFrame(
        {
            "metric": ["mse", "mse", "dice", "dice"],
            "tissue": ["", "", "GM", "GM"],
            "value": [1.0, 3.0, np.nan, 0.5],
            "unit": "1",
            "source_value": [2.0, 6.0, 0.9, 0.25],
        }
    )
    assert summarize_scores(frame) == [
        {"metric": "mse", "better": "lower", "unit": "", "n": "2", "mean": "2", "source": "4"},
        {
            "metric": "dice GM",
            "better": "higher",
            "unit": "",
            "n": "1/2",
            "mean": "0.5",
            # Of the one volume with a value: 0.9 is of the other.
            "source": "0.25",
        },
    ]
    assert "source" not in summarize_scores(frame.drop(columns="source_value"))[0]


def test_score_in_several_processes_says_why_there_are_no_labels(
    call, make_manifest, tmp_path
) -> None:
    make_manifest(3)
    for name, session in (("made", "A"), ("real", "B")):
        for subject in ("s0", "s1", "s2"):
            volume = read(tmp_path / "scans" / f"{subject}_{session}.nii.gz")
            if (name, subject) == ("made", "s1"):
                volume = volume.with_data(volume.data * 0)
            if (name, subject) == ("made", "s2"):
                volume = volume.with_data(np.where(volume.data > 0.7, np.nan, volume.data))
            write(volume, tmp_path / name / f"{subject}.nii.gz")
    folders = ["--volume", tmp_path / "made", "--reference", tmp_path / "real", "--json"]
    found = {}
    for jobs in (1, 2):
        code, out, err = call("score", *folders, "--segmenter", "hmrf", "--jobs", jobs)
        assert code == 1, err
        assert "s2.nii.gz: " in err
        assert "voxels are NaN or infinite" in err
        assert f"{tmp_path / 'made' / 's1.nii.gz'}: hmrf: the volume has no voxel above 0" in err
        found[jobs] = json.loads(out)
    assert found[1] == found[2]
    assert list(dict.fromkeys(row["name"] for row in found[1])) == ["s0", "s1", "s2"]
    dice = [row for row in found[1] if row["metric"] == "dice"]
    assert {row["status"] for row in dice if row["name"] == "s1"} == {"segmentation_failed"}
    assert {row["status"] for row in dice if row["name"] == "s0"} == {"ok"}
    assert {row["status"] for row in found[1] if row["name"] == "s2"} == {"failed"}


def test_bad_volumes_are_named_with_what_is_wrong(call, make_manifest, tmp_path) -> None:
    make_manifest(1)
    reference = tmp_path / "scans" / "s0_B.nii.gz"
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    brain = scan.data > 0
    halves = np.where(np.indices(scan.shape)[0] < 8, 0.3, 0.7)
    noise = np.random.default_rng(0).normal(0, 0.02, scan.shape)
    cases = {
        "zero": (0 * scan.data, "no voxel above 0"),
        "constant": (0.5 * brain, "fewer than three"),
        "two": (halves * brain, "fewer than three"),
        "missing": ((halves + noise) * brain, "GM died out"),
        "nan": (np.where(scan.data > 0.7, np.nan, scan.data), "voxels are NaN or infinite"),
        "negative": (scan.data - 0.1, "intensities from -0.1"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / f"{name}.nii.gz"
        write(scan.with_data(data.astype(np.float32)), path)
        code, _, err = call("segment", path, tmp_path / "labels.nii.gz", "--segmenter", "hmrf")
        assert code == 2
        assert str(path) in err
        assert message in err
        assert not (tmp_path / "labels.nii.gz").exists()
        files = ["--volume", path, "--reference", reference, "--segmenter", "hmrf", "--json"]
        code, out, err = call("score", *files)
        assert message in err
        if name in ("nan", "negative"):
            assert code == 2
            continue
        assert code == 1
        tissue = [row for row in json.loads(out) if row["tissue"]]
        assert {row["status"] for row in tissue} == {"segmentation_failed"}


def test_score_refuses_other_grids_and_ranges(call, thresholds, make_manifest, tmp_path) -> None:
    make_manifest(1)
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    write(Volume(scan.data[1:], scan.affine), tmp_path / "cut.nii.gz")
    write(scan.with_data(scan.data * 500), tmp_path / "raw.nii.gz")
    reference = tmp_path / "scans" / "s0_B.nii.gz"
    for name, message in (("cut", "has shape (15, 24, 20)"), ("raw", "--rescale percentile")):
        code, _, err = call(
            "score", "--volume", tmp_path / f"{name}.nii.gz", "--reference", reference
        )
        assert code == 2
        assert message in err
    code, _, err = call("score", "--volume", reference, "--reference", tmp_path / "scans")
    assert code == 2
    assert "all files or all folders" in err


@pytest.mark.parametrize(
    "options", [("--crop", "\N{SUPERSCRIPT TWO}x2x2"), ("--memory", "nan"), ("--jobs", "0")]
)
def test_odd_numbers_of_prepare(call, make_manifest, tmp_path: Path, options) -> None:
    code, _, err = call("prepare", make_manifest(2), tmp_path / "prepared", *options)
    assert code == 2
    assert "internal error" not in err
