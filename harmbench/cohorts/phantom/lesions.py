"""White matter lesions of multiple sclerosis, placed in the average brain before it is warped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Single
from harmbench.cohorts.phantom.atlas import Atlas

__all__ = ["lesion_map"]


_PERIVENTRICULAR_SHARE = 0.65
_EDGE_MM = 0.7
_MOST_LESIONS = 150


def lesion_map(generator: np.random.Generator, atlas: Atlas, load_ml: float) -> Single:
    """Place lesions until their volume reaches a load.

    About two thirds of the lesions lie within some millimetres of the lateral ventricles, longer
    away from the ventricle than along it (Dawson's fingers); the others lie in the white matter
    just under the cortex. Sizes are log-normal, outlines irregular, severity varies.

    Args:
        generator: source of the random numbers.
        atlas: the average brain.
        load_ml: volume to reach, in template space.

    Returns:
        Shape of the template's grid, severity times membership in [0, 1]; all 0 without a load.
    """
    found = np.zeros(atlas.grid.shape, dtype=np.float32)
    if load_ml <= 0:
        return found
    white = atlas.wm - atlas.brainstem - atlas.cerebellum
    near = (white > 0.75) & (atlas.ventricle_distance > 0) & (atlas.ventricle_distance < 6)
    cortical = ndimage.gaussian_filter(atlas.gm * (1 - atlas.deep_gm), 2.0)
    under_cortex = (white > 0.75) & (cortical > 0.2) & (atlas.ventricle_distance > 10)
    sites = [np.argwhere(near), np.argwhere(under_cortex)]
    outward = np.stack(
        np.gradient(ndimage.gaussian_filter(atlas.ventricle_distance, 1.5).astype(np.float32)), -1
    )
    missing_mm3 = load_ml * 1000
    for _ in range(_MOST_LESIONS):
        if missing_mm3 <= 0.02 * load_ml * 1000:
            break
        periventricular = generator.random() < _PERIVENTRICULAR_SHARE
        choices = sites[0] if periventricular else sites[1]
        centre = choices[generator.integers(len(choices))]
        median_mm = 3.2 if periventricular else 2.3
        radius = float(np.clip(median_mm * np.exp(0.45 * generator.standard_normal()), 1.3, 8.0))
        radius = min(radius, max(1.3, (missing_mm3 / 4.2) ** (1 / 3)))
        direction = outward[tuple(centre)] if periventricular else np.zeros(3, np.float32)
        missing_mm3 -= _add_blob(generator, found, atlas.wm, centre, radius, direction)
    return found


def _add_blob(
    generator: np.random.Generator,
    found: Single,
    wm: Single,
    centre: NDArray[np.intp],
    radius_mm: float,
    direction: Single,
) -> float:
    """Add one ellipsoid with an irregular outline to `found`, in place.

    Returns:
        What it adds to the load, in mm3. Lesions follow white matter: of a blob that crosses into
        cortex only the inner part counts.
    """
    reach = int(np.ceil(radius_mm * 2)) + 2
    size = 2 * reach + 1
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1.0)] * 3, indexing="ij"), -1)
    length = np.linalg.norm(direction)
    unit = direction / length if length > 1e-3 else generator.standard_normal(3)
    unit = unit / np.linalg.norm(unit)
    stretch = generator.uniform(1.1, 1.8)
    along = offsets @ unit
    squared = (offsets**2).sum(-1) - along**2
    distance = np.sqrt((along / stretch) ** 2 + squared * stretch**0.5)
    outline = ndimage.gaussian_filter(generator.standard_normal((size,) * 3), 1.5)
    outline /= outline.std()
    severity = generator.uniform(0.65, 1.0)
    inside = (radius_mm * (1 + 0.18 * outline) - distance) / _EDGE_MM + 0.5
    blob = (severity * np.clip(inside, 0, 1)).astype(np.float32)
    low = centre - reach
    cut = tuple(
        slice(max(0, -a), size - max(0, a + size - n))
        for a, n in zip(low, found.shape, strict=True)
    )
    put = tuple(slice(max(0, a), min(n, a + size)) for a, n in zip(low, found.shape, strict=True))
    before = found[put].copy()
    found[put] = np.maximum(before, blob[cut])
    return float(((found[put] - before) * (wm[put] > 0.5)).sum())
