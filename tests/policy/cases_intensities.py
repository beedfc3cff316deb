"""Values of voxels, and masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from policy import Case, Study, catalogue_of, tissue

CASES: list[Case] = []
intensity = catalogue_of("Intensities", CASES)
mask = catalogue_of("Masks", CASES)


def _zscored(data: np.ndarray) -> np.ndarray:
    brain = data > 0
    values = (data - data[brain].mean()) / data[brain].std()
    return np.where(brain, values, 0).astype(np.float32)


def _all(study: Study, change, **options) -> Study:
    study.manifest()
    study.made = 0
    for row in study.rows:
        study.scan(row["path"], change, second=row["session"] == "B", **options)
    return study


def _whole_brains(folder: Path, out: str) -> None:
    rows = json.loads(out)["scans"]
    brain = tissue(1)[0] > 0
    expected = brain.sum() * 512 / 1000
    for row in rows:
        assert abs(row["foreground_ml"] - expected) < 0.2 * expected


@intensity("values from 0 to 1, background 0", "accepted")
def unit(study: Study) -> list[str]:
    return study.manifest().cohort()


@intensity("values of any scale, `--rescale percentile`", "accepted")
def scaled(study: Study) -> list[str]:
    return _all(study, lambda data: data * 900).cohort("--rescale", "percentile")


@intensity("values of any scale without `--rescale`", "refused", "expected 0 to 1")
def unscaled(study: Study) -> list[str]:
    return _all(study, lambda data: data * 900).cohort()


@intensity("NaN in the brain", "refused", "NaN")
def nan(study: Study) -> list[str]:
    def change(data: np.ndarray) -> np.ndarray:
        data[8, 12, 10] = np.nan
        return data

    study.manifest()
    study.scan("1_A.nii.gz", change, number=1)
    return study.cohort()


@intensity("infinite values", "refused", "1_A.nii.gz")
def infinite(study: Study) -> list[str]:
    def change(data: np.ndarray) -> np.ndarray:
        data[8, 12, 10] = np.inf
        return data

    study.manifest()
    study.scan("1_A.nii.gz", change, number=1)
    return study.cohort("--rescale", "percentile")


@intensity("a constant scan", "refused", "1_A.nii.gz")
def constant(study: Study) -> list[str]:
    study.manifest()
    study.scan("1_A.nii.gz", lambda data: np.full_like(data, 0.5))
    return study.cohort("--rescale", "percentile")


@intensity("a constant scan without `--rescale`", "refused", "all its voxels have the value 0.5")
def constant_in_range(study: Study) -> list[str]:
    study.manifest()
    study.scan("1_A.nii.gz", lambda data: np.full_like(data, 0.5))
    return study.cohort()


@intensity("16-bit numbers without a sign, declared as signed", "refused", "(int16)")
def wrapped(study: Study) -> list[str]:
    def change(data: np.ndarray) -> np.ndarray:
        return np.round(data / data.max() * 60000).astype(np.uint16).view(np.int16)

    return _all(study, change).cohort("--rescale", "percentile")


@intensity("a brain of 18 ml, such as one in other units", "noted", "small-foreground")
def small_brain(study: Study) -> list[str]:
    study.manifest()
    study.made = 0
    for row in study.rows:
        affine = np.diag([0.25, 0.25, 0.25, 1]) @ tissue(study.made + 1)[1]
        study.scan(row["path"], affine=affine, second=row["session"] == "B")
    return study.cohort()


def _half(data: np.ndarray) -> np.ndarray:
    return np.where(np.indices(data.shape)[2] < 10, data, 0).astype(np.float32)


@intensity("half a brain beside the whole one of the same person", "noted", "brains-differ")
def half_a_brain(study: Study) -> list[str]:
    study.manifest()
    study.scan("1_A.nii.gz", _half, number=1)
    return study.cohort()


@intensity("a brain that the field of view cuts", "noted", "brain-cut")
def cut(study: Study) -> list[str]:
    return _all(study, lambda data: data[4:-4, 5:-5, 5:-5]).cohort()


@mask("NaN outside a given mask: becomes 0", "noted", "not-finite-outside-mask")
def nan_outside(study: Study) -> list[str]:
    study.manifest()
    study.made = 0
    for row in study.rows:
        study.scan(
            row["path"],
            lambda data: np.where(data > 0, data, np.nan),
            number=1 if row["subject"] == "1" else 2,
            second=row["session"] == "B",
        )
        row["mask"] = f"mask_{row['path']}"
        number = int(row["subject"])
        study.brain(row["mask"], lambda _, n=number: (tissue(n)[0] > 0).astype(np.uint8))
    return study.cohort()


@mask("an empty mask", "refused", "mask.nii.gz")
def empty(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["mask"] = "mask.nii.gz"
    study.brain("mask.nii.gz", np.zeros_like)
    return study.cohort()


@mask("a mask of 0 and 255", "noted", "mask.nii.gz")
def mask_255(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["mask"] = "mask.nii.gz"
    study.brain("mask.nii.gz", lambda found: found * 255)
    return study.cohort()


@intensity(
    "z-scored values, background 0, `--rescale percentile`",
    "noted",
    "brain-by-background",
    result=_whole_brains,
)
def zscored(study: Study) -> list[str]:
    return _all(study, _zscored).cohort("--rescale", "percentile", "--json")


@intensity(
    "values from -1024, as of CT, `--rescale percentile`",
    "noted",
    "brain-by-background",
    result=_whole_brains,
)
def from_minus_1024(study: Study) -> list[str]:
    changed = _all(study, lambda data: data * 1000 - 1024)
    return changed.cohort("--rescale", "percentile", "--json")


@intensity("values around 0 without one value of the background", "refused", "lie below 0")
def no_background(study: Study) -> list[str]:
    noise = np.random.default_rng(1).normal(0, 0.2, (16, 24, 20)).astype(np.float32)
    return _all(study, lambda data: _zscored(data) + noise).cohort("--rescale", "percentile")


@mask("z-scored values with a mask, `--rescale percentile`", "accepted", result=_whole_brains)
def zscored_masked(study: Study) -> list[str]:
    study.manifest()
    study.made = 0
    for row in study.rows:
        number = int(row["subject"])
        study.scan(row["path"], _zscored, number=number, second=row["session"] == "B")
        row["mask"] = f"mask_{row['path']}"
        study.brain(row["mask"], lambda _, n=number: (tissue(n)[0] > 0).astype(np.uint8))
    return study.cohort("--rescale", "percentile", "--json")


@intensity("a mask given as a scan", "refused", "1_A.nii.gz")
def mask_as_scan(study: Study) -> list[str]:
    study.manifest()
    study.scan("1_A.nii.gz", lambda data: (data > 0).astype(np.float32), number=1)
    return study.cohort()


@mask("a mask on another grid", "refused", "mask.nii.gz")
def mask_elsewhere(study: Study) -> list[str]:
    study.manifest()
    for row in study.rows:
        row["mask"] = "mask.nii.gz"
    study.brain("mask.nii.gz", lambda found: found[:, :-1])
    return study.cohort()


@intensity("noise around the brain, `--rescale percentile`", "noted", "no-background")
def noise_around(study: Study) -> list[str]:
    noise = np.random.default_rng(1).rayleigh(0.01, (16, 24, 20)).astype(np.float32)
    return _all(study, lambda data: data + noise).cohort("--rescale", "percentile")


@intensity("values of another scale that happen to lie below 1", "noted", "low-range")
def low_range(study: Study) -> list[str]:
    return _all(study, lambda data: data * 0.01).cohort()


def _masked(study: Study, change) -> list[str]:
    study.manifest()
    study.made = 0
    for row in study.rows:
        number = int(row["subject"])
        study.scan(row["path"], number=number, second=row["session"] == "B")
        row["mask"] = f"mask_{row['path']}"
        study.brain(row["mask"], lambda _, n=number: change(tissue(n)[0] > 0).astype(np.uint8))
    return study.cohort()


@mask("a mask of half of a stripped brain", "noted", "mask-leaves-out")
def half_a_mask(study: Study) -> list[str]:
    right = np.arange(16)[:, None, None] >= 8
    return _masked(study, lambda brain: brain & right)


@mask("masks of some scans of a manifest only", "noted", "mask-missing")
def some_masks(study: Study) -> list[str]:
    _masked(study, lambda brain: brain)
    study.rows[0]["mask"] = ""
    study.table()
    return study.cohort()
