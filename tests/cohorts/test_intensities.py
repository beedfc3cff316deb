"""Values below 0, NaN, backgrounds other than 0, and what is no scan."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmbench.cohorts.base import Scan, load_scan, rescale_volume
from harmbench.cohorts.foreground import brains_differ, odd_foreground
from harmbench.cohorts.intensities import (
    background_value,
    brain_of,
    finite,
    not_a_scan,
    out_of_range,
)
from harmbench.cohorts.manifest import read_manifest
from harmbench.cohorts.raw_values import no_scan_values, wrapped_bits
from harmbench.cohorts.validation import validate
from harmbench.errors import CohortError, VolumeError
from harmbench.volume import Volume, read, write

SHAPE = (18, 20, 22)
GRID = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
RADIUS = np.sqrt(sum(axis**2 for axis in GRID))
BRAIN = RADIUS < 0.9
TISSUE = 300 + 200 * np.sin(5 * RADIUS) * np.cos(2 * GRID[1])
TISSUE += 10 * np.random.default_rng(0).standard_normal(SHAPE)


def _volume(data: np.ndarray) -> Volume:
    return Volume(data, np.eye(4))


def _scaled(data: np.ndarray) -> np.ndarray:
    return rescale_volume(_volume(data), "percentile").data


def _kinds(volume: Volume) -> set[str]:
    return {note.kind for note in volume.notes}


Z = (TISSUE - TISSUE[BRAIN].mean()) / TISSUE[BRAIN].std()
WHOLE = np.where(BRAIN, TISSUE, 0)


@pytest.mark.parametrize(
    "data",
    [
        np.where(BRAIN, Z, 0),
        np.where(BRAIN, np.round(Z * 64) / 64, 0),  # some of the brain is exactly 0 too
        (WHOLE - WHOLE.mean()) / WHOLE.std(),
        np.where(BRAIN, TISSUE, -1024),
        np.where(BRAIN, TISSUE - 200, -1024),
        np.where(BRAIN, TISSUE, 0) + 1000,
        np.where(BRAIN, Z, np.nan),
    ],
    ids=["z", "z rounded", "z of all", "CT-like", "CT-like below 0", "offset", "z in NaN"],
)
def test_the_brain_is_what_differs_from_the_background(data: np.ndarray) -> None:
    volume = rescale_volume(_volume(data), "percentile")
    expected = rescale_volume(_volume(data), "percentile", BRAIN).data
    assert "brain-by-background" in _kinds(volume)
    wrong = np.abs(volume.data - expected) > 1e-3
    assert np.count_nonzero(wrong) < 0.005 * BRAIN.sum()  # a brain's rim that has the same value
    assert np.count_nonzero(volume.data) > 0.99 * BRAIN.sum()


def test_what_interpolation_leaves_below_0_is_background() -> None:
    data = WHOLE.copy()
    rim = (RADIUS > 0.88) & BRAIN & (GRID[0] > 0.6)
    assert 0 < rim.sum() < 0.02 * BRAIN.sum()
    data[rim] = -20
    volume = rescale_volume(_volume(data), "percentile")
    assert _kinds(volume) == {"few-below-zero"}
    np.testing.assert_array_equal(volume.data > 0, _scaled(np.maximum(data, 0)) > 0)


def test_a_plain_scan_has_no_note_and_keeps_its_brain() -> None:
    volume = _volume(WHOLE)
    brain, notes = brain_of(volume)
    np.testing.assert_array_equal(brain, BRAIN)
    assert notes == ()
    assert rescale_volume(volume, "none") is volume


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            np.where(BRAIN, Z, 0.01 * Z),
            r"\d\d\.\d% of the voxels other than 0 lie below 0 \(down to",
        ),
        (np.where(BRAIN, TISSUE, 0) - 300 + Z, "the background is not one value"),
        (Z, "give a brain mask"),
        (-WHOLE, r"no voxel is above the background \(.*negative scl_slope"),
        (np.where(BRAIN, TISSUE, 9000), "no voxel is above the background"),
    ],
    ids=["noise around 0", "noise below 0", "no background", "negative slope", "inverted"],
)
def test_without_certainty_values_below_0_are_refused(data: np.ndarray, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        rescale_volume(_volume(data), "percentile")


@settings(max_examples=25, deadline=None)
@given(
    factor=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_scale_and_offset_change_nothing_within_a_mask(factor: float, offset: float) -> None:
    plain = rescale_volume(_volume(WHOLE), "percentile", BRAIN).data
    other = rescale_volume(_volume(WHOLE * factor + offset * factor), "percentile", BRAIN).data
    np.testing.assert_allclose(other, plain, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_scale_and_offset_change_nothing_in_a_stripped_scan(factor: float, offset: float) -> None:
    # An offset near the least value of the brain hides the border, so the background stays apart.
    plain = rescale_volume(_volume(WHOLE), "percentile", BRAIN).data
    other = _scaled(WHOLE * factor + offset * factor)
    np.testing.assert_allclose(other, plain, atol=2e-3)


def test_an_offset_that_32_bits_cannot_hold_is_refused() -> None:
    for data in (WHOLE + 3e9, WHOLE * 1e-46):
        with pytest.raises(VolumeError, match="differ too little for 32-bit numbers"):
            rescale_volume(_volume(data), "percentile", BRAIN)


def test_a_background_other_than_0_becomes_0_without_rescaling_too() -> None:
    data = np.clip((Z + 5) / 10, 0, 1)
    data[~BRAIN] = 0.5
    volume = rescale_volume(_volume(data), "none")
    assert "brain-by-background" in _kinds(volume)
    assert not volume.data[~BRAIN].any()
    np.testing.assert_array_equal(volume.data[BRAIN], data[BRAIN].astype(np.float32))


def test_the_background_must_be_one_value_at_the_edges() -> None:
    assert background_value(np.where(BRAIN, TISSUE, -3.5)) == -3.5
    assert background_value(np.where(BRAIN, TISSUE, np.nan)) is None
    assert background_value(TISSUE) is None
    assert background_value(np.broadcast_to(np.arange(60), (2, 2, 60))) is None
    slab = np.where(BRAIN, TISSUE, 7)[:, :, 10:12]  # both large faces are mostly brain
    assert background_value(slab) == 7


def test_nan_around_the_brain_is_background_and_nan_inside_is_not() -> None:
    around = _volume(np.where(BRAIN, WHOLE, np.nan))
    clean = finite(around, where="a.nii")
    np.testing.assert_array_equal(clean.data, _volume(WHOLE).data)
    assert [(n.kind, n.where) for n in clean.notes] == [("nan-background", "a.nii")]
    hole = RADIUS < 0.2
    with pytest.raises(VolumeError, match=f"^{hole.sum()} voxels are NaN or infinite$"):
        finite(_volume(np.where(hole, np.nan, around.data)))
    corner = WHOLE.copy()
    corner[0, 0, 0] = np.nan  # damage, not a background
    with pytest.raises(VolumeError, match=r"^1 voxel is NaN or infinite$"):
        finite(_volume(corner))
    with pytest.raises(VolumeError, match="all voxels are NaN"):
        finite(_volume(np.full(SHAPE, np.nan)))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_voxels_are_no_background(value: float) -> None:
    data = np.where(BRAIN, WHOLE, value)
    with pytest.raises(VolumeError, match=f"{np.count_nonzero(~BRAIN)} voxels are NaN or infinite"):
        finite(_volume(data))
    clean = finite(_volume(data), BRAIN)
    np.testing.assert_array_equal(clean.data, _volume(WHOLE).data)


def test_nan_in_a_mask_is_counted() -> None:
    data = WHOLE.copy()
    data[9, 10, 11] = np.nan
    data[0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match=r"^1 voxel is NaN or infinite in the mask$"):
        finite(_volume(data), BRAIN)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BRAIN, "have the value 1: a mask, not a scan"),
        (0.3 * BRAIN, "have the value 0.3: a mask, not a scan"),
        (np.where(GRID[0] > 0, 1, 0.5) * BRAIN, "2 values besides the background: a label map"),
        ((3 - np.digitize(RADIUS, [0.3, 0.6])) * BRAIN / 3, "3 values besides the background"),
    ],
)
def test_masks_and_label_maps_are_no_scans(data: np.ndarray, message: str) -> None:
    assert message in str(not_a_scan(_volume(data)))


def test_large_areas_of_many_labels_are_a_label_map() -> None:
    shape = (60, 60, 60)
    blocks = np.indices(shape) // 12
    labels = (blocks[0] * 25 + blocks[1] * 5 + blocks[2] + 1) / 125
    assert "125 values" in str(not_a_scan(_volume(labels)))
    coarse = np.round(np.random.default_rng(0).normal(8, 3, shape)).clip(1, 15) / 15
    assert not_a_scan(_volume(coarse)) is None


@pytest.mark.parametrize(
    ("factor", "offset", "message"),
    [
        (1 + 1e-7, 0, None),
        (1 + 5e-7, -5e-7, None),
        (1.02, 0, r"0 to 1\.02, expected 0 to 1: .* beyond, as interpolation .* or ask for x"),
        (1, -0.013, "clip them to 0 and 1"),
        (1.5, 0, "to 1.5, expected 0 to 1: prepare the scans, or ask for x"),
        (255, 0, "to 255"),
        (-1, 0, "no voxel is above 0"),
    ],
)
def test_the_range_has_a_slack_for_rounding_only(
    factor: float, offset: float, message: str | None
) -> None:
    data = np.where(BRAIN, (TISSUE - TISSUE.min()) / np.ptp(TISSUE), 0)
    data = (data / data.max()) * factor + offset
    problem = out_of_range(_volume(data), "x")
    if message is None:
        assert problem is None
    else:
        assert re.search(message, str(problem))


def test_more_than_a_brain_is_noted() -> None:
    assert odd_foreground(Volume(WHOLE, np.diag([8.0, 8, 8, 1]))) == ()
    (note,) = odd_foreground(Volume(WHOLE, np.diag([12.0, 12, 12, 1])), "x.nii")
    assert (note.kind, note.where) == ("large-foreground", "x.nii")


def test_less_than_a_brain_is_noted() -> None:
    (note,) = odd_foreground(_volume(WHOLE), "x.nii")
    assert (note.kind, note.where) == ("small-foreground", "x.nii")
    assert "about 350 ml" in note.text


def test_a_brain_that_sides_of_the_volume_cut_is_noted() -> None:

    def kinds(part: np.ndarray) -> list[str]:
        edge = (1.2e6 / np.count_nonzero(part)) ** (1 / 3)
        return [note.kind for note in odd_foreground(Volume(part, np.diag([edge] * 3 + [1.0])))]

    for part in (WHOLE[5:-5], WHOLE[5:, 5:], WHOLE[4:-4, 4:-4, 4:-4]):
        assert kinds(part) == ["brain-cut"]
    # Cropped to its bounding box, or cut at the neck alone.
    inside = np.argwhere(BRAIN)
    box = tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0), strict=True))
    for part in (WHOLE[box], WHOLE[:, :, 6:]):
        assert kinds(part) == []


def test_brains_of_one_subject_that_differ_in_volume_are_noted() -> None:
    whole, small = _volume(WHOLE), _volume(np.where(RADIUS < 0.8, TISSUE, 0))
    assert brains_differ("1", {"A": whole, "B": whole}) == ()
    (note,) = brains_differ("1", {"A": whole, "B": small, "C": whole})
    count = [np.count_nonzero(v.data) / 1000 for v in (small, whole)]
    assert note.where == f"subject 1, session B: {count[0]:.0f} ml, session A: {count[1]:.0f} ml"
    slightly = _volume(np.where(RADIUS < 0.86, TISSUE, 0))
    assert brains_differ("1", {"A": whole, "B": slightly}) == ()


UNIT = WHOLE / WHOLE.max()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("most", [0.7, 1.0])
def test_unsigned_numbers_that_were_declared_as_signed_are_told(bits: int, most: float) -> None:
    unsigned = np.round(UNIT * most * (2**bits - 1))
    assert wrapped_bits(unsigned) is None
    wrapped = np.where(unsigned < 2 ** (bits - 1), unsigned, unsigned - 2**bits)
    assert wrapped_bits(wrapped) == bits
    assert f"uint{bits}" in str(no_scan_values(wrapped))


@pytest.mark.parametrize(
    "data",
    [
        np.where(BRAIN, np.round(Z / np.abs(Z[BRAIN]).max() * 32767), 0),
        np.round(np.where(BRAIN, UNIT * 32767, np.sin(9 * GRID[0]) * 40)),
        np.where(BRAIN, np.round(UNIT * 60000) - 32768, -32768),
        np.where(BRAIN, np.round(UNIT * 4000) - 1024, -1024),
        WHOLE,
        np.where(BRAIN, Z, 0),
    ],
)
def test_signed_numbers_are_not_taken_for_unsigned(data: np.ndarray) -> None:
    assert wrapped_bits(data) is None
    assert no_scan_values(data) is None


def test_a_volume_of_one_value_is_no_scan() -> None:
    assert "all its voxels have the value 0.5" in str(no_scan_values(np.full(SHAPE, 0.5)))
    assert no_scan_values(np.zeros(SHAPE)) is None


def _rewrite(manifest: Path, change) -> None:
    for path in manifest.parent.glob("*.nii.gz"):
        volume = read(path)
        write(volume.with_data(change(volume.data).astype(np.float32)), path)


def _z(data: np.ndarray) -> np.ndarray:
    brain = data > 0
    return np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0)


def test_z_scored_scans_keep_their_whole_brain(call, make_manifest) -> None:
    manifest = make_manifest(2)
    brains = {
        key: np.count_nonzero(read(s.path).data) for key, s in read_manifest(manifest).scans.items()
    }
    _rewrite(manifest, _z)
    cohort = read_manifest(manifest)
    with pytest.raises(CohortError, match="intensities from -"):
        validate(cohort, ("A", "B"))
    checked = validate(cohort, ("A", "B"), "percentile")
    assert {note.kind for note in checked.notes} == {"brain-by-background", "small-foreground"}
    for key, scan in cohort.scans.items():
        kept = np.count_nonzero(load_scan(scan, "percentile").data)
        assert kept == pytest.approx(brains[key], rel=0.005)
    code, _, err = call("cohort", "--data", manifest, "--rescale", "percentile")
    assert code == 0
    assert "brain-by-background" in err


def test_nan_outside_a_given_mask_is_0(make_manifest) -> None:
    manifest = make_manifest(1)
    cohort = read_manifest(manifest)
    scan = cohort.scans["s0", "A"]
    whole = read(scan.path)
    brain = whole.data > 0
    mask = manifest.with_name("mask.nii.gz")
    write(whole.with_data(brain.astype(np.uint8), kind="label"), mask)
    write(whole.with_data(np.where(brain, whole.data, np.nan)), scan.path)
    for own, kind in ((mask, "not-finite-outside-mask"), (None, "nan-background")):
        loaded = load_scan(Scan("s0", "A", scan.path, own))
        np.testing.assert_array_equal(loaded.data, whole.data)
        assert [note.kind for note in loaded.notes] == [kind]


def test_segment_and_score_follow_the_same_rules(call, thresholds, make_manifest, tmp_path) -> None:
    manifest = make_manifest(1)
    a, b = (manifest.with_name(f"s0_{session}.nii.gz") for session in "AB")
    plain = read(a)
    write(plain.with_data(np.where(plain.data > 0, plain.data, np.nan)), a)
    out = tmp_path / "labels.nii.gz"
    code, _, err = call("segment", a, out, "--segmenter", "thresholds")
    assert code == 0, err
    assert read(out, kind="label").data.any()
    both = ("--segmenter", "thresholds", "--json")
    code, nan, err = call("score", "--volume", a, "--reference", b, *both)
    assert code == 0, err
    write(plain, a)
    assert call("score", "--volume", a, "--reference", b, *both)[1] == nan
    write(plain.with_data((read(b).data > 0).astype(np.float32)), b)
    code, _, err = call("score", "--volume", a, "--reference", b, *both)
    assert code == 2
    assert "s0_B.nii.gz: all its voxels but the background have the value 1: a mask" in err
    _rewrite(manifest, lambda data: data - 0.5 + 0.01 * np.cos(np.indices(data.shape).sum(axis=0)))
    code, _, err = call("segment", a, out, "--segmenter", "thresholds", "--rescale", "percentile")
    assert code == 2
    assert "give a brain mask" in err
