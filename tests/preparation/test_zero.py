"""Scans whose 0 does not mean no signal: N4, and what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.cohorts.base import Scan
from harmbench.errors import PreparationError
from harmbench.preparation.align import prepare_scans, restore
from harmbench.preparation.bias import bias_field
from harmbench.preparation.contrasts import check_steps
from harmbench.preparation.scan import clean_scan, read_raw
from harmbench.preparation.settings import BiasSettings, StripSettings
from harmbench.preparation.strip import make_stripper
from harmbench.preparation.zero import count_from_zero, zero_level
from harmbench.volume import Volume, write

SHAPE = (28, 32, 30)
GRID = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
RADIUS = np.sqrt(sum(axis**2 for axis in GRID))
BRAIN = RADIUS < 0.75
AFFINE = np.diag([5.2, 5.2, 5.2, 1])
RANDOM = np.random.default_rng(0)
# Three tissues of 150, 300 and 500, a field of +-20 %, a scalp, and air.
TISSUE = np.select([RADIUS < 0.2, RADIUS < 0.55], [150, 500], 300) * (1 + 0.2 * GRID[1])
HEAD = np.where(BRAIN, TISSUE, np.where(RADIUS < 0.95, 400 * (RADIUS > 0.85), 0))
HEAD = HEAD + np.abs(6 * RANDOM.standard_normal(SHAPE))
STRIPPED = np.where(BRAIN, HEAD, 0)
IN_BRAIN = (HEAD - HEAD[BRAIN].mean()) / HEAD[BRAIN].std()
QUICK = BiasSettings(shrink_factor=1, iterations=(10, 10))


def _volume(data: np.ndarray) -> Volume:
    return Volume(data, AFFINE)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD, 0),
        (STRIPPED, 0),
        (HEAD - 700, -700),
        (HEAD - 350, -350),
        (HEAD + 1000, 1000),
        (STRIPPED - 350, -350),
        ((HEAD - HEAD.mean()) / HEAD.std(), -HEAD.mean() / HEAD.std()),
        (np.where(HEAD > 20, HEAD, -1024), 0),  # a mark in the background, not a measurement
        (np.where(BRAIN, HEAD, -1024), 0),
        (np.where(BRAIN, IN_BRAIN, 0), None),
        (np.where(BRAIN, IN_BRAIN, -1024), None),
        (np.where(BRAIN, (IN_BRAIN + 5) / 10, 0.5), None),
        (-HEAD, None),
        (TISSUE, 0),  # no air in the field of view
    ],
)
def test_the_value_that_means_no_signal(data: np.ndarray, expected: float | None) -> None:
    found = zero_level(_volume(data), BRAIN)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=0.02 * np.ptp(data[BRAIN]))


def _field(data: np.ndarray) -> np.ndarray:
    """N4's field in the brain."""
    counted, _, _ = count_from_zero(_volume(data), BRAIN, multiplied=True)
    return bias_field(counted, BRAIN, QUICK)[BRAIN]


@pytest.fixture(scope="module")
def plain_field() -> np.ndarray:
    """The field of the scan without an offset."""
    return _field(HEAD)


@settings(max_examples=4, deadline=None)
@given(offset=st.one_of(st.floats(-5000, -200), st.floats(200, 5000)), factor=st.floats(0.01, 10))
def test_an_offset_does_not_change_the_field(
    plain_field: np.ndarray, offset: float, factor: float
) -> None:
    np.testing.assert_allclose(_field((HEAD + offset) * factor), plain_field, rtol=0.02)


def test_n4_does_not_take_logarithms_of_a_brain_below_0() -> None:
    with pytest.raises(PreparationError, match=r"\d\d\.\d% of the brain lie below 0"):
        bias_field(_volume(HEAD - 350), BRAIN, QUICK)
    with pytest.raises(PreparationError, match=r"no signal is not known.*bias.method=none"):
        count_from_zero(_volume(np.where(BRAIN, IN_BRAIN, 0)), BRAIN, multiplied=True)


def test_an_unknown_level_does_without_n4() -> None:
    data = np.where(BRAIN, IN_BRAIN, 0)
    counted, zero, (note,) = count_from_zero(_volume(data), BRAIN, multiplied=False)
    assert zero == np.float32(IN_BRAIN[BRAIN].min())
    assert note.kind == "counted-from-darkest"
    assert not counted.data[~BRAIN].any()
    np.testing.assert_allclose(counted.data[BRAIN], IN_BRAIN[BRAIN] - zero, rtol=1e-5, atol=1e-6)


@pytest.fixture
def save(tmp_path: Path):
    """Write a scan and its mask, and return both."""

    def write_both(data: np.ndarray, name: str = "scan.nii.gz") -> Scan:
        mask = write(Volume(BRAIN, AFFINE, kind="label"), tmp_path / "mask.nii.gz")
        return Scan("s", "A", write(_volume(data), tmp_path / name), mask)

    return write_both


def _prepared(scan: Scan, folder: Path, quick, **changes: object):
    own = quick(spacing_mm=None, crop__shape=None, registration__transform="none", **changes)
    clean = clean_scan(scan, make_stripper(own.strip), own)
    return clean, prepare_scans({"A": clean}, "A", own, folder)["A"]


def test_a_shifted_scan_is_prepared_alike_and_comes_back(save, tmp_path: Path, quick) -> None:
    plain, expected = _prepared(save(HEAD), tmp_path, quick)
    shifted, found = _prepared(save(HEAD - 350), tmp_path, quick)
    assert plain.zero == 0
    assert plain.raw.notes == ()
    assert shifted.zero == pytest.approx(-350, abs=10)
    assert {note.kind for note in shifted.raw.notes} == {"counted-from-background"}
    assert shifted.raw.notes[0].where == str(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(found.volume.data, expected.volume.data, atol=0.02)
    back = restore(found.volume, shifted, found, "scan").data
    inside = BRAIN & (found.volume.data > 0) & (found.volume.data < 1)
    np.testing.assert_allclose(back[inside], (HEAD - 350)[inside], atol=1)


@pytest.mark.parametrize("method", ["mask", "none"])
def test_nan_around_the_brain_is_prepared_as_0(save, tmp_path: Path, quick, method: str) -> None:
    _, expected = _prepared(save(STRIPPED), tmp_path, quick, strip__method=method)
    clean, found = _prepared(
        save(np.where(BRAIN, STRIPPED, np.nan)), tmp_path, quick, strip__method=method
    )
    assert {n.kind for n in clean.raw.notes} == {"not-finite-outside-mask"}
    np.testing.assert_array_equal(found.volume.data, expected.volume.data)
    bare = replace(save(np.where(BRAIN, STRIPPED, np.nan)), mask=None)
    volume, mask = read_raw(bare)
    assert mask is None
    assert {n.kind for n in volume.notes} == {"nan-background"}
    with pytest.raises(
        PreparationError, match=r"scan.nii.gz: \d+ voxels are NaN or infinite in the"
    ):
        read_raw(save(np.where(RADIUS < 0.7, STRIPPED, np.nan)))


def test_stripped_z_scores_keep_their_brain() -> None:
    stripper = make_stripper(StripSettings(method="none"))
    np.testing.assert_array_equal(stripper.mask(_volume(np.where(BRAIN, IN_BRAIN, 0))), BRAIN)
    with pytest.raises(PreparationError, match="give a brain mask"):
        stripper.mask(_volume(IN_BRAIN))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sub-1_T1map.nii.gz", {}, "T1map is a map of a quantity.*set bias.method=none"),
        ("sub-1_R2starmap.nii.gz", {}, "R2starmap is a map of a quantity"),
        ("sub-1_T2w.nii.gz", {"bias__white_matter": True}, "is not in T2w"),
        ("sub-1_FLAIR.nii.gz", {"bias__white_matter": True}, "is not in FLAIR"),
        ("sub-1_task-rest_bold.nii.gz", {}, "bold is no anatomical image"),
        ("sub-1_phasediff.nii.gz", {"bias__method": "none"}, "phasediff is no anatomical image"),
        ("sub-1_part-phase_T1w.nii.gz", {}, "part-phase is no magnitude image"),
    ],
)
def test_steps_that_are_wrong_for_a_contrast_are_refused(
    save, quick, name: str, changes: dict[str, object], message: str
) -> None:
    own = quick(**changes)
    with pytest.raises(PreparationError, match=message) as caught:
        clean_scan(save(HEAD, name), make_stripper(own.strip), own)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "texts"),
    [
        ("sub-1_T1w.nii.gz", {"strip__method": "deepbet"}, []),
        ("scan.nii.gz", {"strip__method": "deepbet"}, []),
        ("3T.nii.gz", {"strip__method": "deepbet"}, []),
        ("sub-1_T2w.nii.gz", {}, []),
        (
            "sub-1_T2w.nii.gz",
            {"strip__method": "deepbet"},
            ["deepbet was trained on T1w, not on T2w"],
        ),
        ("sub-1_UNIT1.nii.gz", {}, ["N4 has nothing to correct"]),
        ("sub-1_T1map.nii.gz", {"bias__method": "none"}, ["removes its unit"]),
    ],
)
def test_steps_that_are_doubtful_for_a_contrast_are_noted(
    quick, name: str, changes: dict[str, object], texts: list[str]
) -> None:
    notes = check_steps(Path(name), quick(**changes))
    assert len(notes) == len(texts)
    for note, text in zip(notes, texts, strict=True):
        assert note.kind == "step-not-for-contrast"
        assert text in note.text
