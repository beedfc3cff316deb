"""Where a file's voxels lie in space, also where its header is damaged, contradicts itself or is silent.

A header that is unambiguous is followed. Where a reader must choose, the choice is a remark. Where
left and right differ between two transforms of one header, the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from nibabel.volumeutils import shape_zoom_affine

from harmbench.arrays import Matrix
from harmbench.errors import VolumeError
from harmbench.files.nifti_values import Remark, length_unit
from harmbench.files.transforms import (
    ALIGNED,
    Transform,
    matrix_fault,
    read_qform,
    read_sform,
    size_fault,
    spacing_of,
)

__all__ = [
    "FileSpace",
    "Remark",
    "known_space",
    "nifti_space",
    "some_guessed",
]


_LARGEST_SHEAR = 1e-3
_LARGEST_GAP_MM = 0.1
_SPACING_RATIO = 0.01


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


def nifti_space(header: Any, shape: tuple[int, int, int]) -> tuple[FileSpace, list[Remark]]:
    """Find where the voxels of a NIfTI file lie.

    The sform is used where it is set and valid, otherwise the qform. Without either, voxels are
    assumed to be stored from right to left, posterior to anterior and inferior to superior. That is a
    guess.

    Args:
        header: nibabel's NIfTI header as it was stored, without nibabel's repairs.
        shape: of the file's array.

    Returns:
        The space, and remarks on what was chosen.

    Raises:
        VolumeError: no transform that is set is usable, both are and disagree on left and right, or
            without any, the voxel sizes are unusable.
    """
    sform, qform = read_sform(header), read_qform(header)
    used = sform.matrix if sform.matrix is not None else qform.matrix
    remarks = _remarks(header, sform, qform)
    guessed = used is None
    if used is None:
        used = _guess(header["pixdim"][1:4], shape)
        remarks.append(_guess_remark("qform and sform codes are 0"))
    unit_mm, unit_remarks = length_unit(int(header["xyzt_units"]) & 7, spacing_of(used))
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
    fault = matrix_fault(affine)
    if fault:
        raise VolumeError(f"its affine {fault}")
    remarks = [_guess_remark(why_guessed)] if why_guessed else []
    remarks += _shear(affine)
    bare = shape_zoom_affine(shape, spacing_of(affine))
    if why_guessed and np.allclose(affine, bare, rtol=0, atol=1e-3):
        return FileSpace(shape, affine, None, 0, None, 0, guessed=True), remarks
    code = ALIGNED if why_guessed else 1
    return FileSpace(shape, affine, None, 0, affine, code, guessed=bool(why_guessed)), remarks


def some_guessed(spaces: Mapping[str, FileSpace | None]) -> str | None:
    """Say which of several files that belong together have only a guess of left and right.

    Args:
        spaces: by the names for the message; `None`: made in memory, and ignored.

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


def _remarks(header: Any, sform: Transform, qform: Transform) -> list[Remark]:
    """Return remarks on a transform that is not usable; refuse a file without a usable one."""
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
    if np.allclose(stored, spacing_of(sform.matrix), rtol=_SPACING_RATIO, atol=0):
        return []
    return [
        ("voxel-size-differs", "its pixdim and its sform differ in voxel size; the sform is used")
    ]


def _compare(sform: Matrix, qform: Matrix, shape: tuple[int, int, int]) -> list[Remark]:
    """Compare two transforms (mm) of one file; refuse those that differ in left and right."""
    # Rows are the directions of right, anterior and superior along the voxel axes.
    right = (sform[0, :3] / spacing_of(sform)) @ (qform[0, :3] / spacing_of(qform))
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


def _shear(affine: Matrix) -> list[Remark]:
    turn = affine[:3, :3] / spacing_of(affine)
    if np.abs(turn.T @ turn - np.eye(3)).max() <= _LARGEST_SHEAR:
        return []
    return [
        ("sheared", "its voxel axes are not at right angles; distances along them are not exact")
    ]
