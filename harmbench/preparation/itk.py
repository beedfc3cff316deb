"""Volumes and transforms between harmbench and ANTs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Matrix
from harmbench.external.antspy import ants_module
from harmbench.volume import Volume

__all__ = ["from_ants", "linear_matrix", "to_ants", "write_linear"]

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_ants(volume: Volume) -> Any:
    """Return an ANTs image of a volume: float32, in ITK's LPS millimetres."""
    affine = _LPS @ volume.affine
    spacing = np.array(volume.spacing_mm)
    return ants_module().from_numpy(
        np.asarray(volume.data, dtype=np.float32),
        origin=list(affine[:3, 3]),
        spacing=list(spacing),
        direction=affine[:3, :3] / spacing,
    )


def from_ants(image: Any, like: Volume) -> NDArray[np.float32]:
    """Return the array of an ANTs image that lies on the grid of `like`.

    Raises:
        ValueError: the image has another shape.
    """
    data = np.asarray(image.numpy(), dtype=np.float32)
    if data.shape != like.shape:
        raise ValueError(f"an image of shape {data.shape} on a grid of shape {like.shape}")
    return data


def linear_matrix(path: Path | str) -> Matrix:
    """Read a linear ITK transform as a (4, 4) matrix between RAS millimetres.

    It maps points of the fixed image to points of the moving one.
    """
    transform = ants_module().read_transform(str(path))
    values = np.asarray(transform.parameters, dtype=np.float64)
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)[:3]
    if values.size == 6:
        raise ValueError(f"{path}: an Euler transform, expected a matrix")
    turn = values[:9].reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = values[9:] + centre - turn @ centre
    return np.asarray(_LPS @ matrix @ _LPS, dtype=np.float64)


def write_linear(matrix: Matrix, path: Path) -> Path:
    """Write a (4, 4) matrix between RAS millimetres as a linear ITK transform (.mat)."""
    lps = _LPS @ matrix @ _LPS
    ants = ants_module()
    values: Sequence[float] = [*lps[:3, :3].ravel(), *lps[:3, 3]]
    transform = ants.new_ants_transform(
        precision="double",
        dimension=3,
        transform_type="AffineTransform",
        parameters=list(values),
        fixed_parameters=[0.0, 0.0, 0.0],
    )
    ants.write_transform(transform, str(path))
    return path
