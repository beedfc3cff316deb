"""The two transforms of a NIfTI header, and whether a transform can be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.quaternions import quat2mat
from numpy.typing import ArrayLike

from harmbench.arrays import Matrix

__all__ = [
    "ALIGNED",
    "Transform",
    "is_invertible",
    "matrix_fault",
    "read_qform",
    "read_sform",
    "size_fault",
    "spacing_of",
]

# Rounding of three float32 to a length of 1 stays below this.
_QUATERNION_SLACK = 3 * float(np.finfo(np.float32).eps)
_LEAST_DETERMINANT = 1e-6
_LARGEST_CODE = 5

ALIGNED = 2
"""NIfTI transform code of an image that was aligned to another."""


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """One of the two transforms of a NIfTI header.

    Attributes:
        code: NIfTI transform code, 0 where unset.
        matrix: (4, 4), voxel indices to RAS in the header's unit; `None` where unset or unusable.
        fault: why the transform cannot be used; empty where it can, or is unset.
    """

    code: int = 0
    matrix: Matrix | None = None
    fault: str = ""


def is_invertible(affine: Matrix) -> bool:
    """Whether a finite affine, shape (4, 4), can be inverted.

    It cannot where a voxel axis has no extent, or where two axes have the same direction.
    """
    with np.errstate(all="ignore"):
        turn = affine[:3, :3] / spacing_of(affine)
        return bool(np.isfinite(turn).all() and abs(np.linalg.det(turn)) > _LEAST_DETERMINANT)


def spacing_of(affine: Matrix) -> Matrix:
    """Return the distance between voxels along each axis, shape (3,), in the affine's unit."""
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)), dtype=np.float64)


def matrix_fault(matrix: Matrix) -> str:
    """Say why a matrix is not a usable affine, shape (4, 4); empty where it is one."""
    if matrix.shape != (4, 4):
        return "is not a 4x4 matrix"
    if not np.isfinite(matrix).all():
        return "has values that are NaN or infinite"
    if not is_invertible(matrix):
        return "cannot be inverted: an axis has no extent, or two point the same way"
    return ""


def read_sform(header: Any) -> Transform:
    """Read the sform of nibabel's NIfTI header."""
    code = int(header["sform_code"])
    if code <= 0:
        return Transform()
    matrix = np.eye(4)
    matrix[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    fault = matrix_fault(matrix)
    return Transform(_known_code(code), None if fault else matrix, fault)


def read_qform(header: Any) -> Transform:
    """Read the qform of nibabel's NIfTI header."""
    code = int(header["qform_code"])
    if code <= 0:
        return Transform()
    qfac, *sizes = np.asarray(header["pixdim"][:4], dtype=np.float64)
    vector = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    offset = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64)
    fault = size_fault(np.array(sizes))
    square = float((vector**2).sum())
    if not np.isfinite([qfac, square, *offset]).all():
        fault = "has values that are NaN or infinite"
    elif square > 1 + _QUATERNION_SLACK:
        fault = "has a quaternion longer than 1"
    elif qfac < 0 and qfac != -1:
        fault = f"has a qfac (pixdim[0]) of {qfac:g}, allowed are 1 and -1"
    if fault:
        return Transform(_known_code(code), None, fault)
    vector = vector / max(1.0, np.sqrt(square))
    real = np.sqrt(max(0.0, 1 - (vector**2).sum()))
    matrix = np.eye(4)
    matrix[:3, :3] = quat2mat([real, *vector]) * [*sizes[:2], sizes[2] * (-1 if qfac < 0 else 1)]
    matrix[:3, 3] = offset
    return Transform(_known_code(code), matrix)


def _known_code(code: int) -> int:
    """Replace a code that NIfTI does not define: it still says that the transform is set."""
    return code if code <= _LARGEST_CODE else ALIGNED


def size_fault(sizes: ArrayLike) -> str:
    """Say what is wrong with voxel sizes, shape (3,); empty where all are finite and above 0."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if np.isfinite(sizes).all() and (sizes > 0).all():
        return ""
    shown = " x ".join(f"{size:g}" for size in sizes)
    return f"has voxel sizes (pixdim) of {shown}, expected numbers above 0"
