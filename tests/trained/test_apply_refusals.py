"""Scans that a model is not applied to, and what can be forced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from applying import refusal, tiny_preparation

from harmbench.contract import tiny_pairs
from harmbench.errors import HarmbenchError
from harmbench.files.names import image_name
from harmbench.trained import Model, export_model, load_model
from harmbench.trained.apply import apply_model
from harmbench.trained.scans import ApplyOptions
from harmbench.volume import Volume, read, write


def test_what_the_model_was_not_trained_for_is_refused(
    finished, scan: Path, tmp_path: Path
) -> None:
    model = load_model(finished(A="1.5", B="3"))
    out = tmp_path / "none"
    source, target = tiny_pairs(1, seed=5)[0].source, tiny_pairs(1, seed=5)[0].target
    near = np.diag([1.09, 1.09, 1.09, 1])
    ok = write(Volume(source.data, source.affine @ near), tmp_path / "new" / "ok.nii.gz")
    coarse = Volume(source.data, source.affine @ np.diag([1.12, 1, 1, 1]))
    thick = write(coarse, tmp_path / "new" / "thick.nii.gz")
    other = write(target, tmp_path / "new" / "other.nii.gz")
    text = refusal(model, [scan, thick, other], out)
    assert "nothing was written" in text
    assert "--force" in text
    assert f"{thick}: its voxels are 2.24 x 2 x 2 mm, in training they were 2 x 2 x 2 mm" in text
    assert f"{other}: its intensities are not those of A" in text
    assert "is it a scan of B?" in text
    assert f"{scan}:" not in text
    scan.with_name("ok.json").write_text(json.dumps({"MagneticFieldStrength": 3}))
    text = refusal(model, [ok], out)
    assert (
        "MagneticFieldStrength 3, training sources had 1.5: it looks like a scan of the target"
        in text
    )
    scan.with_name("ok.json").write_text(json.dumps({"MagneticFieldStrength": 1.494}))
    said: list[str] = []
    apply_model(model, [scan, ok], tmp_path / "fine", say=said.append)
    assert said == []
    (path, _) = apply_model(
        model, [thick, other], tmp_path / "forced", ApplyOptions(force=True), say=said.append
    )
    assert [line.split(": ")[1] for line in said] == [str(thick), str(other)]
    notes = json.loads(path.with_name("thick_harmonized.json").read_text())["Notes"]
    assert notes[0].startswith("forced: its voxels are 2.24")


def test_raw_voxels_are_those_of_the_training_scans_before_preparation(
    finished, tmp_path: Path
) -> None:
    cell = finished("identity", tiny_preparation())
    assert load_model(cell).record.training.source_raw_spacings_mm == ()
    for path in (tmp_path / "scans").glob("*_A.nii.gz"):
        step = {"name": "reorient", "to": "RAS", "raw_spacing_mm": [1.0, 1.0, 3.00001]}
        path.with_name(f"{image_name(path)}.json").write_text(json.dumps({"Steps": [step]}))
    model = load_model(export_model(cell, tmp_path / "model"))
    assert model.record.training.source_raw_spacings_mm == ((1.0, 1.0, 3.0),)
    assert (
        "| voxels of the raw sources | 1 x 1 x 3 mm |"
        in (tmp_path / "model" / "README.md").read_text()
    )
    source = tiny_pairs(1, seed=5)[0].source
    raw = write(source.with_data(np.round(source.data * 700)), tmp_path / "raw.nii.gz")
    text = refusal(model, [raw], tmp_path / "none")
    assert (
        f"{raw}: its raw voxels are 2 x 2 x 2 mm, those of the training sources were 1 x 1 x 3 mm"
        in text
    )
    # A prepared scan has no raw voxels to compare.
    prepared = write(source, tmp_path / "prepared.nii.gz")
    apply_model(model, [prepared], tmp_path / "fine", say=pytest.fail)


def test_unusable_scans_are_refused_before_any_is_harmonized(
    finished, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "none"
    plain = load_model(finished())
    raw = write(read(scan).with_data(read(scan).data * 700 + 5), tmp_path / "new" / "raw.nii.gz")
    missing = tmp_path / "new" / "missing.nii.gz"
    text = refusal(plain, [scan, raw, missing], out)
    assert f"{raw}: it is a raw scan" in text
    assert "use --input prepared" in text
    assert f"{missing}: no such file" in text
    # What cannot be done cannot be forced.
    assert "it is a raw scan" in refusal(plain, [raw], out, force=True)
    assert "expected 0 to 1" in refusal(plain, [raw], out, input="prepared")
    assert "is for raw scans" in refusal(plain, [scan], out, units="scan")
    masked = plain.record.model_copy(
        update={"preparation": tiny_preparation(strip={"method": "mask"})}
    )
    needs_mask = Model(masked, plain.method, plain.task)
    assert "give --mask" in refusal(needs_mask, [raw], out)
    with pytest.raises(HarmbenchError, match="1 masks for 2 scans"):
        apply_model(plain, [scan, raw], out, masks=[scan])
    with pytest.raises(HarmbenchError, match="two scans have the name scan"):
        apply_model(plain, [scan, tmp_path / "scan.nii"], out)
    taken = write(read(scan), tmp_path / "new" / "x_harmonized.nii.gz")
    with pytest.raises(HarmbenchError, match="would be overwritten"):
        apply_model(plain, [taken, write(read(scan), tmp_path / "x.nii")], tmp_path / "new")


def test_a_run_without_its_scans_can_be_forced(finished, scan: Path, tmp_path: Path) -> None:
    cell = finished()
    for path in (tmp_path / "scans").iterdir():
        path.unlink()
    model = load_model(cell)
    assert model.record.training is None
    assert "training scans are gone" in refusal(model, [scan], tmp_path / "none")
    apply_model(model, [scan], tmp_path / "f", ApplyOptions(force=True), say=lambda _: None)
    assert (tmp_path / "f" / "scan_harmonized.nii.gz").is_file()
