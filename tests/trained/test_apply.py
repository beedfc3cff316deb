"""A trained model on new scans, raw and prepared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from applying import refusal, tiny_preparation
from scipy.ndimage import map_coordinates

from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.runner.experiment import run_experiment
from harmbench.storage import file_key
from harmbench.trained import Model, export_model, load_model
from harmbench.trained.apply import apply_model
from harmbench.trained.scans import ApplyOptions
from harmbench.volume import Volume, read, write

REAL = Path(__file__).parents[3] / "shared" / "data" / "open_ms_prepared"


def _stored_oddly(data: np.ndarray, affine: np.ndarray, path: Path) -> nib.Nifti1Image:
    """Store a RAS array as an oblique P-S-L file with a qform and another code in its sform."""
    turned = np.transpose(data, (1, 2, 0))[::-1, :, ::-1]
    move = np.zeros((4, 4))
    move[1, 0], move[2, 1], move[0, 2], move[3, 3] = -1, 1, -1, 1
    move[:3, 3] = [data.shape[0] - 1, data.shape[1] - 1, 0]
    image = nib.Nifti1Image(turned.astype(np.int16), affine @ move)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=3)
    nib.save(image, path)
    return image


def _oblique(spacing: tuple[float, float, float]) -> np.ndarray:
    """Axes turned by 0.2 and 0.15 rad."""
    c, s, d, t = np.cos(0.2), np.sin(0.2), np.cos(0.15), np.sin(0.15)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, d, -t], [0, t, d]]
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = [-15, -20, 11]
    return affine


def test_a_prepared_scan_is_harmonized_as_it_is(finished, scan: Path, tmp_path: Path) -> None:
    model = load_model(export_model(finished(), tmp_path / "model"))
    (path,) = apply_model(model, [scan], tmp_path / "out1", ApplyOptions(seed=4))
    source = read(scan)
    assert path == tmp_path / "out1" / "scan_harmonized.nii.gz"
    expected = model.method.harmonize(source, model.task).data * (source.data > 0)
    assert np.allclose(read(path).data, expected, atol=1e-6)
    note = json.loads(path.with_name("scan_harmonized.json").read_text())
    assert note["Model"]["SHA256"] == model.record.key
    assert note["Model"]["Method"] == "histogram_matching"
    assert note["SourcesSHA256"] == [file_key(scan)]
    assert (note["Direction"], note["Seeds"], note["NSamples"]) == ("A-to-B", [4], 1)
    assert (note["Input"], note["Units"], note["Preparation"]) == ("prepared", "prepared", None)
    assert [step["name"] for step in note["Steps"]] == ["histogram_matching", "finish"]
    assert note["Notes"] == []
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    apply_model(model, [scan], tmp_path / "out1", ApplyOptions(seed=4))
    assert before == {p.name: p.read_bytes() for p in path.parent.iterdir()}


@pytest.mark.parametrize("units", ["prepared", "scan"])
def test_a_raw_scan_comes_back_onto_its_own_oblique_grid(
    finished, tmp_path: Path, units: str
) -> None:
    model = load_model(finished("identity", tiny_preparation()))
    source = tiny_pairs(1, seed=5)[0].source
    raw = np.round(source.data * 700)
    affine = _oblique((2, 2, 2))
    stored = _stored_oddly(raw, affine, tmp_path / "raw.nii.gz")
    options = ApplyOptions(units=units)  # type: ignore[arg-type]
    (path,) = apply_model(model, [tmp_path / "raw.nii.gz"], tmp_path / "applied", options)
    made = nib.load(path)
    assert made.shape == stored.shape
    assert made.get_data_dtype() == np.float32
    assert np.array_equal(made.affine, stored.affine)
    assert np.array_equal(made.get_qform(), stored.get_qform())
    assert np.array_equal(made.get_sform(), stored.get_sform())
    assert (int(made.header["qform_code"]), int(made.header["sform_code"])) == (1, 3)
    low, high = np.percentile(raw[raw > 0], (0.1, 99.9))
    clipped = np.clip(raw, low, high) * (raw > 0)
    expected = clipped if units == "scan" else np.clip((raw - low) / (high - low), 0, 1) * (raw > 0)
    # No voxel moves, so that only rounding is left.
    assert np.allclose(read(path).data, expected, atol=1e-5 * expected.max())
    note = json.loads(path.with_name("raw_harmonized.json").read_text())
    assert (note["Input"], note["Units"]) == ("raw", units)
    assert note["Preparation"] == model.record.preparation
    names = [step["name"] for step in note["Steps"]]
    assert names == ["strip", "bias", "resample", "rescale", "finish", "restore"]


def test_preparing_and_undoing_gives_a_simulated_scan_back(finished, tmp_path: Path) -> None:
    """With `identity`, bias correction included, in the scan's own units and grid.

    Errors relative to the brain's range of intensities (0.1st to 99.9th percentile). Measured on
    simulated raw scans at 2 mm (1.5T: 2.00 x 1.95 x 1.95 mm, noisy; 3T: 2 mm), root mean square:

    | scan | common grid | linear | bspline | correlation with the input |
    |---|---|---|---|---|
    | 3T | 2 mm, the scan's own | 0.0011 | 0.0011 | 0.99999: clipping, else below 2e-7 |
    | 1.5T | 2 mm | 0.054 | 0.044 | 0.960, 0.974: noise is smoothed |
    | 1.5T | 1 mm | 0.031 | 0.016 | 0.988, 0.997 |

    Here at 4 mm, against the same two interpolations done by scipy.
    """
    cohort = make_phantom(
        PhantomSettings(subjects=1, spacing_mm=4.0, product="raw"), tmp_path / "raw", jobs=1
    )
    model = load_model(finished("identity"))
    for session, exact in (("1.5T", False), ("3T", True)):
        path = cohort.scans["sub-01", session].path
        mask = path.with_name(path.name.replace("_T1w", "_label-brain_desc-truth_mask"))
        settings = tiny_preparation(
            strip={"method": "mask"},
            bias={"iterations": (20, 20), "shrink_factor": 2},
            spacing_mm=4.0,
        )
        prepared = model.record.model_copy(update={"preparation": settings})
        (made,) = apply_model(
            Model(prepared, model.method, model.task),
            [path],
            tmp_path / f"back-{session}",
            ApplyOptions(units="scan", force=True),
            [mask],
            say=lambda _: None,
        )
        scan, back, brain = read(path), read(made), read(mask, kind="label").data > 0
        assert back.same_grid(scan)
        assert not back.data[~brain].any()
        low, high = np.percentile(scan.data[brain], (0.1, 99.9))
        error = (back.data - scan.data)[brain] / (high - low)
        if exact:
            inside = np.abs(error) < 1e-5
            assert inside.mean() > 0.995, "only the clipped voxels differ"
        else:
            alone = (_there_and_back(scan, 4.0) - scan.data)[brain] / (high - low)
            assert np.sqrt(np.mean(error**2)) < 1.05 * np.sqrt(np.mean(alone**2))
            assert np.sqrt(np.mean(error**2)) > 1e-3


def _there_and_back(scan: Volume, spacing_mm: float) -> np.ndarray:
    """Interpolate linearly onto isotropic voxels and back, with scipy."""
    ratio = spacing_mm / np.array(scan.spacing_mm)
    shape = np.floor((np.array(scan.shape) - 1) / ratio + 1e-3).astype(int) + 1
    there = np.indices(shape) * ratio[:, None, None, None]
    once = map_coordinates(scan.data, there, order=1)
    return map_coordinates(once, np.indices(scan.shape) / ratio[:, None, None, None], order=1)


def test_samples_give_mean_and_spread(finished, scan: Path, tmp_path: Path) -> None:
    model = load_model(finished("noisy"), method=f"{tmp_path}/noisy.py:Noisy")
    singles = []
    for seed in (3, 4, 5):
        (path,) = apply_model(model, [scan], tmp_path / f"one{seed}", ApplyOptions(seed=seed))
        assert not (path.parent / "scan_desc-sd.nii.gz").exists()
        singles.append(read(path).data.astype(float))
    (path,) = apply_model(model, [scan], tmp_path / "all", ApplyOptions(seed=3, n_samples=3))
    assert np.allclose(read(path).data, np.mean(singles, axis=0), atol=1e-6)
    sd = read(tmp_path / "all" / "scan_desc-sd.nii.gz")
    assert np.allclose(sd.data, np.std(singles, axis=0, ddof=1), atol=1e-6)
    assert sd.data.max() > 0.01
    note = json.loads((tmp_path / "all" / "scan_harmonized.json").read_text())
    assert (note["Seeds"], note["NSamples"], note["Notes"]) == ([3, 4, 5], 3, [])
    said: list[str] = []
    model = load_model(tmp_path / "out/cells/identity/A-to-B/fold-0/seed-0")
    apply_model(model, [scan], tmp_path / "id", ApplyOptions(n_samples=2), say=said.append)
    assert not read(tmp_path / "id" / "scan_desc-sd.nii.gz").data.any()
    assert "draws no random numbers" in said[0]
    note = json.loads((tmp_path / "id" / "scan_harmonized.json").read_text())
    assert "draws no random numbers" in note["Notes"][0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real scans are not there")
def test_real_scans_end_to_end(thresholds, tmp_path: Path) -> None:
    """Three patients, T1w to contrast-enhanced T1w, every third voxel; intensities scaled by the run."""
    lines = ["subject,group,session,path"]
    for path in sorted(REAL.glob("*T1w.nii.gz")):
        subject, session = path.name.removesuffix(".nii.gz").split("_")
        scan = read(path)
        affine = scan.affine @ np.diag([3, 3, 3, 1])
        data = np.maximum(scan.data[::3, ::3, ::3], 0)
        write(Volume(data, affine), tmp_path / path.name)
        lines.append(f"{subject},MS,{session},{path.name}")
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    experiment = load_experiment(
        None,
        ["scoring.segmenter=thresholds", "device=cpu", "folds.k=3", "folds.run=0"],
        {
            "data.path": tmp_path / "scans.csv",
            "data.direction": "T1w-to-ceT1w",
            "data.rescale": "percentile",
        },
    )
    run_experiment(experiment, tmp_path / "out", say=lambda _: None)
    cell = tmp_path / "out/cells/histogram_matching/T1w-to-ceT1w/fold-0/seed-0"
    folder = export_model(cell, tmp_path / "model")
    model = load_model(folder)
    (subject,) = json.loads((cell / "cell.json").read_text())["subjects"]
    (path,) = apply_model(model, [tmp_path / f"{subject}_T1w.nii.gz"], tmp_path / "new")
    assert np.allclose(
        read(path).data, read(cell / "volumes" / f"{subject}.nii.gz").data, atol=1e-6
    )
    wrong = tmp_path / f"{subject}_ceT1w.nii.gz"
    assert "is it a scan of ceT1w?" in refusal(model, [wrong], tmp_path / "none")


def test_command_line(
    finished, scan: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    cell = finished()
    code, out, err = call("export", cell, "--out", tmp_path / "model")
    assert (code, out.strip()) == (0, str(tmp_path / "model")), err
    command = ["apply", tmp_path / "model", scan, "--out", tmp_path / "o"]
    code, out, err = call(*command, "--n-samples", 2, "--input", "prepared", "--seed", 1)
    assert code == 0, err
    assert out.strip() == str(tmp_path / "o" / "scan_harmonized.nii.gz")
    code, _, err = call(*command, "--input", "cooked")
    assert code == 2
    assert "input 'cooked'; allowed: auto, prepared, raw" in err
    (tmp_path / "model" / "model" / "landmarks.safetensors").write_bytes(b"x")
    code, _, err = call(*command)
    assert code == 2
    assert "changed, added or missing" in err
