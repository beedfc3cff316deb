"""The common grid, and that a scan is interpolated once."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from harmbench.errors import PreparationError
from harmbench.preparation.grid import (
    Grid,
    TransformChain,
    crop_grid,
    isotropic_grid,
    resample,
    resample_mask,
)
from harmbench.preparation.itk import from_ants, linear_matrix, to_ants, write_linear
from harmbench.volume import Volume, read, write


def _shift(x=0.0, y=0.0, z=0.0, degrees=0.0):
    matrix = np.eye(4)
    angle = np.deg2rad(degrees)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = x, y, z
    return matrix


def test_ants_images_lie_where_the_volume_lies(ball):
    volume, _ = ball
    image = to_ants(volume)
    corner = np.array(image.origin) * [-1, -1, 1]
    np.testing.assert_allclose(corner, volume.affine[:3, 3], atol=1e-5)
    np.testing.assert_allclose(image.spacing, volume.spacing_mm, rtol=1e-6)
    assert np.array_equal(from_ants(image, volume), volume.data)
    with pytest.raises(ValueError, match="on a grid of shape"):
        from_ants(image, Volume(np.zeros((2, 2, 2)), np.eye(4)))


def test_linear_transforms_survive_their_file(tmp_path):
    matrix = _shift(3, -2, 5, degrees=20) @ np.diag([1.1, 0.9, 1.0, 1.0])
    found = linear_matrix(write_linear(matrix, tmp_path / "x.mat"))
    np.testing.assert_allclose(found, matrix, atol=1e-12)


def test_an_isotropic_scan_keeps_its_grid():
    volume = Volume(np.ones((4, 5, 6)), np.diag([-2.0, 2.0, 2.0, 1.0]))
    grid = isotropic_grid(volume, 2.0)
    assert grid.shape == volume.shape
    np.testing.assert_allclose(grid.affine, volume.affine)


def test_an_isotropic_grid_covers_the_field_of_view(ball):
    volume, _ = ball
    grid = isotropic_grid(volume, 1.5)
    np.testing.assert_allclose(grid.spacing_mm, 1.5)
    extent = (np.array(grid.shape) - 1) * 1.5
    full = (np.array(volume.shape) - 1) * volume.spacing_mm
    assert np.all(extent <= full + 1e-6)
    assert np.all(full - extent < 1.5)
    # First voxels coincide, and axes point the same way.
    np.testing.assert_allclose(grid.affine[:3, 3], volume.affine[:3, 3])


def test_cropping_moves_by_whole_voxels_and_centres_the_brain():
    grid = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    brain = np.zeros(grid.shape, bool)
    brain[2:8, 10:20, 5:6] = True
    found = crop_grid(grid, brain, (10, 12, 5))
    assert found.shape == (10, 12, 5)
    # Sizes 6, 10 and 1 leave margins of 2, 1 and 2 voxels.
    np.testing.assert_allclose(found.affine[:3, 3], [0, 18, 6])


def test_cropping_never_cuts_the_brain():
    grid = Grid((20, 20, 20), np.eye(4))
    brain = np.zeros(grid.shape, bool)
    brain[:, 3:9, :4] = True
    with pytest.raises(PreparationError, match=r"would cut the brain.* along x 20 of 16"):
        crop_grid(grid, brain, (16, 16, 16))
    assert crop_grid(grid, brain, None) is grid


def test_the_own_grid_means_no_interpolation(ball):
    volume, _ = ball
    found = resample(volume, Grid(volume.shape, volume.affine), interpolation="lanczos")
    assert np.array_equal(found, volume.data)


def test_transforms_are_composed_before_the_one_interpolation(ball):
    volume, _ = ball
    grid = Grid(volume.shape, volume.affine)
    one, two = _shift(2.5, 1, 0, degrees=7), _shift(-1, 0.4, 2, degrees=-3)
    chained = resample(volume, grid, TransformChain((one, two)))
    at_once = resample(volume, grid, TransformChain((two @ one,)))
    twice = resample(
        Volume(resample(volume, grid, TransformChain((two,))), volume.affine),
        grid,
        TransformChain((one,)),
    )
    np.testing.assert_allclose(chained, at_once, atol=1e-3)
    assert np.abs(twice - at_once).max() > 0.3, "two interpolations smooth more than one"


def test_a_chain_maps_grid_points_to_scan_points(ball):
    volume, _ = ball
    grid = Grid(volume.shape, volume.affine)
    # One voxel along x, in world millimetres: the output at i shows the scan at i + 1.
    step = np.eye(4)
    step[:3, 3] = volume.affine[:3, 0]
    found = resample(volume, grid, TransformChain((step,)))
    np.testing.assert_allclose(found[:-1], volume.data[1:], atol=1e-3)
    assert np.all(found[-1] == 0)


def test_masks_stay_masks(ball):
    volume, mask = ball
    fine = isotropic_grid(volume, 1.0)
    found = resample_mask(mask, volume, fine)
    assert found.dtype == bool
    ratio = found.sum() * 1.0 / (mask.sum() * np.prod(volume.spacing_mm))
    assert ratio == pytest.approx(1, abs=0.02)


def test_files_keep_a_scans_axis_order(tmp_path):
    rng = np.random.default_rng(0)
    stored = np.diag([-1.0, -1.0, 1.0, 1.0])[:, [2, 0, 1, 3]]
    nib.save(nib.Nifti1Image(rng.random((3, 4, 5), dtype=np.float32), stored), tmp_path / "a.nii")
    scan = read(tmp_path / "a.nii")
    grid = Grid((6, 7, 8), scan.affine)
    data = rng.random(grid.shape, dtype=np.float32)
    assert scan.space is not None
    volume = Volume(data, grid.affine, space=grid.stored_like(scan.space))
    path = write(volume, tmp_path / "b.nii")
    assert nib.aff2axcodes(nib.load(path).affine) == nib.aff2axcodes(stored)
    back = read(path)
    assert np.array_equal(back.data, data)
    np.testing.assert_allclose(back.affine, grid.affine)
