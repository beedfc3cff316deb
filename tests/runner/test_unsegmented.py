"""Volumes without labels, from the segmenter's failure to the exit code, and back after a repair."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harmbench.results import read_results
from harmbench.storage import read_json, write_json
from harmbench.volume import read, write

FAULTS = {
    "exit code": "exit 1",
    "own words": "echo 'Not enough classes detected to init KMeans' >&2; exit 255",
    "killed": "kill -KILL $$",
    "no output": "exit 0",
    "damaged output": "echo text > ${out}_seg.nii.gz",
    "no space": "echo 'No space left on device' >&2; exit 1",
}


@pytest.fixture
def run(call, make_manifest, tmp_path: Path):
    """Run the identity on two subjects with FAST into a folder; returns (code, standard error)."""
    manifest = make_manifest(2)

    def start(out: str, *more: object) -> tuple[int, str]:
        command = ["run", "--data", manifest, "--folds", 2, "--device", "cpu", "--fold", 0]
        command += ["--direction", "A-to-B", "--segmenter", "fast", "--out", tmp_path / out]
        code, _, err = call(
            *command, "--set", "controls=[identity]", "--set", "volume_controls=[]", *more
        )
        return code, err

    return start


def scores(out: Path) -> pd.DataFrame:
    return read_results(out / "results.csv")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_of_the_tool_is_tried_again(fsl, run, call, tmp_path: Path, fault: str) -> None:
    assert run("clean")[0] == 0
    fsl.shell(f"test $# -eq 0 && exit 1\n{FAULTS[fault]}")
    code, err = run("out")
    assert code == 1
    assert "0 of 2 cells are done, 2 are incomplete" in err
    # The reason is told once for all cells, with the scans.
    assert err.count("no-tissue-scores: fast: FAST") == 1
    assert "subject s0, session A" in err
    assert "run it again" in err
    assert "harmbench-fast-" not in err
    rows = scores(tmp_path / "out")
    assert set(rows["status"][rows["tissue"] != ""]) == {"segmentation_failed"}
    assert set(rows["status"][rows["metric"] == "mse"]) == {"ok"}
    for record in (tmp_path / "out").rglob("cell.json"):
        assert read_json(record)["status"] == "incomplete"
    # Still broken: nothing is taken for done.
    assert call("rescore", tmp_path / "out")[0] == 1
    fsl.good()
    if fault == "own words":
        assert call("rescore", tmp_path / "out")[0] == 0
    else:
        assert run("out")[0] == 0
    assert scores(tmp_path / "out").equals(scores(tmp_path / "clean"))
    assert read_json(next((tmp_path / "out").rglob("cell.json")))["unsegmented"] == {}
    before = fsl.calls()
    assert run("out")[0] == 0
    assert fsl.calls() == before


def test_what_follows_from_the_volume_is_kept(
    fsl, run, call, blank_figures, tmp_path: Path
) -> None:
    # FAST ends with success and calls the whole brain CSF.
    fsl.good(edit="labels = (labels > 0).astype(np.uint8)")
    code, err = run("out")
    assert code == 1
    assert "fast: CSF has 100.0% of the brain" in err
    assert "run it again" not in err
    rows = scores(tmp_path / "out")
    assert set(rows["status"][rows["tissue"] != ""]) == {"segmentation_implausible"}
    before = fsl.calls()
    code, err = run("out")
    assert code == 1
    assert "2 are incomplete" in err
    assert fsl.calls() == before
    assert scores(tmp_path / "out").equals(rows)
    code, _, _ = call("report", tmp_path / "out", "--out", tmp_path / "report")
    assert code == 0
    page = next((tmp_path / "report").glob("*.html")).read_text()
    assert "CSF has 100.0% of the brain" in page
    assert "Failed and incomplete cells" in page


def test_errors_that_older_versions_stored_are_tried_again(fsl, run, tmp_path: Path) -> None:
    assert run("out")[0] == 0
    clean = scores(tmp_path / "out")
    for note in (tmp_path / "out").rglob("segmentations/*.json"):
        known = read_json(note)
        old = {name: known[name] for name in ("key", "segmenter", "version")}
        write_json(note, {**old, "error": "fast: FAST failed: exit code 255"})
    for path in (tmp_path / "out").rglob("scores.csv"):
        frame = pd.read_csv(path)
        missing = frame["tissue"].notna()
        frame.loc[missing, "value"] = np.nan
        frame.loc[missing, "status"] = "segmentation_failed"
        frame.to_csv(path, index=False)
    assert run("out")[0] == 0
    assert scores(tmp_path / "out").equals(clean)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "note", "old note", "other grid"])
def test_damaged_labels_are_made_again(fsl, run, tmp_path: Path, damage: str) -> None:
    assert run("out")[0] == 0
    clean = scores(tmp_path / "out")
    for path in (tmp_path / "out").rglob("segmentations/*.nii.gz"):
        note = path.with_name(path.name.replace(".nii.gz", ".json"))
        whole = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "text":
            path.write_text("no image")
        elif damage == "note":
            note.write_text('{"key": ')
        elif damage == "old note":
            note.write_text(json.dumps(["a list"]))
        else:
            labels = read(path, kind="label")
            write(type(labels)(labels.data[1:], labels.affine, "label"), path)
    for path in (tmp_path / "out").rglob("scores.csv"):
        path.unlink()
    code, err = run("out")
    assert code == 0, err
    assert scores(tmp_path / "out").equals(clean)


def test_a_scan_with_a_repeated_value_is_noted_at_the_door(
    fsl, run, make_manifest, tmp_path: Path
) -> None:
    path = tmp_path / "scans" / "s1_B.nii.gz"
    scan = read(path)
    write(scan.with_data(np.minimum(scan.data, np.quantile(scan.data[scan.data > 0], 0.8))), path)
    code, err = run("out")
    assert code == 0, err
    assert "note: repeated-value: one value fills more than 5 %" in err
    assert "(subject s1, session B)" in err
    kinds = [note["kind"] for note in read_json(tmp_path / "out" / "run.json")["notes"]]
    assert kinds.count("repeated-value") == 1


def test_one_method_that_spoils_its_volumes_is_counted(run, fsl, tmp_path: Path) -> None:
    adapter = tmp_path / "flat.py"
    adapter.write_text(
        "from harmbench.method import Method\n\n\n"
        "class Flat(Method):\n"
        "    def harmonize(self, source, task):\n"
        "        return source.with_data((source.data > 0) * 0.5)\n"
    )
    code, err = run("out", "--method", f"{adapter}:Flat")
    assert code == 1
    assert "2 of 3 cells are done, 1 are incomplete" in err
    assert "subject s0: fast: the brain has fewer than three different intensities" in err
    assert "no-tissue-scores" not in err
    rows = scores(tmp_path / "out")
    failed = rows[rows["status"] == "segmentation_failed"]
    assert len(set(failed["method"])) == 1
    assert not failed.empty


@pytest.mark.parametrize("name", ["FLAIR", "T1map", "PDw"])
def test_contrasts_without_an_order_are_refused_before_any_work(
    call, fsl, make_manifest, tmp_path: Path, name: str
) -> None:
    manifest = make_manifest(2)
    for path in manifest.parent.glob("*.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", f"_{name}.nii.gz")))
    manifest.write_text(manifest.read_text().replace(".nii.gz", f"_{name}.nii.gz"))
    command = ["run", "--data", manifest, "--folds", 2, "--out", tmp_path / "out"]
    code, _, err = call(*command)
    assert code == 2
    assert f"contrast {name}; allowed: T1w, UNIT1, T2w" in err
    assert not (tmp_path / "out").exists()
    scan = tmp_path / "scans" / f"s0_A_{name}.nii.gz"
    for more in (["segment", scan, tmp_path / "l.nii.gz"], ["score", "--volume", scan]):
        tail = ["--reference", scan] if more[0] == "score" else []
        code, _, err = call(*more, *tail, "--segmenter", "fast")
        assert code == 2
        assert str(scan) in err
    assert (
        call("segment", scan, tmp_path / "l.nii.gz", "--segmenter", "fast", "--contrast", "T1w")[0]
        == 0
    )


def test_the_contrast_is_recorded_and_reaches_the_segmenter(run, call, fsl, tmp_path: Path) -> None:
    fsl.good(edit="labels = np.digitize(image.get_fdata(), [1e-6, 0.2, 0.4]).astype(np.uint8)")
    code, err = run("out", "--set", "scoring.contrast=T2w")
    assert code == 0, err
    assert "segmenter: fast (FSL 6.0.0:abc), T2w" in err
    assert read_json(tmp_path / "out" / "run.json")["segmenter"]["contrast"] == "T2w"
    assert all("-t 2" in one for one in fsl.calls())
    labels = read(tmp_path / "out" / "segmentations" / "s0_A_fast.nii.gz", kind="label")
    scan = read(tmp_path / "scans" / "s0_A.nii.gz")
    assert scan.data[labels.data == 1].mean() > scan.data[labels.data == 3].mean()
    assert call("rescore", tmp_path / "out", "--set", "scoring.contrast=T1w")[0] == 0
    again = read(tmp_path / "out" / "segmentations" / "s0_A_fast.nii.gz", kind="label")
    assert np.array_equal(again.data, np.array([0, 3, 2, 1])[labels.data])
