"""How a subject's brain differs in size and shape from the average one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from harmbench.arrays import Single
from harmbench.cohorts.phantom.atlas import Atlas
from harmbench.cohorts.phantom.fields import (
    Nodes,
    PhantomGrid,
    exponentiate,
    jacobian_determinants,
    node_grid,
    random_nodes,
)
from harmbench.cohorts.phantom.subjects import Subject

__all__ = [
    "CENTRE_MM",
    "Traits",
    "Warp",
    "brain_box",
    "draw_traits",
    "draw_warp",
    "keep_volume",
    "positions_to_template",
    "sample",
    "to_template",
]

Triple = tuple[int, int, int]

CENTRE_MM = (0.0, -18.0, 4.0)
"""Centre of the field of view, in subject and in template millimetres."""

_NODE_MM = 4.0
_SMALLEST_JACOBIAN = 0.15
# Velocity of the warp between the average brain and a subject: (scale in mm, SD in mm).
_WARP_SCALES = ((24.0, 3.0), (10.0, 2.0), (5.5, 1.2))
_AVERAGE_SIZE = 0.918


@dataclass(frozen=True, slots=True)
class Traits:
    """How a subject differs from the average brain as a whole.

    Attributes:
        scale: size along R, A, S relative to the template.
        ventricle_mm: how far the walls of the ventricles are moved outwards.
        sulci: what is added to the score of fluid: above the average, sulci are wider.
        thinning: what is added to the score of white matter: above the average, cortex is thinner.
        lesion_ml: lesion load aimed at.
    """

    scale: tuple[float, float, float]
    ventricle_mm: float
    sulci: float
    thinning: float
    lesion_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """Displacement from subject to (unscaled) template positions.

    Attributes:
        parts: displacement along R, A, S in mm, as functions of the subject's position.
        smallest_jacobian: smallest determinant on a 2 mm grid; above 0, the map does not fold.
    """

    parts: tuple[Nodes, Nodes, Nodes]
    smallest_jacobian: float


def draw_traits(subject: Subject, generator: np.random.Generator) -> Traits:
    """Draw size, atrophy and lesion load.

    Atrophy grows with age beyond 25 years and with multiple sclerosis; lesion loads are log-normal
    about 7 ml, from 1 to 30. Sizes give brains of 1.2 to 1.6 l with the fluid in them.
    """
    normal = np.clip(generator.standard_normal(8), -2, 2)
    size = _AVERAGE_SIZE * (1.018 if subject.sex == "M" else 0.982) * (1 + 0.018 * normal[0])
    x, y, z = size * (1 + 0.014 * normal[1:4])
    decades = max(0.0, (subject.age - 25) / 10)
    patient = subject.group == "MS"
    atrophy = 0.35 * decades + (0.8 if patient else 0.0)
    load = float(np.clip(np.exp(np.log(7.0) + 0.8 * normal[7]), 1.0, 30.0)) if patient else 0.0
    return Traits(
        scale=(float(x), float(y), float(z)),
        ventricle_mm=float(np.clip(-0.6 + 0.8 * atrophy + 0.8 * normal[4], -1.5, 4.0)),
        sulci=float(0.06 + 0.05 * atrophy + 0.03 * normal[5]),
        thinning=float(0.03 * atrophy - 0.06 + 0.03 * normal[6]),
        lesion_ml=load,
    )


def draw_warp(
    generator: np.random.Generator, atlas: Atlas, field: PhantomGrid, traits: Traits
) -> Warp:
    """Draw the warp between a subject and the average brain.

    A stationary velocity field at three scales, and one that widens the ventricles, is integrated;
    should the result come near to folding, the whole field is weakened until it does not.
    """
    nodes = node_grid(field, _NODE_MM)
    velocity = np.zeros((3, *nodes.shape), dtype=np.float32)
    for scale, sd in _WARP_SCALES:
        for axis in range(3):
            velocity[axis] += sd * random_nodes(generator, field, _NODE_MM, scale).values
    # A pull-back towards the ventricles: what lay in them spreads outwards.
    points = np.stack(np.meshgrid(*(nodes.axis(a) for a in range(3)), indexing="ij"))
    ventricles = ndimage.gaussian_filter(atlas.ventricles, 4.0)
    slope = np.stack(np.gradient(sample(ventricles, atlas.grid, points), _NODE_MM))
    velocity += traits.ventricle_mm * slope / np.sqrt((slope**2).sum(0)).max()
    half = PhantomGrid.around(CENTRE_MM, (80, 112, 112), 2.0)
    while True:
        parts = [Nodes(part, nodes) for part in exponentiate(velocity, _NODE_MM)]
        determinants = jacobian_determinants(np.stack([part.on(half) for part in parts]), 2.0)
        smallest = float(determinants.min())
        if smallest >= _SMALLEST_JACOBIAN:
            return Warp((parts[0], parts[1], parts[2]), smallest)
        velocity *= np.float32(0.85)


def keep_volume(atlas: Atlas, warp: Warp, traits: Traits, field: PhantomGrid) -> Traits:
    """Scale a subject so that its brain has the volume that its traits ask for, despite the warp."""
    x, y, z = (int(np.ceil(n * field.spacing_mm / _NODE_MM)) for n in field.shape)
    coarse = PhantomGrid.around(CENTRE_MM, (x, y, z), _NODE_MM)
    brain = sample(atlas.brain, atlas.grid, to_template(warp, coarse, traits))
    asked = float(atlas.brain.sum(dtype=np.float64)) * atlas.grid.spacing_mm**3
    asked *= float(np.prod(traits.scale))
    factor = (asked / (float(brain.sum(dtype=np.float64)) * _NODE_MM**3)) ** (1 / 3)
    a, b, c = (scale * factor for scale in traits.scale)
    return replace(traits, scale=(a, b, c))


def to_template(warp: Warp, grid: PhantomGrid, traits: Traits) -> Single:
    """Template positions (3, nx, ny, nz) in mm of the voxels of `grid`."""
    points = np.empty((3, *grid.shape), dtype=np.float32)
    for axis, part in enumerate(warp.parts):
        shape = [1, 1, 1]
        shape[axis] = -1
        line = (grid.axis(axis) - CENTRE_MM[axis]).astype(np.float32).reshape(shape)
        points[axis] = (part.on(grid) + line) / np.float32(traits.scale[axis]) + CENTRE_MM[axis]
    return points


def positions_to_template(warp: Warp, positions_mm: Single, traits: Traits) -> Single:
    """Template positions of subject positions, both (3, ...) in mm."""
    points = np.empty_like(positions_mm)
    for axis, part in enumerate(warp.parts):
        line = positions_mm[axis] - np.float32(CENTRE_MM[axis])
        moved = part.at(positions_mm) + line
        points[axis] = moved / np.float32(traits.scale[axis]) + np.float32(CENTRE_MM[axis])
    return points


def sample(values: Single, grid: PhantomGrid, points_mm: Single) -> Single:
    """Interpolate a map, shape (x, y, z), linearly at positions (3, ...) in mm; 0 outside it."""
    start = np.asarray(grid.start_mm, dtype=np.float32).reshape(3, *[1] * (points_mm.ndim - 1))
    index = (points_mm - start) / np.float32(grid.spacing_mm)
    found: Single = ndimage.map_coordinates(values, index, order=1, output=np.float32)
    return found


def brain_box(
    atlas: Atlas, warp: Warp, traits: Traits, grid: PhantomGrid, margin_mm: float
) -> tuple[Triple, Triple]:
    """Return the first index, and the one past the last, of the box of `grid` around the brain."""
    x, y, z = (int(np.ceil(n * grid.spacing_mm / _NODE_MM)) for n in grid.shape)
    coarse = PhantomGrid.around(CENTRE_MM, (x, y, z), _NODE_MM)
    brain = sample(atlas.brain, atlas.grid, to_template(warp, coarse, traits)) > 0.02
    where = np.argwhere(brain)
    low, high = [], []
    for axis in range(3):
        line = coarse.axis(axis)
        first = line[where[:, axis].min()] - margin_mm - grid.start_mm[axis]
        last = line[where[:, axis].max()] + margin_mm - grid.start_mm[axis]
        low.append(max(0, int(first / grid.spacing_mm)))
        high.append(min(grid.shape[axis], int(last / grid.spacing_mm) + 2))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
