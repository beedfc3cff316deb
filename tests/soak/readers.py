"""Every reader of files that harmbench did not write, or may find damaged, with good files to start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from harmbench.cohorts.data import DataSettings, read_cohort
from harmbench.config import load_experiment, load_preparation, shipped
from harmbench.errors import ConfigError
from harmbench.methods.histogram_matching import HistogramMatching
from harmbench.results import COLUMNS, read_results
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.inputs import read_inputs
from harmbench.runner.records import read_record
from harmbench.runner.run_record import RunRecord
from harmbench.trained.store import read_model_record
from harmbench.volume import read, read_space

__all__ = ["READERS", "Reader"]


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader.

    Attributes:
        make: writes good files into an empty folder, and returns those that may be damaged.
        read: reads a file that `make` returned.
        endings: other endings that the file may get.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    endings: tuple[str, ...] = ()


def _images(folder: Path) -> list[Path]:
    dice = np.random.default_rng(0)
    data = dice.uniform(0, 100, (6, 7, 5))
    found = []
    for name, kind, image in (
        ("a.nii", np.int16, nib.Nifti1Image),
        ("b.nii.gz", np.float32, nib.Nifti1Image),
        ("c.nii.bz2", np.uint8, nib.Nifti1Image),
        ("d.nii.gz", np.float64, nib.Nifti2Image),
        ("e.img", np.int16, nib.Nifti1Pair),
        ("f.img", np.int16, nib.Spm99AnalyzeImage),
        ("g.mgz", np.float32, nib.MGHImage),
        ("h.mgh", np.uint8, nib.MGHImage),
    ):
        nib.save(image(data.astype(kind), np.diag([1.5, 1, 2, 1])), folder / name)
        found.append(folder / name)
    return [*found, folder / "e.hdr", folder / "f.hdr", folder / "f.mat"]


def _read_image(path: Path) -> None:
    image = path.with_suffix(".img") if path.suffix in {".hdr", ".mat"} else path
    read_space(image)
    read(image)


def _scan(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


def _manifest(folder: Path) -> list[Path]:
    lines = ["subject,group,session,path,mask,scanner,visit,exclude"]
    for subject in ("s1", "s2"):
        for session in "AB":
            _scan(folder / f"{subject}_{session}.nii")
            lines.append(f"{subject},HC,{session},{subject}_{session}.nii,,{session},1,")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    side = folder / "s1_A.json"
    side.write_text('{"MagneticFieldStrength": 3, "Manufacturer": "A", "Simulated": false}')
    return [path, side]


def _bids(folder: Path) -> list[Path]:
    root = folder / "study"
    texts = {
        "dataset_description.json": '{"Name": "study", "BIDSVersion": "1.9.0"}',
        "participants.tsv": "participant_id\tgroup\tage\nsub-01\tHC\t31\nsub-02\tMS\t44\n",
        "sub-01/sub-01_sessions.tsv": "session_id\tacq_time\nses-A\t2001-01-01\nses-B\tn/a\n",
        "sub-01/ses-A/sub-01_ses-A_scans.tsv": "filename\tquality\nanat/sub-01_ses-A_T1w.nii\tgood\n",
    }
    for subject in ("01", "02"):
        for session in "AB":
            place = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_T1w"
            _scan(root / f"{place}.nii")
            texts[f"{place}.json"] = json.dumps(
                {"MagneticFieldStrength": 3 if session == "A" else 1.5, "Modality": "MR"}
            )
    for name, text in texts.items():
        (root / name).write_text(text)
    return [root / name for name in texts]


def _read_bids(path: Path) -> None:
    read_cohort(DataSettings(path=next(p for p in path.parents if p.name == "study")))


def _configurations(folder: Path) -> list[Path]:
    found = []
    for name in ("demo", "fast", "paper"):
        shutil.copyfile(shipped(name), folder / f"{name}.yaml")
        found.append(folder / f"{name}.yaml")
    (folder / "anchors.yaml").write_text(
        "name: &n study\nmethods:\n  a: &a {uses: unet, iterations: 10}\n  b: *a\nseeds: [0, 1]\n"
    )
    return [*found, folder / "anchors.yaml"]


def _read_configuration(path: Path) -> None:
    problems = []
    for load in (load_experiment, load_preparation):
        try:
            load(path)
        except ConfigError as error:
            problems.append(error)
    # A value that is not valid is named by its setting; the file is what the user gave.
    if problems:
        raise ConfigError(f"{path}: {problems[0]}")


def _results(folder: Path) -> list[Path]:
    rows = [f"identity,A-to-B,0,0,s{n},HC,hmrf,mse,whole,0.{n}1,1,ok" for n in range(4)]
    path = folder / "results.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return [path]


def _read_results(path: Path) -> None:
    CellScores(path, {}).trusted()
    read_results(path)


def _records(folder: Path) -> list[Path]:
    cell = {"format": 1, "method": "dm", "source": "A", "target": "B", "fold": 0, "seed": 0}
    cell |= {"keys": {"fit": "0" * 64}, "stages": {"fit": {"wall_s": 1.0, "count": 1}}}
    run = {"format": 1, "name": "n", "directions": [{"source": "A", "target": "B"}]}
    run |= {"invocations": [{"id": "1", "command": ["run"]}], "folds": {"k": 2, "seed": 0}}
    for name, values in (("cell.json", cell), ("run.json", run)):
        (folder / name).write_text(json.dumps(values, indent=2))
    head = "subject,group,session,path,mask,sha256,mask_sha256,rescale"
    (folder / "inputs.csv").write_text(f"{head}\ns1,HC,A,/a.nii,,{'0' * 64},,none\n")
    return [folder / name for name in ("cell.json", "run.json", "inputs.csv")]


def _read_record(path: Path) -> None:
    if path.suffix == ".csv":
        read_inputs(path)
    else:
        read_record(CellRecord if path.name == "cell.json" else RunRecord, path)


def _models(folder: Path) -> list[Path]:
    method = HistogramMatching()
    method._landmarks = np.linspace(0, 1, 64, dtype=np.float32)
    (folder / "model").mkdir()
    method.save(folder / "model")
    record = {"format": 1, "label": "x", "uses": "identity", "files": {}, "key": "0" * 64}
    (folder / "model.json").write_text(json.dumps(record, indent=2))
    return [folder / "model.json", *sorted((folder / "model").iterdir())]


def _read_model(path: Path) -> None:
    if path.name == "model.json":
        read_model_record(path.parent)
    else:
        HistogramMatching.load(path.parent)


READERS: Mapping[str, Reader] = {
    "images": Reader(
        _images, _read_image, (".nii", ".mgh", ".hdr", ".HEAD", ".par", ".mnc", ".gii")
    ),
    "manifest": Reader(
        _manifest, lambda path: read_cohort(DataSettings(path=path.parent / "manifest.csv"))
    ),
    "BIDS": Reader(_bids, _read_bids),
    "configuration": Reader(_configurations, _read_configuration),
    "results": Reader(_results, _read_results),
    "records": Reader(_records, _read_record),
    "models": Reader(_models, _read_model),
}
