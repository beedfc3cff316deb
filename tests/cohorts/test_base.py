from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harmbench.cohorts.base import Cohort, Scan, load_scan, rescale_volume
from harmbench.cohorts.data import DataSettings, simulation_line
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.phantom import PhantomSettings
from harmbench.cohorts.validation import validate
from harmbench.errors import CohortError, VolumeError
from harmbench.task import Direction
from harmbench.volume import Volume, read, write


def _cohort(sessions: tuple[str, ...]) -> Cohort:
    scans = {("s", x): Scan("s", x, Path(x)) for x in sessions}
    return Cohort("manifest", "", simulated=False, groups={"s": "HC"}, scans=scans)


def test_two_sessions_give_both_directions() -> None:
    there, back = Direction("1.5T", "3T"), Direction("3T", "1.5T")
    cohort = _cohort(("3T", "1.5T"))
    assert cohort.directions() == (there, back)
    assert cohort.directions(source="3T") == (back, there)
    assert cohort.directions(which="3T-to-1.5T") == (back,)


def test_more_sessions_must_be_chosen() -> None:
    cohort = _cohort(("a", "b", "c"))
    with pytest.raises(CohortError, match="a, b, c: choose two with --source and --target"):
        cohort.directions()
    assert cohort.directions("c", "a") == (Direction("c", "a"), Direction("a", "c"))
    with pytest.raises(CohortError, match="unknown scanner 'd'"):
        cohort.directions("d", "a")
    with pytest.raises(CohortError, match="unknown direction 'a-to-d'"):
        cohort.directions(which="a-to-d")
    with pytest.raises(CohortError, match="same scanner"):
        cohort.directions("a", "a")


def test_percentile_rescaling_by_hand() -> None:
    # 1001 brain voxels 0.1, 0.2 ... 100.1: the 0.1st percentile is the 2nd, the 99.9th the 1000th.
    data = np.zeros((13, 7, 12), np.float32)
    data.flat[:1001] = np.arange(1, 1002) / 10
    scaled = rescale_volume(Volume(data, np.eye(4)), "percentile").data.ravel()
    low, high = 0.2, 100.0
    assert scaled[0] == 0
    assert scaled[1000] == 1
    assert scaled[500] == pytest.approx((50.1 - low) / (high - low), rel=1e-5)
    assert not scaled[1001:].any()


def test_rescaling_keeps_what_is_in_range_and_records_itself() -> None:
    volume = Volume(np.linspace(0, 9, 64).reshape(4, 4, 4), np.eye(4))
    assert rescale_volume(volume, "none") is volume
    scaled = rescale_volume(volume, "percentile")
    assert scaled.data.min() == 0
    assert scaled.data.max() == 1
    step = scaled.history[-1]
    low, high = step.parameters["low"], step.parameters["high"]
    replayed = np.clip((volume.data - low) / (high - low), 0, 1) * (volume.data > 0)
    assert np.allclose(replayed, scaled.data, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_nothing_to_scale(value: float) -> None:
    with pytest.raises(VolumeError, match="nothing to scale"):
        rescale_volume(Volume(np.full((3, 3, 3), value), np.eye(4)), "percentile")


def test_mask_decides_what_is_brain(tmp_path: Path) -> None:
    data = np.full((4, 4, 4), 1000.0)
    data[:2] = np.arange(32).reshape(2, 4, 4)
    mask = np.zeros((4, 4, 4))
    mask[:2] = 1
    write(Volume(data, np.eye(4)), tmp_path / "a.nii.gz")
    write(Volume(mask, np.eye(4), kind="label"), tmp_path / "m.nii.gz")
    scan = Scan("s", "A", tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    scaled = load_scan(scan, "percentile").data
    assert not scaled[2:].any()
    assert scaled[:2].max() == 1
    masked = load_scan(scan, "none").data
    assert not masked[2:].any()
    assert np.array_equal(masked[:2], data[:2])


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (np.ones((4, 4, 3)), np.eye(4), r"the mask .*m.nii.gz has shape \(4, 4, 3\)"),
        (np.ones((4, 4, 4)), np.diag([1.0, 1, 2, 1]), "differ in affine"),
        (np.zeros((4, 4, 4)), np.eye(4), "no voxel is in the mask"),
    ],
)
def test_masks_that_do_not_fit(tmp_path: Path, mask, affine, message: str) -> None:
    write(Volume(np.full((4, 4, 4), 0.5), np.eye(4)), tmp_path / "a.nii.gz")
    write(Volume(mask, affine, kind="label"), tmp_path / "m.nii.gz")
    scan = Scan("s", "A", tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    for rescale in ("none", "percentile"):
        with pytest.raises(VolumeError, match=message):
            load_scan(scan, rescale)


def test_a_mask_makes_an_unstripped_scan_valid(make_manifest, tmp_path: Path) -> None:
    cohort = read_manifest(make_manifest(2))
    scan = cohort.scans["s0", "A"]
    whole = read(scan.path)
    write(Volume(whole.data > 0, whole.affine, kind="label"), tmp_path / "m.nii.gz")
    write(whole.with_data(np.where(whole.data > 0, whole.data, 900)), scan.path)
    with pytest.raises(CohortError, match="intensities from"):
        validate(cohort, ("A", "B"))
    scans = {**cohort.scans, ("s0", "A"): replace(scan, mask=tmp_path / "m.nii.gz")}
    assert set(validate(replace(cohort, scans=scans), ("A", "B")).keys) == set(cohort.scans)


def test_a_scan_in_two_places_is_one_of_the_problems(make_manifest, tmp_path: Path) -> None:
    cohort = read_manifest(make_manifest(3))
    folder = tmp_path / "scans"
    (folder / "s1_A.nii.gz").write_bytes((folder / "s0_A.nii.gz").read_bytes())
    (folder / "s2_B.nii.gz").write_text("x")
    with pytest.raises(CohortError) as caught:
        validate(cohort, ("A", "B"))
    assert len(caught.value.problems) == 2
    assert "subject s1, session A is the same scan as subject s0, session A" in str(caught.value)


def test_all_sessions_of_a_subject_share_one_grid(make_manifest, tmp_path: Path) -> None:
    cohort = read_manifest(make_manifest(1))
    whole = read(cohort.scans["s0", "B"].path)
    write(Volume(whole.data[1:], whole.affine), tmp_path / "c.nii.gz")
    scans = {**cohort.scans, ("s0", "C"): Scan("s0", "C", tmp_path / "c.nii.gz")}
    with pytest.raises(CohortError, match=r"session A has shape .* session C has"):
        validate(replace(cohort, scans=scans), ("A", "B", "C"))


def test_validation_lists_every_problem_at_once(make_manifest, tmp_path: Path) -> None:
    cohort = read_manifest(make_manifest(6))
    folder = tmp_path / "scans"
    whole = read(folder / "s0_A.nii.gz")
    nan = whole.data.copy()
    nan[1, 1, 1] = np.nan
    write(Volume(nan, whole.affine), folder / "s0_A.nii.gz")
    write(Volume(whole.data * 2, whole.affine), folder / "s1_A.nii.gz")
    write(Volume(whole.data[:, :, 1:], whole.affine), folder / "s2_A.nii.gz")
    write(Volume(whole.data * 0.9, whole.affine + _shift()), folder / "s3_A.nii.gz")
    (folder / "s4_A.nii.gz").write_bytes((folder / "s5_A.nii.gz").read_bytes()[:400])
    # A session that a subject does not have is no problem: it is left out of the pairs.
    scans = {key: scan for key, scan in cohort.scans.items() if key != ("s5", "B")}
    with pytest.raises(CohortError) as caught:
        validate(replace(cohort, scans=scans), ("A", "B"))
    text = str(caught.value)
    for expected in (
        "5 problems",
        "subject s0, session A: 1 voxel is NaN or infinite",
        "subject s1, session A: intensities from 0 to",
        "subject s2: session A has shape (16, 24, 19), session B has (16, 24, 20)",
        "subject s3: session A and session B differ in affine by up to 1.5 mm",
        "subject s4, session A: ",
    ):
        assert expected in text
    assert len(caught.value.problems) == 5


def _shift() -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[0, 3] = 1.5
    return shift


def test_rescaling_makes_other_ranges_valid(make_manifest, tmp_path: Path) -> None:
    cohort = read_manifest(make_manifest(2))
    whole = read(tmp_path / "scans" / "s0_A.nii.gz")
    write(Volume(whole.data * 900 - 1, whole.affine), tmp_path / "scans" / "s0_A.nii.gz")
    with pytest.raises(CohortError, match=r"rescale=percentile"):
        validate(cohort, ("A", "B"))
    keys = validate(cohort, ("A", "B"), "percentile").keys
    assert set(keys) == set(cohort.scans)


def test_what_is_simulated_is_said_before(tmp_path: Path) -> None:
    settings = DataSettings(phantom=PhantomSettings(subjects=3, spacing_mm=2))
    said = str(simulation_line(settings, tmp_path))
    assert "3 subjects" in said and "voxels of 2 mm" in said
    assert str(tmp_path) in said and "--data" in said
    raw = DataSettings(phantom=PhantomSettings(product="raw"))
    assert "40 subjects" in str(simulation_line(raw))
    assert simulation_line(DataSettings(path=tmp_path)) is None
