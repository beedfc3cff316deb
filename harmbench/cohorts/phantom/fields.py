"""Smooth random fields and fold-free deformations on coarse node grids, evaluated on any finer grid.

Everything random is drawn on grids of fixed spacing in millimetres, so a subject has the same
anatomy at every voxel size. All sums run in a fixed order of element-wise operations: the bytes do
not depend on the number of threads of a linear algebra library.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Single

__all__ = [
    "Nodes",
    "PhantomGrid",
    "exponentiate",
    "jacobian_determinants",
    "node_grid",
    "random_nodes",
]

Triple = tuple[int, int, int]

# Standard deviation of a cubic B-spline with white coefficients of unit variance, averaged over
# positions between nodes: the integral of B(x)^2 is 151/315 per axis.
_SPLINE_SD = (151 / 315) ** 1.5


@dataclass(frozen=True, slots=True)
class PhantomGrid:
    """An axis-aligned box of voxels in RAS: voxel i lies at `start_mm + i * spacing_mm`."""

    shape: Triple
    spacing_mm: float
    start_mm: tuple[float, float, float]

    @classmethod
    def around(
        cls, centre_mm: tuple[float, float, float], shape: Triple, spacing: float
    ) -> PhantomGrid:
        """Make the grid of `shape` whose box is centred on `centre_mm`."""
        x, y, z = (c - (n - 1) / 2 * spacing for c, n in zip(centre_mm, shape, strict=True))
        return cls(shape, spacing, (x, y, z))

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), voxel indices to RAS millimetres."""
        matrix = np.diag([self.spacing_mm] * 3 + [1.0])
        matrix[:3, 3] = self.start_mm
        return matrix

    def positions(self) -> Single:
        """Positions (3, x, y, z) of the voxel centres, in mm."""
        lines = (self.axis(number).astype(np.float32) for number in range(3))
        return np.stack(np.meshgrid(*lines, indexing="ij"))

    def axis(self, number: int) -> NDArray[np.float64]:
        """Positions of the voxel centres along an axis, shape (n,), in mm."""
        steps = np.arange(self.shape[number], dtype=np.float64)
        return np.asarray(self.start_mm[number] + self.spacing_mm * steps)

    def refined(self, factor: int) -> PhantomGrid:
        """Return the grid of the same box with each voxel cut into `factor`^3."""
        x, y, z = (n * factor for n in self.shape)
        spacing = self.spacing_mm / factor
        a, b, c = (s + (spacing - self.spacing_mm) / 2 for s in self.start_mm)
        return PhantomGrid((x, y, z), spacing, (a, b, c))

    def crop(self, low: Triple, high: Triple) -> PhantomGrid:
        """Return the part of the grid from index `low` up to, not with, `high`."""
        x, y, z = (b - a for a, b in zip(low, high, strict=True))
        a, b, c = (s + i * self.spacing_mm for s, i in zip(self.start_mm, low, strict=True))
        return PhantomGrid((x, y, z), self.spacing_mm, (a, b, c))


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """A smooth function: cubic B-spline coefficients (nx, ny, nz) on the nodes of a coarse grid."""

    values: Single
    grid: PhantomGrid

    def on(self, grid: PhantomGrid) -> Single:
        """Evaluate at the voxels of `grid`, shape (x, y, z); beyond the nodes the function is constant."""
        out = self.values
        for axis in range(3):
            position = (grid.axis(axis) - self.grid.start_mm[axis]) / self.grid.spacing_mm
            base = np.floor(position)
            t = (position - base).astype(np.float32)
            first = base.astype(np.intp) - 1
            weights = (
                (1 - t) ** 3 / 6,
                (3 * t**3 - 6 * t**2 + 4) / 6,
                (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
                t**3 / 6,
            )
            shape = [1, 1, 1]
            shape[axis] = -1
            total: Single = np.zeros((), dtype=np.float32)
            for offset, weight in enumerate(weights):
                index = np.clip(first + offset, 0, self.grid.shape[axis] - 1)
                total = total + np.take(out, index, axis=axis) * weight.reshape(shape)
            out = total
        return out

    def at(self, positions_mm: Single) -> Single:
        """Evaluate at positions (3, ...) in mm; returns (...), as `on` does at those of a grid."""
        start = np.asarray(self.grid.start_mm, dtype=np.float32)
        start = start.reshape(3, *[1] * (positions_mm.ndim - 1))
        index = (positions_mm - start) / np.float32(self.grid.spacing_mm)
        found: Single = ndimage.map_coordinates(
            self.values, index, order=3, prefilter=False, mode="nearest", output=np.float32
        )
        return found

    def smoothed(self, sigma_mm: float) -> Nodes:
        """Return the function with its coefficients smoothed by a Gaussian."""
        sigma = sigma_mm / self.grid.spacing_mm
        return Nodes(ndimage.gaussian_filter(self.values, sigma, mode="nearest"), self.grid)

    def scaled(self, factor: float) -> Nodes:
        """Return the function times `factor`."""
        return Nodes((self.values * np.float32(factor)).astype(np.float32), self.grid)


def node_grid(box: PhantomGrid, spacing_mm: float) -> PhantomGrid:
    """Return the grid of nodes that covers a box with two nodes to spare on each side."""
    low = [box.start_mm[a] - 2 * spacing_mm for a in range(3)]
    count = [int(np.ceil((box.shape[a] - 1) * box.spacing_mm / spacing_mm)) + 5 for a in range(3)]
    return PhantomGrid((count[0], count[1], count[2]), spacing_mm, (low[0], low[1], low[2]))


def random_nodes(
    generator: np.random.Generator, box: PhantomGrid, spacing_mm: float, sigma_mm: float = 0.0
) -> Nodes:
    """Draw a random function of mean 0 and standard deviation 1, without detail below its scale.

    Args:
        generator: source of the random numbers.
        box: the function is needed inside this box.
        spacing_mm: distance of the nodes; wavelengths below about twice this are absent.
        sigma_mm: further Gaussian smoothing, for scales beyond the nodes'.
    """
    grid = node_grid(box, spacing_mm)
    white = Nodes(generator.standard_normal(grid.shape, dtype=np.float32), grid)
    if sigma_mm == 0:
        return white.scaled(1 / _SPLINE_SD)
    smooth = white.smoothed(sigma_mm)
    return smooth.scaled(1 / float(smooth.values.std()))


def exponentiate(velocity: Single, spacing_mm: float) -> Single:
    """Integrate a stationary velocity field to a displacement, by scaling and squaring.

    Arsigny et al. 2006. The result is a diffeomorphism as far as the grid resolves it.

    Args:
        velocity: (3, nx, ny, nz) in mm.
        spacing_mm: distance between nodes.

    Returns:
        Displacement (3, nx, ny, nz) in mm: a point x goes to x + displacement(x).
    """
    largest = float(np.abs(velocity).max()) / spacing_mm
    steps = max(0, int(np.ceil(np.log2(max(largest, 1e-9) / 0.25))))
    field = velocity / np.float32(spacing_mm * 2**steps)
    identity = np.indices(velocity.shape[1:], dtype=np.float32)
    for _ in range(steps):
        moved = identity + field
        field = field + np.stack(
            [ndimage.map_coordinates(part, moved, order=1, mode="nearest") for part in field]
        )
    return (field * np.float32(spacing_mm)).astype(np.float32)


def jacobian_determinants(displacement: Single, spacing_mm: float) -> Single:
    """Determinant of the gradient of x + displacement(x), by central differences.

    Args:
        displacement: (3, nx, ny, nz) in mm, on a grid of `spacing_mm`.

    Returns:
        (nx, ny, nz); above 0 where the map does not fold.
    """
    rows = [list(np.gradient(part, spacing_mm)) for part in displacement]
    for axis in range(3):
        rows[axis][axis] = rows[axis][axis] + 1
    (a, b, c), (d, e, f), (g, h, i) = rows
    found = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return np.asarray(found, dtype=np.float32)
