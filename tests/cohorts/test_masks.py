"""Masks that are not 0 and 1, and masks that are not of the scan's brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, shift, zoom

from harmbench.cohorts.masks import read_mask, to_binary
from harmbench.errors import VolumeError
from harmbench.volume import Volume, write

SHAPE = (36, 40, 44)
GRID = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
RADIUS = np.sqrt(sum(axis**2 for axis in GRID))
BALL = RADIUS < 0.85
BRAIN = BALL.astype(float)
TISSUES = (np.digitize(RADIUS, [0.35, 0.65, 0.85]) - 3) * -1.0  # 3 inside, 1 at the rim
RANDOM = np.random.default_rng(0)
IMAGE = np.clip(0.5 + 0.3 * np.cos(5 * RADIUS) + 0.03 * RANDOM.standard_normal(SHAPE), 0, 1) * BALL
MOVED = shift(BRAIN, (0.5, 0.25, 0), order=1)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (BRAIN, None),
        (BRAIN + 1e-7 * RANDOM.standard_normal(SHAPE), "mask-rounded"),
        (BRAIN * np.float32(1 / 255) * 255.0001, "mask-rounded"),
        (BRAIN * 255, "mask-values"),
        (BRAIN * 1000, "mask-values"),
        (MOVED, "mask-threshold"),
        (zoom(zoom(BRAIN, 0.5, order=3), 2, order=3), "mask-threshold"),  # with overshoot
        (np.round(MOVED * 255), "mask-threshold"),
        (np.clip(gaussian_filter(BRAIN, 1.5), 0, 1), "mask-threshold"),
        (TISSUES, "mask-labels"),
        (TISSUES * 20, "mask-labels"),
        (np.where(GRID[0] > 0, TISSUES + 40, TISSUES) * BALL, "mask-labels"),
        (np.where(GRID[0] > 0, TISSUES + 1000, TISSUES) * BALL, "mask-labels"),
    ],
)
def test_what_can_only_be_a_mask_is_one_and_is_noted(values: np.ndarray, kind: str | None) -> None:
    mask, found = to_binary(values.astype(np.float32))
    assert (found and found[0]) == kind
    differing = np.count_nonzero(mask != BALL) / BALL.sum()
    assert differing < (0.12 if kind == "mask-threshold" else 1e-9)


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(1e-2, 1e4), noise=st.floats(0, 5e-4))
def test_two_values_are_a_mask_whatever_they_are(scale: float, noise: float) -> None:
    values = (BRAIN + noise * RANDOM.uniform(-1, 1, SHAPE)) * scale
    np.testing.assert_array_equal(to_binary(values.astype(np.float32))[0], BALL)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (0 * BRAIN, "no voxel is in the mask"),
        (1e-7 * IMAGE, "no voxel is in the mask"),
        (0.4 * MOVED, "an image, or probabilities"),
        (IMAGE, "an image, or probabilities"),
        (np.round(IMAGE * 200), "an image, or probabilities"),
        (np.round(IMAGE * 900), "an image, or probabilities"),
        (TISSUES * 0.98 + 0.3 * MOVED, "values from 0 to 3.24 that are neither"),
        (2 * BRAIN - 1, "values from -1 to 1: a mask has no values below 0"),
        (-BRAIN, "a mask has no values below 0"),
    ],
)
def test_what_is_not_certain_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        to_binary(values.astype(np.float32))


def _read(mask: np.ndarray, scan: np.ndarray, folder: Path):
    path = folder / "m.nii.gz"
    write(Volume(mask, np.eye(4)), path)
    return read_mask(path, Volume(scan, np.eye(4)))


HEAD = np.where(RADIUS < 0.98, 0.5 + IMAGE, 0)
NOISY = HEAD + 0.01 * RANDOM.random(SHAPE)
LESIONS = (np.indices(SHAPE) % 12 == 0).all(axis=0) & BALL


@pytest.mark.parametrize(
    ("mask", "scan", "message"),
    [
        (1 - BRAIN, IMAGE, "is it inverted"),
        (1 - BRAIN, NOISY, "is it inverted"),
        (np.ones(SHAPE), NOISY, "it covers 100% of the volume with all its edges"),
        (0 * BRAIN, IMAGE, "no voxel is in the mask"),
        (RADIUS > 1.2, IMAGE, "is it inverted"),
        (np.abs(RADIUS - 1.05) < 0.1, HEAD, r"\d\d% of it lies on the scan's background \(0\)"),
        (LESIONS, IMAGE, "% of what differs from the scan's background"),
        (BALL & (RADIUS < 0.3), IMAGE, "it is not the mask of a brain"),
        (np.where(RADIUS < 0.2, np.nan, BRAIN), IMAGE, "voxels are NaN or infinite"),
        (np.where(BALL, np.inf, 0), IMAGE, "voxels are NaN or infinite"),
        (IMAGE, IMAGE, "an image, or probabilities"),
    ],
)
def test_masks_of_something_else_are_refused(mask, scan, message: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=message) as caught:
        _read(mask, scan, tmp_path)
    assert "m.nii.gz" in str(caught.value)


@pytest.mark.parametrize("scan", [IMAGE, HEAD, NOISY, HEAD - 1024, np.where(BALL, IMAGE, np.nan)])
def test_good_masks_pass_without_a_note(scan: np.ndarray, tmp_path: Path) -> None:
    found = _read(BRAIN, scan, tmp_path)
    np.testing.assert_array_equal(found.data, BALL)
    assert found.notes == ()


def test_odd_masks_pass_with_a_note(tmp_path: Path) -> None:
    nan = _read(np.where(BALL, 1, np.nan), IMAGE, tmp_path)
    np.testing.assert_array_equal(nan.data, BALL)
    wide = _read(RADIUS < 0.95, IMAGE, tmp_path)
    for found, kind in ((nan, "nan-background"), (wide, "mask-on-background")):
        assert [note.kind for note in found.notes] == [kind]
        assert found.notes[0].where == str(tmp_path / "m.nii.gz")


def test_a_mask_lies_on_the_scans_grid(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=r"m.nii.gz has shape \(36, 40, 43\)"):
        _read(BRAIN[:, :, 1:], IMAGE, tmp_path)
    path = tmp_path / "m.nii.gz"
    for gap, fits in ((5e-4, True), (0.5, False)):
        affine = np.eye(4)
        affine[0, 3] = gap
        write(Volume(BRAIN, affine), path)
        if fits:
            np.testing.assert_array_equal(read_mask(path, Volume(IMAGE, np.eye(4))).data, BALL)
        else:
            with pytest.raises(VolumeError, match=r"differ in affine by up to 0\.5 mm"):
                read_mask(path, Volume(IMAGE, np.eye(4)))
