"""The average anatomy that subjects are made from: the ICBM152 2009a maps, in RAS, with regions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Single
from harmbench.cohorts.phantom.fields import PhantomGrid

__all__ = ["Atlas", "load_atlas"]

Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float]]

# Regions as ellipsoids, (centre, radii) in MNI millimetres, right side; mirrored to the left.
_DEEP_GM: tuple[Ellipsoid, ...] = (
    ((12, 13, 8), (7, 14, 13)),  # head of the caudate nucleus
    ((16, -3, 20), (6, 16, 7)),  # its body
    ((26, 3, 1), (8, 19, 13)),  # putamen
    ((20, -4, 0), (7, 10, 8)),  # pallidum
    ((11, -18, 8), (13, 17, 12)),  # thalamus
    ((9, 10, -7), (8, 8, 6)),  # nucleus accumbens
)
_BRAINSTEM: tuple[Ellipsoid, ...] = (
    ((5, -22, -12), (15, 14, 12)),  # midbrain
    ((4, -27, -31), (17, 15, 16)),  # pons
    ((3, -38, -52), (11, 10, 24)),  # medulla
    ((11, -12, -9), (9, 8, 7)),  # ventral diencephalon
)
_CEREBELLUM: tuple[Ellipsoid, ...] = (((20, -64, -35), (36, 34, 27)),)
_LATERAL_VENTRICLES: tuple[Ellipsoid, ...] = (((14, -12, 14), (26, 52, 32)),)
_INNER_CSF: tuple[Ellipsoid, ...] = (
    ((14, -12, 14), (26, 52, 32)),
    ((0, -15, -2), (6, 24, 16)),  # third ventricle
    ((0, -46, -32), (12, 12, 16)),  # fourth ventricle
)

_DETAIL_MM = 3.0
_MARGIN = 6


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Maps on the template's grid, float32; probabilities and memberships in [0, 1].

    Attributes:
        grid: 1 mm, RAS, MNI millimetres.
        wm, gm: tissue probabilities.
        wm_detail, csf_detail: probability above its local mean: thin blades of white matter and
            sulci, which the average of 152 brains has blurred.
        brain: probability of the brain with its fluid, softened at the edge.
        deep_gm, brainstem, cerebellum, ventricles: membership of regions, soft at their edges.
        depth: mm below the surface of the brain, 0 outside.
        ventricle_distance: mm to the lateral ventricles, 0 inside.
    """

    grid: PhantomGrid
    wm: Single
    gm: Single
    wm_detail: Single
    csf_detail: Single
    brain: Single
    deep_gm: Single
    brainstem: Single
    cerebellum: Single
    ventricles: Single
    ventricle_distance: Single
    depth: Single


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """Read the maps that nilearn ships (no network) and derive the regions."""
    from nilearn import datasets

    mask, whole = _ras(datasets.load_mni152_brain_mask(resolution=1))
    gm, wm = (
        _ras(load(resolution=1))[0] * mask
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    where = np.argwhere(mask)
    first = np.maximum(where.min(0) - _MARGIN, 0)
    last = np.minimum(where.max(0) + 1 + _MARGIN, mask.shape)
    (a, b, c), (d, e, f) = first.tolist(), last.tolist()
    grid = whole.crop((a, b, c), (d, e, f))
    box = (slice(a, d), slice(b, e), slice(c, f))
    mask, gm, wm = mask[box], gm[box], wm[box]
    csf = np.clip(mask - gm - wm, 0, 1)
    inner = _region(grid, _INNER_CSF, 2.0)
    lateral = _largest((csf > 0.5) & (_region(grid, _LATERAL_VENTRICLES, 0.5) > 0.5), 2)
    distance = ndimage.distance_transform_edt(~lateral).astype(np.float32)
    return Atlas(
        grid=grid,
        wm=wm,
        gm=gm,
        wm_detail=wm - ndimage.gaussian_filter(wm, _DETAIL_MM),
        csf_detail=csf - ndimage.gaussian_filter(csf, _DETAIL_MM),
        brain=ndimage.gaussian_filter(mask, 0.8),
        deep_gm=_region(grid, _DEEP_GM, 2.0),
        brainstem=_region(grid, _BRAINSTEM, 2.5),
        cerebellum=_region(grid, _CEREBELLUM, 3.0),
        ventricles=(csf * inner).astype(np.float32),
        ventricle_distance=distance,
        depth=ndimage.distance_transform_edt(mask).astype(np.float32),
    )


def _ras(image: Any) -> tuple[Single, PhantomGrid]:
    import nibabel as nib

    image = nib.as_closest_canonical(image)
    affine = image.affine
    spacing = float(affine[0, 0])
    if not np.allclose(affine[:3, :3], np.eye(3) * spacing):
        raise ValueError("the template's axes are expected along RAS with one spacing")
    x, y, z = (float(v) for v in affine[:3, 3])
    data = np.asarray(image.dataobj, dtype=np.float32)
    nx, ny, nz = data.shape
    return data, PhantomGrid((nx, ny, nz), spacing, (x, y, z))


def _region(grid: PhantomGrid, ellipsoids: tuple[Ellipsoid, ...], edge_mm: float) -> Single:
    """Union of ellipsoids and their mirror images, falling from 1 to 0 over about `edge_mm`."""
    x, y, z = np.ix_(*(grid.axis(a).astype(np.float32) for a in range(3)))
    best = np.full(grid.shape, -np.inf, dtype=np.float32)
    for (cx, cy, cz), (rx, ry, rz) in ellipsoids:
        for side in (1, -1):
            r = np.sqrt(((x - side * cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
            best = np.maximum(best, (1 - r) * min(rx, ry, rz))
    return np.clip(best / edge_mm + 0.5, 0, 1).astype(np.float32)


def _largest(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    labels, found = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=found + 1)
    sizes[0] = 0
    return np.isin(labels, np.argsort(sizes)[-count:])
