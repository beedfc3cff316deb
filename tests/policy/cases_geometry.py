"""Where voxels lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from policy import Case, Study, catalogue_of, image, repack, tissue

CASES: list[Case] = []
geometry = catalogue_of("Geometry", CASES)

SFORM_CODE, QFORM_CODE, QUATERNION, UNITS = 254, 252, 256, 123
DIMENSIONS, VOXEL_OFFSET, SLOPE = 40, 108, 112


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


def _in(unit: int, factor: float):
    """Voxel sizes times `factor`, with a code for the unit of length."""

    def change(made: nib.Nifti1Image) -> None:
        affine = np.array(made.affine)
        affine[:3] *= factor
        made.set_sform(affine, code=1)
        made.set_qform(affine, code=1)
        made.header["xyzt_units"] = unit

    return change


def _of_8_mm(folder: Path, out: str) -> None:
    assert {row["spacing_mm"] for row in json.loads(out)["scans"]} == {"8.01x8.01x8"}


@geometry("voxels in metres, without a unit", "noted", "metres are assumed", result=_of_8_mm)
def metres_unsaid(study: Study) -> list[str]:
    return _all(study, header=_in(0, 1e-3)).cohort("--json")


@geometry(
    "voxels in micrometres, called millimetres", "noted", "units-not-believed", result=_of_8_mm
)
def micrometres_unsaid(study: Study) -> list[str]:
    return _all(study, header=_in(2, 1e3)).cohort("--json")


@geometry("voxels that no scan has, in any unit", "noted", "voxel-size-implausible")
def huge_voxels(study: Study) -> list[str]:
    return _all(study, header=_in(2, 1e6)).cohort()


@geometry("a code of a unit that NIfTI does not define", "noted", "units-unknown", result=_of_8_mm)
def unknown_unit(study: Study) -> list[str]:
    return _all(study, header=_in(5, 1)).cohort("--json")


def _edited(study: Study, place: int, content: bytes) -> list[str]:
    def change(raw: bytearray) -> bytearray:
        raw[place : place + len(content)] = content
        return raw

    study.manifest()
    for row in study.rows:
        repack(study.root / row["path"], change)
    return study.cohort("--json")


def _read_right(folder: Path, out: str) -> None:
    means = {row["subject"] + row["session"]: row["mean"] for row in json.loads(out)["scans"]}
    data, _ = tissue(1)
    assert means["1A"] == pytest.approx(data[data > 0].mean(), rel=1e-5)


@geometry("a fourth axis of 0 volumes", "accepted", result=_read_right)
def no_fourth_axis(study: Study) -> list[str]:
    return _edited(study, DIMENSIONS, np.array([4, 16, 24, 20, 0], dtype="<i2").tobytes())


@geometry("voxels that would begin inside the header", "noted", "voxel-offset", result=_read_right)
def offset_of_0(study: Study) -> list[str]:
    return _edited(study, VOXEL_OFFSET, bytes(4))


@geometry("an infinite scl_slope", "noted", "scaling-ignored", result=_read_right)
def infinite_slope(study: Study) -> list[str]:
    return _edited(study, SLOPE, np.array([np.inf, 0], dtype="<f4").tobytes())
