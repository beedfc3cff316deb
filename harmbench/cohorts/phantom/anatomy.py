"""A subject's anatomy: a warped average brain with folding, partial volume and disease of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.cohorts.phantom.atlas import Atlas
from harmbench.cohorts.phantom.fields import (
    Grid,
    Nodes,
    exponentiate,
    jacobian_determinants,
    node_grid,
    random_nodes,
)
from harmbench.cohorts.phantom.lesions import lesion_map
from harmbench.cohorts.phantom.physics import CLASSES
from harmbench.cohorts.phantom.subjects import Subject

__all__ = ["CENTRE_MM", "FIELD_OF_VIEW_MM", "HULL_LEVEL", "Anatomy", "field_of_view", "make_anatomy"]

Floats = NDArray[np.float32]
Triple = tuple[int, int, int]

FIELD_OF_VIEW_MM = (160.0, 224.0, 224.0)
CENTRE_MM = (0.0, -18.0, 4.0)

HULL_LEVEL = 0.3

_T1_DEVIATION_SD = 0.02
_MYELIN_GM = 0.35
_MYELIN_WM = 0.15
_HULL_MM = 3.0
_NODE_MM = 4.0
_SMALLEST_JACOBIAN = 0.15
# Velocity of the warp between the average brain and a subject: (scale in mm, SD in mm).
_WARP_SCALES = ((24.0, 3.0), (10.0, 2.0), (5.5, 1.2))
# Perturbation of tissue boundaries: (distance of nodes in mm, SD in units of probability).
_FOLDING_SCALES = ((3.0, 0.10), (6.0, 0.12))
_TEMPERATURE = 0.07
_DEEP_TEMPERATURE = 0.22
_CSF_GAIN = 1.7
_CSF_DETAIL = 2.8
_WM_DETAIL = 1.5
_FOLD_NODE_MM = 7.0
_FOLIA_NODE_MM = 2.6
_FOLD_WIDTH = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """What the scanner sees of a subject, on a box around the brain cut out of a larger grid.

    Attributes:
        grid: the box, in RAS; all maps have its shape.
        offset: index of the box's first voxel in the grid it was cut from.
        fractions: class (see `physics.CLASSES`) to the share of each voxel, float32 in [0, 1].
            They sum to 1; around the brain there is fluid.
        t1_deviation: relative deviation of T1 from the tissue's mean, smooth.
        hull: smoothed membership of the brain's envelope; above `HULL_LEVEL` lies the brain with
            the fluid in its sulci and ventricles.
        smallest_jacobian: of the warp from the average brain; above 0, so it does not fold.
    """

    grid: Grid
    offset: Triple
    fractions: Mapping[str, Floats]
    t1_deviation: Floats
    hull: Floats
    smallest_jacobian: float

    @property
    def brain(self) -> NDArray[np.bool_]:
        """The brain with the fluid in it: what an ideal skull stripping keeps."""
        return self.hull > HULL_LEVEL


@dataclass(frozen=True, slots=True)
class _Traits:
    """How a subject differs from the average brain as a whole."""

    scale: tuple[float, float, float]
    ventricle_mm: float
    sulci: float
    thinning: float
    lesion_ml: float


@dataclass(frozen=True, slots=True, eq=False)
class _Warp:
    """Displacement from subject to (unscaled) template positions, as three functions in mm."""

    parts: tuple[Nodes, Nodes, Nodes]
    smallest_jacobian: float


def field_of_view(spacing_mm: float) -> Grid:
    """Return the grid of the prepared volumes: 160 x 224 x 224 voxels at 1 mm.

    At other voxel sizes it covers the same box, with an even number of voxels along each axis.
    """
    x, y, z = (2 * int(np.ceil(n / spacing_mm / 2 - 1e-9)) for n in FIELD_OF_VIEW_MM)
    return Grid.around(CENTRE_MM, (x, y, z), spacing_mm)


def make_anatomy(
    subject: Subject, atlas: Atlas, grid: Grid, margin_mm: float = 8.0
) -> Anatomy:
    """Make the anatomy of a subject: the same for every voxel size.

    Voxels of more than 1.4 mm are averaged from voxels of half that size.

    Args:
        subject: whose anatomy.
        atlas: the average brain.
        grid: a grid of the whole field of view; the result is a box of its voxels.
        margin_mm: what the box leaves around the brain.
    """
    factor = 2 if grid.spacing_mm > 1.4 else 1
    fine = grid.refined(factor)
    field = Grid.around(CENTRE_MM, (160, 224, 224), 1.0)
    generator = subject.anatomy_generator()
    traits = _draw_traits(subject, generator)
    warp = _draw_warp(generator, atlas, field, traits)
    noise = [random_nodes(generator, field, step) for step, _ in _FOLDING_SCALES for _ in range(2)]
    noise += [random_nodes(generator, field, step) for step in (_FOLD_NODE_MM, _FOLIA_NODE_MM)]
    deviation = random_nodes(generator, field, 6.0, 10.0)
    lesions = lesion_map(generator, atlas, traits.lesion_ml / float(np.prod(traits.scale)))

    low, high = _brain_box(atlas, warp, fine, traits, factor, margin_mm)
    box = fine.crop(low, high)
    points = _to_template(warp, box, traits)
    inside = _sample(atlas.brain, atlas.grid, points) > 0.02
    points = points[:, inside]
    names = ("wm", "gm", "wm_detail", "csf_detail", "deep_gm", "brainstem", "cerebellum", "depth")
    maps = {name: _sample(getattr(atlas, name), atlas.grid, points) for name in names}
    maps["lesion"] = _sample(lesions, atlas.grid, points)
    shares = _shares(maps, [nodes.on(box)[inside] for nodes in noise], traits)
    fractions = {}
    for name in CLASSES:
        whole = np.full(box.shape, name == "CSF", dtype=np.float32)
        whole[inside] = shares[name]
        fractions[name] = _block_mean(whole, factor)
    myelin = np.zeros(box.shape, dtype=np.float32)
    myelin[inside] = _myelin(maps["wm"], shares)
    start = tuple(i // factor for i in low)
    coarse = grid.crop(start, tuple(i // factor for i in high))
    return Anatomy(
        grid=coarse,
        offset=start,
        fractions=fractions,
        t1_deviation=_block_mean(myelin, factor) + _T1_DEVIATION_SD * deviation.on(coarse),
        hull=_hull(1 - fractions["CSF"], coarse.spacing_mm),
        smallest_jacobian=warp.smallest_jacobian,
    )


def _draw_traits(subject: Subject, generator: np.random.Generator) -> _Traits:
    normal = generator.standard_normal(8)
    size = 0.925 * (1.018 if subject.sex == "M" else 0.982) * (1 + 0.018 * normal[0])
    x, y, z = size * (1 + 0.014 * normal[1:4])
    decades = max(0.0, (subject.age - 25) / 10)
    patient = subject.group == "MS"
    atrophy = 0.35 * decades + (0.8 if patient else 0.0)
    load = float(np.clip(np.exp(np.log(7.0) + 0.8 * normal[7]), 1.0, 30.0)) if patient else 0.0
    return _Traits(
        scale=(float(x), float(y), float(z)),
        ventricle_mm=float(np.clip(-0.6 + 0.8 * atrophy + 0.8 * normal[4], -1.5, 4.0)),
        sulci=float(0.06 + 0.05 * atrophy + 0.03 * normal[5]),
        thinning=float(0.03 * atrophy - 0.06 + 0.03 * normal[6]),
        lesion_ml=load,
    )


def _draw_warp(
    generator: np.random.Generator, atlas: Atlas, field: Grid, traits: _Traits
) -> _Warp:
    nodes = node_grid(field, _NODE_MM)
    velocity = np.zeros((3, *nodes.shape), dtype=np.float32)
    for scale, sd in _WARP_SCALES:
        for axis in range(3):
            velocity[axis] += sd * random_nodes(generator, field, _NODE_MM, scale).values
    # A pull-back towards the ventricles: what lay in them spreads outwards.
    points = np.stack(np.meshgrid(*(nodes.axis(a) for a in range(3)), indexing="ij"))
    ventricles = ndimage.gaussian_filter(atlas.ventricles, 4.0)
    slope = np.stack(np.gradient(_sample(ventricles, atlas.grid, points), _NODE_MM))
    velocity += traits.ventricle_mm * slope / np.sqrt((slope**2).sum(0)).max()
    half = Grid.around(CENTRE_MM, (80, 112, 112), 2.0)
    while True:
        parts = [Nodes(part, nodes) for part in exponentiate(velocity, _NODE_MM)]
        determinants = jacobian_determinants(np.stack([part.on(half) for part in parts]), 2.0)
        smallest = float(determinants.min())
        if smallest >= _SMALLEST_JACOBIAN:
            return _Warp((parts[0], parts[1], parts[2]), smallest)
        velocity *= np.float32(0.85)


def _to_template(warp: _Warp, grid: Grid, traits: _Traits) -> Floats:
    """Template positions (3, nx, ny, nz) in mm of the voxels of `grid`."""
    points = np.empty((3, *grid.shape), dtype=np.float32)
    for axis, part in enumerate(warp.parts):
        shape = [1, 1, 1]
        shape[axis] = -1
        line = (grid.axis(axis) - CENTRE_MM[axis]).astype(np.float32).reshape(shape)
        points[axis] = (part.on(grid) + line) / np.float32(traits.scale[axis]) + CENTRE_MM[axis]
    return points


def _sample(values: Floats, grid: Grid, points_mm: Floats) -> Floats:
    """Linear interpolation of a map at positions (3, ...) in mm; 0 outside of it."""
    start = np.asarray(grid.start_mm, dtype=np.float32).reshape(3, *[1] * (points_mm.ndim - 1))
    index = (points_mm - start) / np.float32(grid.spacing_mm)
    return ndimage.map_coordinates(values, index, order=1, mode="constant", output=np.float32)


def _brain_box(
    atlas: Atlas, warp: _Warp, fine: Grid, traits: _Traits, factor: int, margin_mm: float
) -> tuple[Triple, Triple]:
    """Index box on the fine grid that holds the brain with a margin, in whole coarse voxels."""
    step = Grid.around(CENTRE_MM, (40, 56, 56), 4.0)
    brain = _sample(atlas.brain, atlas.grid, _to_template(warp, step, traits)) > 0.02
    where = np.argwhere(brain)
    low, high = [], []
    for axis in range(3):
        first = step.axis(axis)[where[:, axis].min()] - margin_mm
        last = step.axis(axis)[where[:, axis].max()] + margin_mm
        a = int((first - fine.start_mm[axis]) / fine.spacing_mm)
        b = int((last - fine.start_mm[axis]) / fine.spacing_mm) + 1
        low.append(max(0, a // factor * factor))
        high.append(min(fine.shape[axis], -(-b // factor) * factor))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _shares(
    maps: Mapping[str, Floats], noises: list[Floats], traits: _Traits
) -> dict[str, Floats]:
    """Shares of the classes at N points inside the brain, arrays (N,) summing to 1."""
    wm, gm = maps["wm"], maps["gm"]
    csf = np.clip(1 - wm - gm, 0, 1)
    deep = np.maximum(maps["deep_gm"], maps["brainstem"])
    cortical = 1 - deep
    sds = [sd for _, sd in _FOLDING_SCALES for _ in range(2)]
    white_noise = sds[0] * noises[0] + sds[2] * noises[2]
    fluid_noise = sds[1] * noises[1] + sds[3] * noises[3]
    # Zero crossings of a random function are smooth sheets: sulci of the subject's own. Half-way
    # between two of them the white matter of a gyrus reaches up.
    cerebellum = maps["cerebellum"]
    fold = np.abs(noises[4] * (1 - cerebellum) + noises[5] * cerebellum)
    sulcus = np.clip(1 - fold / _FOLD_WIDTH, 0, 1)
    gyrus = np.clip(fold - 0.8, 0, 0.7)
    bulk = cortical * np.minimum(1.6 * gm * (1 - wm), 1)
    ribbon = cortical * 4 * gm * wm * np.clip(1 - fold / 0.9, 0, 1)
    # Where the average has blurred all folds below the surface, sulci cut into its white matter.
    blurred = cortical * (1 - cerebellum) * wm * np.clip(1.5 - maps["depth"] / 10, 0, 1)
    cut = 3.4 * blurred * np.clip(1 - fold / 0.25, 0, 1)
    lining = 2.2 * blurred * np.clip((0.75 - fold) / 0.3, 0, 1)
    scores = np.stack(
        [
            csf * _CSF_GAIN
            + cortical * (_CSF_DETAIL * maps["csf_detail"] + traits.sulci + fluid_noise)
            + (1.0 - 0.4 * cerebellum) * bulk * sulcus
            + cut,
            gm + 0.4 * ribbon + lining,
            wm
            + cortical * (_WM_DETAIL * maps["wm_detail"] + traits.thinning + white_noise)
            + 0.7 * bulk * gyrus,
        ]
    )
    temperature = _TEMPERATURE + (_DEEP_TEMPERATURE - _TEMPERATURE) * deep
    scores = (scores - scores.max(0)) / temperature
    scores = np.exp(scores)
    scores /= scores.sum(0)
    fluid, grey, white = scores
    lesion = maps["lesion"] * white
    return {
        "CSF": fluid,
        "GM": grey * cortical,
        "DGM": grey * deep,
        "WM": white - lesion,
        "LESION": lesion,
    }


def _myelin(wm: Floats, shares: Mapping[str, Floats]) -> Floats:
    """Relative deviation of T1 with myelin, at points.

    T1 falls with depth: deep cortical layers hold more myelin than those at the surface, and central
    white matter more than that below the cortex. The average brain's share of white matter stands
    for depth.
    """
    grey = -_MYELIN_GM * (np.clip(wm, 0, 0.6) - 0.2)
    white = _MYELIN_WM * np.clip(0.9 - wm, -0.1, 0.6)
    return (shares["GM"] * grey + shares["WM"] * white).astype(np.float32)


def _hull(tissue: Floats, spacing_mm: float) -> Floats:
    """Smooth the share of tissue, with the cavities that it encloses filled."""
    hull = ndimage.gaussian_filter(tissue, _HULL_MM / spacing_mm)
    cavities = ndimage.binary_fill_holes(hull > HULL_LEVEL) & (hull <= HULL_LEVEL)
    hull[cavities] = 1
    return hull


def _block_mean(values: Floats, factor: int) -> Floats:
    if factor == 1:
        return values
    x, y, z = (n // factor for n in values.shape)
    blocks = values.reshape(x, factor, y, factor, z, factor)
    return blocks.mean(axis=(1, 3, 5), dtype=np.float32)
