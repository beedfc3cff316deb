"""Where a file's voxels lie in space: one policy for headers that say it badly, twice or not at all.

A header that is unambiguous is followed. Where a reader must choose, the choice is a remark; where
left and right would differ between two readings of one header, the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.volumeutils import shape_zoom_affine

from harmbench.arrays import Matrix
from harmbench.errors import VolumeError

__all__ = [
    "FileSpace",
    "Remark",
    "is_invertible",
    "known_space",
    "nifti_space",
    "size_fault",
    "some_guessed",
]


Remark = tuple[str, str]
"""Kind and text of a note on a file."""

# Rounding of three float32 to a length of 1 stays below this.
_QUATERNION_SLACK = 3 * float(np.finfo(np.float32).eps)
_LEAST_DETERMINANT = 1e-6
_LARGEST_SHEAR = 1e-3
_LARGEST_GAP_MM = 0.1
_SPACING_RATIO = 0.01
_PLAUSIBLE_SPACING_MM = (0.01, 20.0)

# NIfTI codes of units of length other than millimetres (2); 0, unknown, counts as millimetres.
_UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}

_ALIGNED = 2
_LARGEST_CODE = 5


@dataclass(frozen=True, slots=True, eq=False)
class FileSpace:
    """How a file stores its voxels: what is needed to write another volume in the same way.

    Attributes:
        shape: the file's array shape (its own axis order).
        affine: (4, 4), the file's voxels to RAS millimetres.
        qform, sform: (4, 4) matrices of the NIfTI header in its own units, `None` where unset or
            not usable.
        qform_code, sform_code: NIfTI transform codes (0 = unset).
        unit_mm: the header's unit of length, in millimetres.
        guessed: whether left and right are a guess, since the header does not say.
    """

    shape: tuple[int, int, int]
    affine: Matrix
    qform: Matrix | None
    qform_code: int
    sform: Matrix | None
    sform_code: int
    unit_mm: float = 1.0
    guessed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Transform:
    """One of the two transforms of a NIfTI header; `fault` says why it has no usable matrix."""

    code: int = 0
    matrix: Matrix | None = None
    fault: str = ""


def nifti_space(header: Any, shape: tuple[int, int, int]) -> tuple[FileSpace, list[Remark]]:
    """Find where the voxels of a NIfTI file lie.

    The sform is used where it is set and valid, else the qform. Without either, voxels are taken to
    be stored from right to left, posterior to anterior and inferior to superior, and that is a guess.

    Args:
        header: nibabel's NIfTI header, as it was stored (not mended).
        shape: of the file's array.

    Returns:
        The space, and remarks on what was chosen.

    Raises:
        VolumeError: no transform that is set is usable, both are and disagree on left and right, or
            without any, the voxel sizes are unusable.
    """
    sform, qform = _sform(header), _qform(header)
    used = sform.matrix if sform.matrix is not None else qform.matrix
    remarks = _remarks(header, sform, qform)
    guessed = used is None
    if used is None:
        used = _guess(header["pixdim"][1:4], shape)
        remarks.append(_guess_remark("qform and sform codes are 0"))
    unit_mm, unit_remarks = _unit(int(header["xyzt_units"]) & 7, _spacing(used))
    scale = np.diag([unit_mm, unit_mm, unit_mm, 1.0])
    remarks += unit_remarks
    if sform.matrix is not None and qform.matrix is not None:
        remarks += _compare(scale @ sform.matrix, scale @ qform.matrix, shape)
    return FileSpace(
        shape=shape,
        affine=scale @ used,
        qform=qform.matrix,
        qform_code=qform.code if qform.matrix is not None else 0,
        sform=sform.matrix,
        sform_code=sform.code if sform.matrix is not None else 0,
        unit_mm=unit_mm,
        guessed=guessed,
    ), remarks + _shear(used)


def known_space(
    affine: Matrix, shape: tuple[int, int, int], why_guessed: str = ""
) -> tuple[FileSpace, list[Remark]]:
    """Return the space of a file of another format, by the affine (mm) that its reader gives.

    Args:
        affine: (4, 4), the file's voxels to RAS millimetres.
        shape: of the file's array.
        why_guessed: why left and right are a guess; empty where they are known.

    Raises:
        VolumeError: the affine cannot be used.
    """
    affine = np.asarray(affine, dtype=np.float64)
    fault = _matrix_fault(affine)
    if fault:
        raise VolumeError(f"its affine {fault}")
    remarks = [_guess_remark(why_guessed)] if why_guessed else []
    remarks += _shear(affine)
    bare = shape_zoom_affine(shape, _spacing(affine))
    if why_guessed and np.allclose(affine, bare, rtol=0, atol=1e-3):
        return FileSpace(shape, affine, None, 0, None, 0, guessed=True), remarks
    code = _ALIGNED if why_guessed else 1
    return FileSpace(shape, affine, None, 0, affine, code, guessed=bool(why_guessed)), remarks


def some_guessed(spaces: Mapping[str, FileSpace | None]) -> str | None:
    """Say that left and right are a guess in some of several files that belong together.

    Args:
        spaces: by the names for the message; `None` (made in memory) takes no side.

    Returns:
        `None` where they are known in all, or a guess in all.
    """
    guessed = [name for name, space in spaces.items() if space is not None and space.guessed]
    known = [name for name, space in spaces.items() if space is not None and not space.guessed]
    if not guessed or not known:
        return None
    verb = "has" if len(guessed) == 1 else "have"
    return (
        f"{', '.join(guessed)} {verb} no orientation in the header, so that left and right would be "
        f"a guess, unlike those of {', '.join(known)}; set the header, for instance by converting "
        "the DICOM files again"
    )


def is_invertible(affine: Matrix) -> bool:
    """Whether a finite affine gives every axis an extent and a direction of its own."""
    with np.errstate(all="ignore"):
        turn = affine[:3, :3] / _spacing(affine)
        return bool(np.isfinite(turn).all() and abs(np.linalg.det(turn)) > _LEAST_DETERMINANT)


def _spacing(affine: Matrix) -> Matrix:
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)), dtype=np.float64)


def _matrix_fault(matrix: Matrix) -> str:
    if matrix.shape != (4, 4):
        return "is not a 4x4 matrix"
    if not np.isfinite(matrix).all():
        return "has values that are NaN or infinite"
    if not is_invertible(matrix):
        return "cannot be inverted: an axis has no extent, or two point the same way"
    return ""


def _sform(header: Any) -> _Transform:
    code = int(header["sform_code"])
    if code <= 0:
        return _Transform()
    matrix = np.eye(4)
    matrix[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    fault = _matrix_fault(matrix)
    return _Transform(_known_code(code), None if fault else matrix, fault)


def _qform(header: Any) -> _Transform:
    code = int(header["qform_code"])
    if code <= 0:
        return _Transform()
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
        return _Transform(_known_code(code), None, fault)
    vector = vector / max(1.0, np.sqrt(square))
    real = np.sqrt(max(0.0, 1 - (vector**2).sum()))
    matrix = np.eye(4)
    matrix[:3, :3] = quat2mat([real, *vector]) * [*sizes[:2], sizes[2] * (-1 if qfac < 0 else 1)]
    matrix[:3, 3] = offset
    return _Transform(_known_code(code), matrix)


def _known_code(code: int) -> int:
    """A code that NIfTI does not define still says that there is a transform."""
    return code if code <= _LARGEST_CODE else _ALIGNED


def size_fault(sizes: Any) -> str:
    """Say what is wrong with voxel sizes, shape (3,); empty where they are numbers above 0."""
    sizes = np.asarray(sizes, dtype=np.float64)
    if np.isfinite(sizes).all() and (sizes > 0).all():
        return ""
    shown = " x ".join(f"{size:g}" for size in sizes)
    return f"has voxel sizes (pixdim) of {shown}, expected numbers above 0"


def _remarks(header: Any, sform: _Transform, qform: _Transform) -> list[Remark]:
    """Remarks on a transform that is not usable; refuses a file whose every transform is not."""
    faults = [
        f"its {name} {transform.fault}"
        for name, transform in (("sform", sform), ("qform", qform))
        if transform.fault
    ]
    if sform.matrix is None and qform.matrix is None:
        if faults:
            raise VolumeError(f"its orientation is broken: {'; '.join(faults)}")
        return []
    if sform.fault:
        return [("sform-broken", f"its sform {sform.fault}; the qform is used")]
    if qform.fault:
        return [("qform-broken", f"its qform {qform.fault}; the sform is used")]
    if sform.matrix is None or qform.matrix is not None:
        return []
    stored = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if np.allclose(stored, _spacing(sform.matrix), rtol=_SPACING_RATIO, atol=0):
        return []
    return [
        ("voxel-size-differs", "its pixdim and its sform differ in voxel size; the sform is used")
    ]


def _compare(sform: Matrix, qform: Matrix, shape: tuple[int, int, int]) -> list[Remark]:
    """Compare two transforms (mm) of one file; refuses those that differ in left and right."""
    # Rows are the directions of right, anterior and superior along the voxel axes.
    right = (sform[0, :3] / _spacing(sform)) @ (qform[0, :3] / _spacing(qform))
    hands = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3])
    if hands < 0 or right < 0:
        raise VolumeError(
            "its qform and its sform disagree on left and right; delete the wrong one, or convert "
            "the DICOM files again"
        )
    corners = np.array([[*c, 1] for c in product(*((0, extent - 1) for extent in shape))])
    gap = np.abs(corners @ (sform - qform).T).max()
    if gap <= _LARGEST_GAP_MM:
        return []
    text = f"its qform and sform differ by more than {_LARGEST_GAP_MM} mm; the sform is used"
    return [("qform-sform-differ", text)]


def _guess(sizes: Any, shape: tuple[int, int, int]) -> Matrix:
    fault = size_fault(sizes)
    if fault:
        raise VolumeError(f"it {fault}, and neither qform nor sform")
    return np.asarray(shape_zoom_affine(shape, sizes), dtype=np.float64)


def _guess_remark(why: str) -> Remark:
    text = f"its header has no orientation ({why}): left and right are a guess and may be swapped"
    return "left-right-guessed", text


def _unit(code: int, spacing: Matrix) -> tuple[float, list[Remark]]:
    """Size of the header's unit in mm; a unit that makes voxels of no scan is not believed."""
    if code not in _UNITS:
        return 1.0, []
    name, size_mm = _UNITS[code]
    low, high = _PLAUSIBLE_SPACING_MM

    def plausible(spacing_mm: Matrix) -> bool:
        return bool((spacing_mm >= low).all() and (spacing_mm <= high).all())

    if plausible(spacing) and not plausible(spacing * size_mm):
        text = f"its header gives {name}, which no scan's voxels can be; millimetres are assumed"
        return 1.0, [("units-not-believed", text)]
    return size_mm, [("units-converted", f"its header gives {name}; they become millimetres")]


def _shear(affine: Matrix) -> list[Remark]:
    turn = affine[:3, :3] / _spacing(affine)
    if np.abs(turn.T @ turn - np.eye(3)).max() <= _LARGEST_SHEAR:
        return []
    return [
        ("sheared", "its voxel axes are not at right angles; distances along them are not exact")
    ]
