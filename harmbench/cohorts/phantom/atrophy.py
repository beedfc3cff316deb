"""Atrophy between two visits: a smooth deformation with a known Jacobian.

Brain tissue shrinks by the same share everywhere, the lateral ventricles widen, and fluid takes the
place of what is lost at the surface. A position x of the later visit shows what lay at x + u(x) at the
first one. The displacement u is the gradient of a potential whose Laplacian is the wanted divergence;
so where the determinant of the map is 1.01, one hundredth of the tissue is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from harmbench.arrays import Single
from harmbench.cohorts.phantom.atlas import Atlas
from harmbench.cohorts.phantom.fields import (
    Nodes,
    PhantomGrid,
    jacobian_determinants,
    node_grid,
)
from harmbench.cohorts.phantom.warp import (
    CENTRE_MM,
    Traits,
    Warp,
    positions_to_template,
    sample,
)

__all__ = ["Atrophy", "make_atrophy"]

_NODE_MM = 4.0
_CHECK_MM = 3.0
# Ventricles widen by about six times what tissue loses, in percent: the order of what is reported of
# ageing and multiple sclerosis; the number is an assumption.
_VENTRICLES = 6.0
_ROUNDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Atrophy:
    """How a brain has changed since the first visit.

    Attributes:
        percent: change of tissue volume asked for, in percent; below 0 for a loss.
        parts: displacement u along R, A, S in mm, from later to first position.
        smallest_jacobian: smallest determinant of x + u(x) on a 3 mm grid.
    """

    percent: float
    parts: tuple[Nodes, Nodes, Nodes]
    smallest_jacobian: float

    def earlier(self, grid: PhantomGrid) -> Single:
        """Positions (3, x, y, z) of the first visit that the voxels of `grid` show now, in mm."""
        return grid.positions() + np.stack([part.on(grid) for part in self.parts])

    def jacobian(self, grid: PhantomGrid) -> Single:
        """Determinant (x, y, z) of x + u(x): volume at the first visit over volume now."""
        moved = np.stack([part.on(grid) for part in self.parts])
        return jacobian_determinants(moved, grid.spacing_mm)


def make_atrophy(
    atlas: Atlas, warp: Warp, traits: Traits, field: PhantomGrid, percent: float
) -> Atrophy:
    """Make the deformation that changes a subject's brain tissue by `percent`.

    Args:
        atlas: the average brain.
        warp: from the subject to it.
        traits: size of the subject.
        field: box of the deformation.
        percent: change of the volume of grey and white matter together, above -10 and below 10.

    Raises:
        ValueError: `percent` is out of range.
    """
    if not -10 < percent < 10:
        raise ValueError(f"percent is {percent}, expected a change above -10 and below 10")
    nodes = node_grid(field, _NODE_MM)
    unit = _displacement(_divergence(atlas, warp, traits, nodes))
    x, y, z = (int(np.ceil(n * field.spacing_mm / _CHECK_MM)) for n in field.shape)
    check = PhantomGrid.around(CENTRE_MM, (x, y, z), _CHECK_MM)
    positions = check.positions()

    def tissue_at(amount: float) -> float:
        moved = positions + np.stack([Nodes(u, nodes).on(check) * np.float32(amount) for u in unit])
        return _tissue(atlas, positions_to_template(warp, moved, traits))

    before, amount = tissue_at(0.0), -percent / 100
    for _ in range(_ROUNDS if percent else 0):
        reached = 100 * (tissue_at(amount) / before - 1)
        # A change too small for single precision is left as it is.
        amount *= percent / reached if reached else 1.0
    a, b, c = (Nodes((u * np.float32(amount)).astype(np.float32), nodes) for u in unit)
    moved = np.stack([part.on(check) for part in (a, b, c)])
    return Atrophy(percent, (a, b, c), float(jacobian_determinants(moved, _CHECK_MM).min()))


def _tissue(atlas: Atlas, points: Single) -> float:
    """Sum of the probabilities of grey and white matter at template positions (3, ...)."""
    return sum(
        float(sample(part, atlas.grid, points).sum(dtype=np.float64))
        for part in (atlas.gm, atlas.wm)
    )


def _divergence(
    atlas: Atlas, warp: Warp, traits: Traits, nodes: PhantomGrid
) -> NDArray[np.float64]:
    """Wanted divergence for a loss of 100 %, shape of `nodes`, with mean 0."""
    points = positions_to_template(warp, nodes.positions(), traits)
    brain = ndimage.gaussian_filter(sample(atlas.brain, atlas.grid, points), 1.0).astype(float)
    ventricles = np.clip(sample(atlas.ventricles, atlas.grid, points), 0, 1).astype(float)
    inside = brain * (1 - ventricles) - _VENTRICLES * brain * ventricles
    outside = np.clip(1 - brain, 0, None)
    return np.asarray(inside - outside * (inside.sum() / outside.sum()))


def _displacement(divergence: NDArray[np.float64]) -> list[Single]:
    """Return the curl-free displacement with a divergence, in mm, no flow through the borders."""
    lines = [2 * np.cos(np.pi * np.arange(n) / n) - 2 for n in divergence.shape]
    eigenvalues = np.sum(np.meshgrid(*lines, indexing="ij"), axis=0)
    eigenvalues[0, 0, 0] = 1
    spectrum = fft.dctn(divergence, type=2) / eigenvalues
    spectrum[0, 0, 0] = 0
    potential = fft.idctn(spectrum, type=2) * _NODE_MM**2
    return [part.astype(np.float32) for part in np.gradient(potential, _NODE_MM)]
