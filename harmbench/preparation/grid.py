"""The grid of prepared volumes, and the resampling onto it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from harmbench.arrays import Mask, Matrix, bounding_box
from harmbench.errors import PreparationError
from harmbench.external.antspy import ants_module
from harmbench.preparation.itk import from_ants, to_ants, write_linear
from harmbench.preparation.settings import Interpolation
from harmbench.volume import FileSpace, Kind, Volume

__all__ = [
    "Grid",
    "TransformChain",
    "crop_grid",
    "isotropic_grid",
    "resample",
    "resample_mask",
    "resample_nearest",
]


_MARGIN = 2
"""Voxels of 0 around a mask that is resampled, so that its edge is interpolated as in the whole scan."""
_INTERPOLATORS = {"linear": "linear", "bspline": "bSpline", "lanczos": "lanczosWindowedSinc"}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Number and position of a volume's voxels.

    Attributes:
        shape: voxels along x, y, z.
        affine: (4, 4), voxel indices to RAS millimetres.
    """

    shape: tuple[int, int, int]
    affine: Matrix

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def is_of(self, volume: Volume) -> bool:
        """Return whether a volume lies on this grid."""
        near = np.allclose(self.affine, volume.affine, rtol=0, atol=1e-6)
        return self.shape == volume.shape and near

    def empty(self, kind: Kind = "intensity") -> Volume:
        """Return a volume of zeros."""
        return Volume(np.zeros(self.shape, dtype=np.float32), self.affine, kind=kind)

    def stored_like(self, space: FileSpace) -> FileSpace:
        """Return the space of a file with this grid in the axis order of another file."""
        turn = ornt_transform(axcodes2ornt("RAS"), io_orientation(space.affine))
        affine = self.affine @ inv_ornt_aff(turn, self.shape)
        order = np.argsort(turn[:, 0])
        x, y, z = (self.shape[int(axis)] for axis in order)
        return FileSpace((x, y, z), affine, affine, 1, affine, 1)


@dataclass(frozen=True, slots=True, eq=False)
class TransformChain:
    """Transforms from points of the output grid to points of a scan, in the order of application.

    Each is a (4, 4) matrix between RAS millimetres, or the file of a displacement field. They are
    composed, so that a scan is interpolated only once.
    """

    links: tuple[Matrix | Path, ...] = ()


def isotropic_grid(scan: Volume, spacing_mm: float | None) -> Grid:
    """Return the grid along a scan's axes with isotropic voxels, over its field of view.

    The centres of the first voxels coincide. A scan that has such voxels keeps its grid.
    """
    if spacing_mm is None:
        return Grid(scan.shape, scan.affine)
    own = np.array(scan.spacing_mm)
    extent = (np.array(scan.shape) - 1) * own
    x, y, z = (int(n) for n in np.floor(extent / spacing_mm + 1e-3) + 1)
    affine = scan.affine.copy()
    affine[:3, :3] = affine[:3, :3] / own * spacing_mm
    return Grid((x, y, z), affine)


def crop_grid(grid: Grid, brain: Mask, shape: tuple[int, int, int] | None) -> Grid:
    """Crop or pad a grid to a shape, by whole voxels, with the brain in the middle.

    Args:
        grid: the grid of `brain`.
        brain: voxels that must stay inside, shape of the grid.
        shape: voxels along x, y, z; `None` leaves the grid as it is.

    Raises:
        PreparationError: the brain does not fit into the shape.
    """
    if shape is None:
        return grid
    box = bounding_box(brain)
    size = [part.stop - part.start for part in box]
    bad = [
        f"{name} {have} of {allowed}"
        for name, have, allowed in zip("xyz", size, shape, strict=True)
        if have > allowed
    ]
    if bad:
        spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm)
        raise PreparationError(
            f"the common grid would cut the brain: voxels of {spacing} mm needed along "
            f"{', '.join(bad)}; choose a larger crop.shape, or larger voxels"
        )
    first = [
        part.start - (want - have) // 2 for part, want, have in zip(box, shape, size, strict=True)
    ]
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(first, dtype=float)
    return Grid(shape, affine)


def resample(
    volume: Volume,
    grid: Grid,
    chain: TransformChain | None = None,
    interpolation: Interpolation = "linear",
) -> NDArray[np.float32]:
    """Resample a volume onto a grid, through a chain of transforms, in one interpolation.

    Returns:
        Shape of the grid, float32; 0 outside the volume.
    """
    links = chain.links if chain else ()
    if not links and grid.is_of(volume):
        return volume.data.astype(np.float32)
    return _apply(volume, grid, links, _INTERPOLATORS[interpolation])


def resample_mask(
    mask: Mask, scan: Volume, grid: Grid, chain: TransformChain | None = None
) -> Mask:
    """Resample a mask; a voxel is inside where linear interpolation gives at least 0.5.

    Args:
        mask: shape (x, y, z), on the grid of `scan`.
        scan: gives the mask's affine.
        grid: the output's grid.
        chain: transforms from the output to the scan; `None`: none.

    Returns:
        Bool, shape of the grid.
    """
    if not (chain and chain.links) and grid.is_of(scan):
        return mask.copy()
    return np.asarray(resample(_cut(mask, scan), grid, chain) >= 0.5)


def resample_nearest(
    mask: Mask, scan: Volume, grid: Grid, chain: TransformChain | None = None
) -> Mask:
    """Resample a mask: each voxel is what the nearest voxel of the scan is.

    For small things, such as lesions, which a threshold after interpolation would take away.

    Args:
        mask: shape (x, y, z), on the grid of `scan`.
        scan: gives the mask's affine.
        grid: the output's grid.
        chain: transforms from the output to the scan; `None`: none.

    Returns:
        Bool, shape of the grid; no voxel outside the scan is in it.
    """
    links = chain.links if chain else ()
    return np.asarray(_apply(_cut(mask, scan), grid, links, "nearestNeighbor") > 0.5)


def _cut(mask: Mask, scan: Volume) -> Volume:
    """Return the box of a mask with a margin, as a volume: the zeros around it need no resampling."""
    box = bounding_box(mask, margin=_MARGIN) if mask.any() else (slice(0, 1),) * 3
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return Volume(mask[box].astype(np.float32), affine)


def _apply(
    volume: Volume, grid: Grid, links: Sequence[Matrix | Path], interpolator: str
) -> NDArray[np.float32]:
    ants = ants_module()
    with tempfile.TemporaryDirectory(prefix="harmbench-xfm-") as folder:
        files = [
            str(link)
            if isinstance(link, Path)
            else str(write_linear(link, Path(folder) / f"{place}.mat"))
            for place, link in enumerate(links)
        ]
        if not files:
            files = [str(write_linear(np.eye(4), Path(folder) / "identity.mat"))]
        like = grid.empty()
        found = ants.apply_transforms(
            fixed=to_ants(like),
            moving=to_ants(volume),
            transformlist=files,
            whichtoinvert=[False] * len(files),
            interpolator=interpolator,
        )
        return from_ants(found, like)
