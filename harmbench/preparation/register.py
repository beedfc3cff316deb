"""Registration of one session of a subject to another."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import sqrtm

from harmbench.arrays import Matrix
from harmbench.errors import PreparationError
from harmbench.external.antspy import ants_module
from harmbench.preparation.itk import from_ants, linear_matrix, to_ants
from harmbench.preparation.settings import Transformation
from harmbench.volume import Volume

__all__ = ["Alignment", "halfway", "register"]


_LINEAR = (2100, 1200, 1200, 10)
"""ANTsPy's default: most iterations of a linear registration at voxels 6, 4, 2 times as wide and at these."""

_LINEAR_OF_FINE = (2100, 1200, 1200, 3)
"""Enough between scans of small voxels: the same misalignment in two thirds of the time, by
`benchmarks/preparation.py`."""

_KINDS = {"rigid": "Rigid", "affine": "Affine", "deformable": "ElasticSyN"}


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The transform that aligns one scan with another.

    Attributes:
        linear: (4, 4) between RAS millimetres: points of the fixed scan to points of the moving one.
        warp: displacement field of the deformable part, on the fixed scan's grid; applied before
            `linear`. `None` for a linear alignment.
        jacobian: smallest and largest factor by which the local volume of the fixed brain changes when
            it is mapped to the moving one; 0 or below where the field folds.
    """

    linear: Matrix
    warp: Path | None
    jacobian: tuple[float, float]


def register(
    fixed: Volume, moving: Volume, transform: Transformation, folder: Path, *, fine: bool = False
) -> Alignment:
    """Find the transform that aligns one brain with another.

    Mutual information (Mattes) drives all stages, so that contrasts may differ. `deformable` is
    ANTs' ElasticSyN (Avants et al., Medical Image Analysis 2008): affine, then symmetric
    deformation with elastic regularization.

    Args:
        fixed, moving: skull-stripped volumes, 0 outside the brain.
        transform: its kind; `none` uses the headers only.
        folder: where a displacement field is written.
        fine: whether both scans were acquired with voxels of about 1 mm or less. Their linear
            registration may end earlier at the finest voxels.

    Raises:
        PreparationError: registration failed.
    """
    if transform == "none":
        return Alignment(np.eye(4), None, (1.0, 1.0))
    ants = ants_module()
    with tempfile.TemporaryDirectory(prefix="harmbench-register-") as work:
        try:
            # ANTsPy has no types: a list of files, or an image, by name.
            found: dict[str, Any] = ants.registration(
                to_ants(fixed),
                to_ants(moving),
                type_of_transform=_KINDS[transform],
                outprefix=str(Path(work) / "x"),
                # ElasticSyN has iterations of its own for its linear stage.
                aff_iterations=_LINEAR_OF_FINE if fine else _LINEAR,
            )
        except Exception as error:
            raise PreparationError(f"{transform} registration failed: {error}") from error
        linear = linear_matrix(found["fwdtransforms"][-1])
        change = abs(float(np.linalg.det(linear[:3, :3])))
        if transform != "deformable":
            return Alignment(linear, None, (change, change))
        warp = Path(shutil.move(found["fwdtransforms"][0], folder / "warp.nii.gz"))
        like = to_ants(fixed)
        local = from_ants(ants.create_jacobian_determinant_image(like, str(warp)), fixed)
        inside = local[fixed.data > 0] * change
        return Alignment(linear, warp, (float(inside.min()), float(inside.max())))


def halfway(linear: Matrix) -> Matrix:
    """Return half of a linear transform, shape (4, 4): applied twice it gives the whole.

    Raises:
        PreparationError: the transform has no real square root, such as a rotation by 180 degrees.
    """
    root = sqrtm(linear)
    if np.iscomplexobj(root) and np.abs(root.imag).max() > 1e-6:
        raise PreparationError(
            "the sessions lie too far apart to meet halfway; use registration.space=reference"
        )
    return np.asarray(np.real(root), dtype=np.float64)
