"""What a preparation carries along beside the scans: masks of lesions, and covariates of the subjects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prepared import QUICK, Row

from harmbench.cohorts.bids import read_bids
from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.config import load_experiment, load_preparation
from harmbench.metrics.lesion_declarations import LESION_METRICS
from harmbench.preparation.cohort import prepare_cohort
from harmbench.results import read_results
from harmbench.runner.experiment import run_experiment
from harmbench.storage import read_json
from harmbench.volume import Volume, read, write


@pytest.mark.usefixtures("thresholds")
def test_masks_of_lesions_go_the_way_of_their_scans(
    prepare, manifest, raw_cohort, tmp_path: Path
) -> None:
    """A block of voxels in one session; the simulated lesions of the patient in the other."""
    # Simulated patients have masks on the grids of their raw scans.
    assert set(raw_cohort.lesions) == {
        raw_cohort.scans["sub-02", session].path for session in raw_cohort.sessions
    }
    for path, mask in raw_cohort.lesions.items():
        assert read(mask, kind="label").shape == read(path).shape
    scan = read(raw_cohort.scans["sub-02", "1.5T"].path)
    brain_mask = raw_cohort.scans["sub-02", "1.5T"].mask
    assert brain_mask is not None
    brain = read(brain_mask, kind="label").data
    centre = np.round(np.argwhere(brain).mean(axis=0)).astype(int)
    block = np.zeros(scan.shape, dtype=np.uint8)
    block[tuple(slice(c - 2, c + 3) for c in centre)] = 1
    own = tmp_path / "block.nii.gz"
    write(Volume(block, scan.affine, kind="label", space=scan.space), own)

    def mark(rows: list[Row]) -> None:
        for row in rows:
            known = raw_cohort.lesions.get(Path(row["path"]))
            row["lesions"] = str(known or "")
            if (row["subject"], row["session"]) == ("sub-02", "1.5T"):
                row["lesions"] = str(own)

    assert not prepare(data=manifest(mark)).failed
    cohort = read_bids(tmp_path / "out")
    assert {path.name for path in cohort.lesions.values()} == {
        f"sub-02_ses-{session}_label-lesion_mask.nii.gz" for session in ("1p5T", "3T")
    }
    prepared = cohort.scans["sub-02", "1.5T"]
    found = read(cohort.lesions[prepared.path], kind="label")
    assert set(np.unique(found.data)) == {0, 1}
    assert prepared.mask is not None
    assert (read(prepared.mask, kind="label").data[found.data > 0] > 0).all()
    # The chain takes points of the prepared volume to points of the raw scan.
    chain = read_json(
        prepared.path.parent / "sub-02_ses-1p5T_from-scan_to-prepared_mode-image_xfm.json"
    )
    points = np.argwhere(found.data > 0).mean(axis=0) @ found.affine[:3, :3].T + found.affine[:3, 3]
    for step in chain["Transforms"]:
        matrix = np.array(step["matrix_ras_mm"])
        points = matrix[:3, :3] @ points + matrix[:3, 3]
    wanted = scan.affine[:3, :3] @ centre + scan.affine[:3, 3]
    assert np.linalg.norm(points - wanted) < 1.5
    size = [
        abs(np.linalg.det(v.affine[:3, :3])) * v.data.sum()
        for v in (found, Volume(block, scan.affine))
    ]
    assert size[0] == pytest.approx(size[1], rel=0.25)
    # A run on the prepared scans has the metrics of lesions.
    changes = {"data.path": tmp_path / "out", "data.direction": "3T-to-1.5T"}
    settings = ["scoring.segmenter=thresholds", "device=cpu", "folds.k=2", "controls=[identity]"]
    run_experiment(load_experiment(None, settings, changes), tmp_path / "run", say=lambda _: None)
    rows = read_results(tmp_path / "run" / "results.csv")
    lesions = rows[rows["metric"].isin(list(LESION_METRICS))]
    assert set(lesions["subject"]) == {"sub-02"}
    assert set(lesions["metric"]) == set(LESION_METRICS)


def test_covariates_are_carried(manifest, tmp_path: Path) -> None:
    def add(rows: list[Row]) -> None:
        for row in rows:
            row["age"] = "31.5" if row["subject"] == "sub-01" else "n/a"
            row["site"] = row["subject"][-1]

    path = manifest(add)
    lines = [line.rsplit(",", 1) for line in path.read_text().splitlines()]
    # Two subjects' sites are codes; words make them categories, which stay so.
    path.write_text("\n".join(f"{a},{b}" if b == "site" else f"{a},s{b}" for a, b in lines) + "\n")
    data = DataSettings(path=path, covariates=("site", "age", "group"))
    settings = load_preparation(None, QUICK).settings
    summary = prepare_cohort(data, tmp_path / "out", settings, jobs=1, say=lambda _: None)
    assert not summary.failed
    table = (tmp_path / "out" / "participants.tsv").read_text().splitlines()
    assert [row.split("\t") for row in table] == [
        ["participant_id", "group", "site", "age"],
        ["sub-01", "HC", "s1", "31.5"],
        ["sub-02", "MS", "s2", "n/a"],
    ]
    again = read_cohort(data.model_copy(update={"path": tmp_path / "out"}))
    assert again.covariates == read_cohort(data).covariates
    assert "its age is missing" in " ".join(note.text for note in again.notes)
