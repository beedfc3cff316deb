"""Where voxels lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from policy import Case, Study, catalogue_of, image, repack, tissue

CASES: list[Case] = []
geometry = catalogue_of("Geometry", CASES)

SFORM_CODE, QFORM_CODE, QUATERNION, UNITS = 254, 252, 256, 123


def _recorded(kind: str):
    def look(folder: Path, out: str) -> None:
        notes = json.loads((folder / "out" / "run.json").read_text())["notes"]
        assert kind in {note["kind"] for note in notes}

    return look


def _all(study: Study, **options: Any) -> Study:
    study.manifest()
    study.made = 0
    for row in study.rows:
        study.scan(row["path"], second=row["session"] == "B", **options)
    return study


@geometry("qform and sform codes of 0 in all scans", "noted", "left-right-guessed")
def no_codes(study: Study) -> list[str]:
    return _all(study, code=0).cohort()


@geometry(
    "the same in a run: the note stands in its record",
    "noted",
    "left-right-guessed",
    result=_recorded("left-right-guessed"),
)
def no_codes_run(study: Study) -> list[str]:
    return _all(study, code=0).run()


@geometry("codes of 0 in one scan of a pair", "refused", "1_A.nii.gz")
def one_without_codes(study: Study) -> list[str]:
    study.manifest()
    study.made = 0
    study.scan("1_A.nii.gz", code=0)
    return study.cohort()


@geometry("Analyze beside NIfTI in a pair", "refused", "1_A.img")
def analyze(study: Study) -> list[str]:
    study.manifest()
    data, affine = tissue(1)
    nib.save(nib.AnalyzeImage(data.astype(np.float32), affine), study.root / "1_A.img")
    study.rows[0]["path"] = "1_A.img"
    return study.cohort()


@geometry("a broken quaternion beside a sound sform", "noted", "2_B.nii.gz")
def quaternion(study: Study) -> list[str]:
    study.manifest()

    def change(raw: bytearray) -> bytearray:
        raw[QUATERNION : QUATERNION + 12] = np.array([1, 1, 1], dtype="<f4").tobytes()
        return raw

    repack(study.root / "2_B.nii.gz", change)
    return study.cohort()


@geometry("a broken quaternion and no sform", "refused", "2_B.nii.gz")
def only_quaternion(study: Study) -> list[str]:
    study.manifest()

    def change(raw: bytearray) -> bytearray:
        raw[QUATERNION : QUATERNION + 12] = np.array([1, 1, 1], dtype="<f4").tobytes()
        raw[SFORM_CODE : SFORM_CODE + 2] = bytes(2)
        return raw

    repack(study.root / "2_B.nii.gz", change)
    return study.cohort()


@geometry("qform and sform that differ in left and right", "refused", "1_A.nii.gz")
def mirrored(study: Study) -> list[str]:
    study.manifest()
    study.made = 0
    data, affine = tissue(1)
    made = image(data, affine)
    flipped = affine.copy()
    flipped[0] *= -1
    made.set_qform(flipped, code=1)
    nib.save(made, study.root / "1_A.nii.gz")
    return study.cohort()


@geometry("a singular affine", "refused", "1_B.nii.gz")
def singular(study: Study) -> list[str]:
    study.manifest()
    study.made = 1

    def flat(made: nib.Nifti1Image) -> None:
        affine = np.array(made.affine)
        affine[:, 2] = affine[:, 1]
        made.set_sform(affine, code=1)
        made.set_qform(None, code=0)

    study.scan("1_B.nii.gz", second=True, header=flat)
    return study.cohort()


def _in_metres(made: nib.Nifti1Image) -> None:
    affine = np.array(made.affine)
    affine[:3] /= 1000
    made.set_sform(affine, code=1)
    made.set_qform(affine, code=1)
    made.header.set_xyzt_units("meter")


@geometry("voxels in metres", "noted", "units-converted")
def metres(study: Study) -> list[str]:
    return _all(study, header=_in_metres).cohort()


def _sheared(made: nib.Nifti1Image) -> None:
    affine = np.array(made.affine)
    affine[0, 1] += 0.5
    made.set_sform(affine, code=1)
    made.set_qform(None, code=0)


@geometry("an sform with a shear", "noted", "sheared")
def shear(study: Study) -> list[str]:
    return _all(study, header=_sheared).cohort()


def _moved_qform(made: nib.Nifti1Image) -> None:
    affine = np.array(made.affine)
    affine[1, 3] += 10
    made.set_qform(affine, code=1)


@geometry("a qform that lies elsewhere than the sform", "noted", "qform-sform-differ")
def two_places(study: Study) -> list[str]:
    return _all(study, header=_moved_qform).cohort()
