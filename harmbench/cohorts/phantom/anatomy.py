"""A subject's anatomy: a warped average brain with folding, partial volume and disease of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Mask, Single
from harmbench.cohorts.phantom.atlas import Atlas
from harmbench.cohorts.phantom.atrophy import Atrophy, make_atrophy
from harmbench.cohorts.phantom.fields import Nodes, PhantomGrid, random_nodes
from harmbench.cohorts.phantom.folding import draw_folding, myelin_deviation, tissue_shares
from harmbench.cohorts.phantom.lesions import lesion_map
from harmbench.cohorts.phantom.physics import CLASSES
from harmbench.cohorts.phantom.subjects import Subject
from harmbench.cohorts.phantom.warp import (
    CENTRE_MM,
    Traits,
    Warp,
    brain_box,
    draw_traits,
    draw_warp,
    keep_volume,
    positions_to_template,
    sample,
    to_template,
)

__all__ = ["FIELD_OF_VIEW_MM", "HULL_LEVEL", "Anatomy", "field_of_view", "make_anatomy"]

Triple = tuple[int, int, int]

FIELD_OF_VIEW_MM = (160.0, 224.0, 224.0)
HULL_LEVEL = 0.3

_HULL_MM = 3.0
_T1_DEVIATION_SD = 0.04
_FINE_ENOUGH_MM = 1.4
_MAPS = (
    "wm",
    "gm",
    "wm_detail",
    "csf_detail",
    "deep_gm",
    "brainstem",
    "cerebellum",
    "depth",
    "ventricles",
)


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """The tissues of a subject, on a box around the brain that is a part of a larger grid.

    Attributes:
        grid: the box, in RAS; all maps have its shape.
        offset: index of the box's first voxel in the grid it was cut from.
        fractions: class (one of `physics.CLASSES` or BLOOD, the larger arteries) to the share of
            each voxel, float32 in [0, 1]. They sum to 1; around the brain there is fluid.
        t1_deviation: relative deviation of T1 from the tissue's mean, smooth.
        hull: smoothed membership of the brain's envelope; above `HULL_LEVEL` lies the brain with
            the fluid in its sulci and ventricles.
        smallest_jacobian: of the warp from the average brain; above 0, so it does not fold.
    """

    grid: PhantomGrid
    offset: Triple
    fractions: Mapping[str, Single]
    t1_deviation: Single
    hull: Single
    smallest_jacobian: float

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Mask (x, y, z) of the brain with its fluid: the result of an ideal skull stripping."""
        return self.hull > HULL_LEVEL

    @property
    def tissues(self) -> dict[str, Single]:
        """Shares of CSF, GM and WM, each (x, y, z), which sum to 1: vessels are CSF, lesions WM."""
        share = self.fractions
        return {
            "CSF": share["CSF"] + share["BLOOD"],
            "GM": share["GM"] + share["DGM"],
            "WM": share["WM"] + share["LESION"],
        }

    @property
    def lesions(self) -> NDArray[np.bool_]:
        """Mask (x, y, z) of the voxels that are lesion for the most part."""
        return np.asarray((self.fractions["LESION"] > 0.5) & self.brain)

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The tissue with the largest share, (x, y, z): 1 CSF, 2 GM, 3 WM, everywhere in the box."""
        largest = np.stack(list(self.tissues.values())).argmax(0)
        return np.asarray(largest + 1, dtype=np.uint8)


def field_of_view(spacing_mm: float) -> PhantomGrid:
    """Return the grid of the prepared volumes: 160 x 224 x 224 voxels at 1 mm.

    At other voxel sizes it covers the same box, with an even number of voxels along each axis.
    """
    x, y, z = (2 * int(np.ceil(n / spacing_mm / 2 - 1e-9)) for n in FIELD_OF_VIEW_MM)
    return PhantomGrid.around(CENTRE_MM, (x, y, z), spacing_mm)


def make_anatomy(
    subject: Subject,
    atlas: Atlas,
    grid: PhantomGrid,
    margin_mm: float = 8.0,
    change_percent: float = 0.0,
) -> Anatomy:
    """Make the anatomy of a subject: the same for every voxel size.

    Voxels of more than 1.4 mm are averaged from voxels of half that size.

    Args:
        subject: whose anatomy to make.
        atlas: the average brain.
        grid: a grid of the whole field of view; the result is a box of its voxels.
        margin_mm: margin of the box around the brain.
        change_percent: change of tissue volume since the first visit, see `make_atrophy`; the box
            is that of the first visit.
    """
    factor = 2 if grid.spacing_mm > _FINE_ENOUGH_MM else 1
    field = field_of_view(1.0)
    person = _draw(subject, atlas, field)
    low, high = brain_box(atlas, person.warp, person.traits, grid, margin_mm)
    box = grid.crop(low, high)
    change = (
        make_atrophy(atlas, person.warp, person.traits, field, change_percent)
        if change_percent
        else None
    )
    fine, coarse = (_Shown.on(part, change) for part in (box.refined(factor), box))
    points = fine.template_points(person)
    inside = sample(atlas.brain, atlas.grid, points) > 0.02
    points = points[:, inside]
    maps = {name: sample(getattr(atlas, name), atlas.grid, points) for name in _MAPS}
    maps["lesion"] = sample(person.lesions, atlas.grid, points)
    noises = [fine.values(nodes, inside) for nodes in person.folding]
    shares = tissue_shares(maps, noises, person.traits)

    def averaged(values: Single, outside: float = 0.0) -> Single:
        whole = np.full(inside.shape, outside, dtype=np.float32)
        whole[inside] = values
        return _block_mean(whole, factor)

    fractions = {n: averaged(shares[n], float(n == "CSF")) for n in (*CLASSES, "BLOOD")}
    myelin = averaged(myelin_deviation(maps["wm"], shares))
    return Anatomy(
        grid=box,
        offset=low,
        fractions=fractions,
        t1_deviation=myelin + np.float32(_T1_DEVIATION_SD) * coarse.values(person.deviation),
        hull=_hull(1 - fractions["CSF"] - fractions["BLOOD"], box.spacing_mm),
        smallest_jacobian=person.warp.smallest_jacobian,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    """What is drawn of a subject, as functions of its positions at the first visit."""

    traits: Traits
    warp: Warp
    folding: tuple[Nodes, ...]
    deviation: Nodes
    lesions: Single


def _draw(subject: Subject, atlas: Atlas, field: PhantomGrid) -> _Person:
    generator = subject.anatomy_generator()
    traits = draw_traits(subject, generator)
    warp = draw_warp(generator, atlas, field, traits)
    traits = keep_volume(atlas, warp, traits, field)
    folding = draw_folding(generator, field)
    deviation = random_nodes(generator, field, 6.0, 10.0)
    lesions = lesion_map(generator, atlas, traits.lesion_ml / float(np.prod(traits.scale)))
    return _Person(traits, warp, folding, deviation, lesions)


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    """What the voxels of a grid show: themselves, or at a later visit what has moved there.

    Attributes:
        grid: of the voxels.
        earlier: positions (3, x, y, z) at the first visit; `None` at the first visit.
    """

    grid: PhantomGrid
    earlier: Single | None

    @classmethod
    def on(cls, grid: PhantomGrid, change: Atrophy | None) -> _Shown:
        return cls(grid, None if change is None else change.earlier(grid))

    def template_points(self, person: _Person) -> Single:
        """Template positions (3, x, y, z) in mm."""
        if self.earlier is None:
            return to_template(person.warp, self.grid, person.traits)
        return positions_to_template(person.warp, self.earlier, person.traits)

    def values(self, nodes: Nodes, inside: Mask | None = None) -> Single:
        """Values of a function, (x, y, z), or (N,) in the voxels `inside`."""
        if self.earlier is None:
            found = nodes.on(self.grid)
            return found if inside is None else found[inside]
        return nodes.at(self.earlier if inside is None else self.earlier[:, inside])


def _hull(tissue: Single, spacing_mm: float) -> Single:
    """Smooth the share of tissue, with the cavities that it encloses filled."""
    hull: Single = ndimage.gaussian_filter(tissue, _HULL_MM / spacing_mm)
    cavities = ndimage.binary_fill_holes(hull > HULL_LEVEL) & (hull <= HULL_LEVEL)
    hull[cavities] = 1
    return hull


def _block_mean(values: Single, factor: int) -> Single:
    if factor == 1:
        return values
    x, y, z = (n // factor for n in values.shape)
    blocks = values.reshape(x, factor, y, factor, z, factor)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)
