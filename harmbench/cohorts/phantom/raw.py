"""Raw scans: a head around the brain, each session on its scanner's own oblique sagittal grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Matrix, Single
from harmbench.cohorts.phantom.anatomy import HULL_LEVEL, Anatomy
from harmbench.cohorts.phantom.fields import PhantomGrid, random_nodes
from harmbench.cohorts.phantom.physics import Protocol
from harmbench.cohorts.phantom.scanner import Scanner, gradient_distortion, log_bias, rician
from harmbench.cohorts.phantom.warp import CENTRE_MM
from harmbench.volume import FileSpace

__all__ = ["HEAD_MARGIN_MM", "Placement", "RawScan", "head", "head_grid", "place", "raw_scan"]


HEAD_MARGIN_MM = 24.0

# Around the brain: fluid, skull with its marrow, scalp. Signals are relative to white matter. This
# is a shell to be stripped, not a head: there is no face, neck, eye or dura.
_FLUID_MM, _SKULL_MM, _SCALP_MM = 2.0, 6.0, 6.0
_BONE, _MARROW, _FAT, _MUSCLE = 0.08, 0.55, 1.25, 0.6

_POSE_MM, _POSE_DEG = 4.0, 3.0
_OBLIQUE_MM, _OBLIQUE_DEG = 3.0, 3.0
_FILE_AXES = "PSR"
_WHITE_MATTER_UNITS = 400
_LARGEST_UNITS = 4095


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Position of a head and of the imaging grid in one session.

    Attributes:
        pose: (4, 4), the subject's millimetres to the session's RAS millimetres, rigid.
        affine: (4, 4), voxel indices, along R, A, S, to the session's RAS millimetres.
        shape: voxels along R, A, S.
    """

    pose: Matrix
    affine: Matrix
    shape: tuple[int, int, int]

    @property
    def file_space(self) -> FileSpace:
        """How the scanner stores it: sagittal slices, the slice index last."""
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(tuple(_FILE_AXES)))
        affine = self.affine @ inv_ornt_aff(turn, self.shape)
        x, y, z = self.shape
        return FileSpace((y, z, x), affine, affine, 1, affine, 1)


@dataclass(frozen=True, slots=True, eq=False)
class RawScan:
    """A raw scan with its truth, all on the grid of the placement.

    Attributes:
        image: scanner units, whole numbers from 0 to 4095.
        brain: the brain with the fluid in it.
        labels: 0 outside the brain, 1 CSF, 2 GM, 3 WM.
        lesions: voxels of lesions.
        bias: the receive field that the image was multiplied with.
    """

    image: Single
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    lesions: NDArray[np.bool_]
    bias: Single


def head_grid(spacing_mm: float) -> PhantomGrid:
    """Return the grid that a head is made on: larger than that of the prepared volumes."""
    x, y, z = (2 * int(np.ceil(n / spacing_mm / 2)) for n in (208, 256, 248))
    return PhantomGrid.around(CENTRE_MM, (x, y, z), spacing_mm)


def head(generator: np.random.Generator, anatomy: Anatomy, image: Single) -> Single:
    """Add fluid, skull and scalp around the brain of a noise-free image.

    Args:
        generator: source of the random numbers.
        anatomy: the subject, on the grid of `image`.
        image: signal relative to white matter, shape (x, y, z).

    Returns:
        The head, same shape and unit.
    """
    spacing = anatomy.grid.spacing_mm
    distance = ndimage.distance_transform_edt(~anatomy.brain, sampling=spacing)
    uneven = random_nodes(generator, anatomy.grid, 12.0).on(anatomy.grid)
    muscle = np.clip(0.5 + random_nodes(generator, anatomy.grid, 10.0).on(anatomy.grid), 0, 1)
    depth = np.asarray(distance * (1 + 0.12 * np.clip(uneven, -2, 2)), dtype=np.float32)

    def beyond(edge_mm: float) -> Single:
        return np.clip((depth - np.float32(edge_mm)) / np.float32(spacing) + 0.5, 0, 1)

    inner, outer = beyond(_FLUID_MM), beyond(_FLUID_MM + _SKULL_MM)
    air = beyond(_FLUID_MM + _SKULL_MM + _SCALP_MM)
    middle = _FLUID_MM + _SKULL_MM / 2
    marrow = np.clip(1 - np.abs(depth - middle) / (0.3 * _SKULL_MM), 0, 1)
    skull = _BONE + (_MARROW - _BONE) * marrow
    scalp = _FAT + (_MUSCLE - _FAT) * muscle
    found = image * (1 - inner) + skull * (inner - outer) + scalp * (outer - air)
    return np.asarray(found, dtype=np.float32)


def place(generator: np.random.Generator, protocol: Protocol, spacing_mm: float) -> Placement:
    """Draw the position of the head in the scanner and the angle of the slices."""
    pose = _rigid(generator, _POSE_DEG, _POSE_MM)
    tilt = _rigid(generator, _OBLIQUE_DEG, _OBLIQUE_MM)
    x, y, z = (max(8, 2 * round(n / spacing_mm / 2)) for n in protocol.matrix)
    voxel = np.array(protocol.voxel_mm) * spacing_mm
    centred = np.diag([*voxel, 1.0])
    centred[:3, 3] = np.array(CENTRE_MM) - (np.array([x, y, z]) - 1) / 2 * voxel
    return Placement(pose=pose, affine=tilt @ centred, shape=(x, y, z))


def raw_scan(
    generator: np.random.Generator,
    anatomy: Anatomy,
    image: Single,
    placement: Placement,
    protocol: Protocol,
    scanner: Scanner,
) -> RawScan:
    """Acquire a noise-free head image on the scanner's grid.

    Args:
        generator: random numbers of the session.
        anatomy: the truth, on the grid of `image`.
        image: noise-free signal of the head, shape (x, y, z), white matter near 1.
        placement: position of head and grid.
        protocol: for the acquired voxel, and whether distortion is corrected.
        scanner: its blur, noise, bias field and distortion.
    """
    grid = anatomy.grid
    index = _source_index(grid, placement, protocol, scanner)
    sigma = [scanner.blur_voxels * mm for mm in protocol.voxel_mm]
    blurred = ndimage.gaussian_filter(image, sigma, mode="nearest")
    seen = ndimage.map_coordinates(blurred, index, order=3, mode="constant", output=np.float32)
    voxels = PhantomGrid(placement.shape, grid.spacing_mm, (0.0, 0.0, 0.0))
    bias = np.exp(log_bias(generator, voxels, scanner).on(voxels))
    noisy = rician(generator, np.maximum(seen, 0) * bias, 1 / scanner.snr)
    hull = ndimage.map_coordinates(anatomy.hull, index, order=1, output=np.float32)
    brain = hull > HULL_LEVEL
    labels = ndimage.map_coordinates(anatomy.labels, index, order=0, output=np.uint8)
    lesions = ndimage.map_coordinates(anatomy.lesions.astype(np.uint8), index, order=0)
    units = np.clip(np.round(noisy * _WHITE_MATTER_UNITS), 0, _LARGEST_UNITS)
    marked = (labels * brain).astype(np.uint8)
    return RawScan(units.astype(np.float32), brain, marked, brain & (lesions > 0), bias)


def _source_index(
    grid: PhantomGrid, placement: Placement, protocol: Protocol, scanner: Scanner
) -> Single:
    """Return the index (3, ...) into `grid` of the point that each voxel of the scan shows."""
    voxels = np.indices(placement.shape, dtype=np.float32)
    points = _transform(placement.affine, voxels)
    if not protocol.distortion_corrected:
        points = points + gradient_distortion(points, scanner.distortion_mm)
    to_grid = np.linalg.inv(grid.affine) @ np.linalg.inv(placement.pose)
    return _transform(to_grid, points)


def _transform(matrix: Matrix, points: Single) -> Single:
    """Apply a (4, 4) matrix to points (3, ...), in a fixed order of element-wise operations."""
    m = matrix.astype(np.float32)
    return np.stack(
        [
            m[i, 0] * points[0] + m[i, 1] * points[1] + m[i, 2] * points[2] + m[i, 3]
            for i in range(3)
        ]
    )


def _rigid(generator: np.random.Generator, degrees: float, millimetres: float) -> Matrix:
    """Draw a rigid motion about the centre: SD of each angle and of each shift."""
    a, b, c = np.deg2rad(degrees) * np.clip(generator.standard_normal(3), -2, 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    motion = np.eye(4)
    motion[:3, :3] = about_z @ about_y @ about_x
    centre = np.array(CENTRE_MM)
    shift = millimetres * np.clip(generator.standard_normal(3), -2, 2)
    motion[:3, 3] = centre + shift - motion[:3, :3] @ centre
    return motion
