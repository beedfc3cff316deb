"""Bias field correction with N4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Box, bounding_box
from harmbench.errors import PreparationError
from harmbench.external.antspy import ants_module
from harmbench.preparation.itk import from_ants, to_ants
from harmbench.preparation.settings import BiasSettings
from harmbench.volume import Volume

__all__ = ["bias_field"]

# N4 ignores voxels that are not above 0. Interpolation leaves a few such voxels in a brain.
_MOST_BELOW_ZERO = 0.02


def bias_field(
    scan: Volume, mask: NDArray[np.bool_], settings: BiasSettings
) -> NDArray[np.float32]:
    """Estimate the field that a scan was multiplied with (N4, Tustison et al., IEEE TMI 2010).

    Args:
        scan: the raw scan; 0 is the intensity of no signal.
        mask: the brain, shape (x, y, z); the field is estimated there and extrapolated outside.
        settings: of the correction.

    Returns:
        Shape (x, y, z), above 0, with mean 1 in the brain; all 1 where the correction is off. Outside
        the brain's bounding box it continues the values at the box's faces.

    Raises:
        PreparationError: N4 failed or found nothing, the mask is empty, or a part of the brain lies
            below 0, which has no logarithm.
    """
    if settings.method == "none":
        return np.ones(scan.shape, dtype=np.float32)
    if not mask.any():
        raise PreparationError("the mask of the brain is empty: there is no field to estimate")
    below = np.count_nonzero(scan.data[mask] < 0) / max(1, np.count_nonzero(mask))
    if below > _MOST_BELOW_ZERO:
        raise PreparationError(f"N4 takes logarithms, and {below:.1%} of the brain lie below 0")
    field = _n4(scan, mask, settings)
    if settings.white_matter:
        field = _n4(scan, mask, settings, _brightest(scan.data / np.maximum(field, 1e-6), mask))
    centre = float(field[mask].mean())
    if not np.isfinite(field).all() or field[mask].min() <= 0 or centre <= 0:
        raise PreparationError("N4 found a field that is not above 0 everywhere in the brain")
    if not np.ptp(field[mask]):
        raise PreparationError(
            "N4 found the same field everywhere: too few voxels of the brain are left where "
            f"{settings.shrink_factor} are taken together; choose a smaller bias.shrink_factor"
        )
    # Far from the brain the extrapolated spline has no meaning; avoid a division by 0.
    return np.asarray(np.maximum(field / centre, 0.05), dtype=np.float32)


def _n4(
    scan: Volume,
    mask: NDArray[np.bool_],
    settings: BiasSettings,
    weights: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    # N4 fits in the mask alone, but evaluates its spline on the whole image, padded to a multiple of the
    # distance of its knots: in the brain's box that is a fraction of the voxels.
    box = bounding_box(mask, margin=settings.shrink_factor)
    part = _cut(scan, box)

    def image(where: NDArray[np.bool_]) -> Any:
        return to_ants(Volume(where[box].astype(np.uint8), part.affine, kind="label"))

    try:
        found = ants_module().n4_bias_field_correction(
            to_ants(part),
            mask=image(mask),
            shrink_factor=settings.shrink_factor,
            convergence={"iters": list(settings.iterations), "tol": settings.tolerance},
            spline_param=settings.spline_mm,
            return_bias_field=True,
            weight_mask=None if weights is None else image(weights),
        )
    except Exception as error:
        raise PreparationError(f"N4 failed: {error}") from error
    room = [(side.start, n - side.stop) for side, n in zip(box, scan.shape, strict=True)]
    return np.pad(from_ants(found, part), room, mode="edge")


def _cut(scan: Volume, box: Box) -> Volume:
    """Return the part of a scan in a box, in its place."""
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return Volume(scan.data[box], affine)


def _brightest(data: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the brightest of three classes of the brain by Otsu's thresholds: white matter in T1w."""
    from skimage.filters import threshold_multiotsu  # a slow import, not for the command line

    low, high = np.percentile(data[mask], (0.1, 99.9))
    try:
        upper = threshold_multiotsu(np.clip(data[mask], low, high), classes=3)[-1]
    except ValueError as error:
        raise PreparationError(f"the brain has no three classes of intensity ({error})") from error
    return np.asarray(mask & (data > upper))
