"""Volumes: a 3D array, where it lies in space, and how it came to be.

Inside harmbench every volume is in RAS orientation (axis 0 to the right, 1 anterior, 2 superior).
`read` turns a file into that orientation and remembers the file's own; `write` turns it back, so
that an output lies voxel for voxel on the scan that it was made from.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.filename_parser import splitext_addext
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harmbench.errors import VolumeError
from harmbench.notes import Note
from harmbench.storage import atomic

__all__ = [
    "FileSpace",
    "Kind",
    "Step",
    "Volume",
    "image_name",
    "read",
    "require_same_grid",
    "write",
]

Kind = Literal["intensity", "label"]

Array = NDArray[Any]

_AFFINE_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, slots=True)
class Step:
    """One transform in a volume's history: its name and the parameters that replay it."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FileSpace:
    """How a file stores its voxels: what is needed to write another volume in the same way.

    Attributes:
        shape: the file's array shape (its own axis order).
        affine: (4, 4), the file's voxels to RAS millimetres.
        qform, sform: (4, 4) matrices of the NIfTI header, `None` where unset.
        qform_code, sform_code: NIfTI transform codes (0 = unset).
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    qform: NDArray[np.float64] | None
    qform_code: int
    sform: NDArray[np.float64] | None
    sform_code: int


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A 3D image in RAS orientation. Immutable: the array is read-only.

    Attributes:
        data: shape (x, y, z); float32 for `intensity`, uint8 for `label`.
        affine: (4, 4) float64, voxel indices to RAS millimetres.
        kind: `intensity` (interpolated, scored) or `label` (tissue classes, masks).
        space: the file that it was read from, `None` for a volume made in memory.
        history: the transforms applied since reading, oldest first.
        notes: what was assumed when its file was read.

    Raises:
        VolumeError: the array is not 3D or empty, or the affine is not an invertible (4, 4).
    """

    data: Array
    affine: NDArray[np.float64]
    kind: Kind = "intensity"
    space: FileSpace | None = None
    history: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.ndim != 3 or data.size == 0:
            raise VolumeError(f"a volume has three non-empty axes; this array has {data.shape}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise VolumeError("an affine is a finite 4x4 matrix")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise VolumeError("the affine cannot be inverted: an axis has no extent")
        wanted = np.float32 if self.kind == "intensity" else np.uint8
        # A read-only array owning its memory is shared; anything else is copied, so that no caller
        # can change a volume behind its back.
        if data.dtype != wanted or data.flags.writeable:
            data = np.array(data, dtype=wanted, order="C")
            data.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = self.data.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each axis, in millimetres."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def key(self) -> str:
        """SHA-256 of the voxel values, the affine and the kind."""
        digest = hashlib.sha256(f"{self.kind}{self.shape}".encode())
        digest.update(np.round(self.affine, 6).tobytes())
        digest.update(self.data.tobytes())
        return digest.hexdigest()

    def with_data(self, data: Array, step: Step | None = None, kind: Kind | None = None) -> Volume:
        """Return a volume on the same grid with other values, and `step` added to its history.

        Raises:
            VolumeError: `data` has another shape.
        """
        if data.shape != self.data.shape:
            raise VolumeError(f"data of shape {data.shape} on a grid of shape {self.shape}")
        history = self.history if step is None else (*self.history, step)
        return replace(self, data=data, history=history, kind=kind or self.kind)

    def same_grid(self, other: Volume) -> bool:
        """Whether voxels of both volumes coincide: same shape, affines within 0.001 mm."""
        return self.shape == other.shape and bool(
            np.allclose(self.affine, other.affine, rtol=0, atol=_AFFINE_TOLERANCE_MM)
        )


def require_same_grid(one: Volume, other: Volume, names: tuple[str, str]) -> None:
    """Raise `VolumeError` unless two volumes share their grid; `names` stand in the message."""
    if one.shape != other.shape:
        raise VolumeError(f"{names[0]} has shape {one.shape}, {names[1]} has {other.shape}")
    if not one.same_grid(other):
        gap = float(np.abs(one.affine - other.affine).max())
        raise VolumeError(f"{names[0]} and {names[1]} differ in affine by up to {gap:.3g} mm")


def image_name(path: Path) -> str:
    """Return an image's file name without its suffixes: `scan` for `scan.nii.gz`."""
    return str(splitext_addext(path.name)[0])


def read(path: Path | str, kind: Kind = "intensity") -> Volume:
    """Read any 3D image that nibabel reads and turn it to RAS.

    Raises:
        VolumeError: the file is missing, damaged, not an image, not 3D, or not real-valued.
    """
    path = Path(path)
    if not path.is_file():
        raise VolumeError(f"{path}: no such file")
    try:
        image: Any = nib.load(path)
        if not hasattr(image, "affine") or image.affine is None:
            raise VolumeError(f"{path}: not a volume image ({type(image).__name__})")
        shape = image.shape
        if len(shape) < 3 or any(extent != 1 for extent in shape[3:]):
            raise VolumeError(f"{path}: shape {tuple(shape)}, expected a single 3D volume")
        if image.get_data_dtype().kind not in "iufb":
            raise VolumeError(f"{path}: voxel type {image.get_data_dtype()}, expected real numbers")
        values = np.asanyarray(image.dataobj, dtype=np.float32)
    except VolumeError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: damaged or truncated file ({error})") from error
    except ImageFileError as error:
        raise VolumeError(f"{path}: not an image that nibabel knows, or a damaged one") from error
    except (HeaderDataError, ValueError, OSError) as error:
        raise VolumeError(f"{path}: not a readable image ({error})") from error
    values = values.reshape(shape[:3])
    try:
        return _to_ras(values, image, kind)
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error


def _to_ras(values: NDArray[np.float32], image: Any, kind: Kind) -> Volume:
    affine = np.asarray(image.affine, dtype=np.float64)
    Volume(values, affine)  # rejects a broken affine before its orientation is asked for
    orientation = io_orientation(affine)
    if np.isnan(orientation).any():
        raise VolumeError("the affine has no orientation: two axes point the same way")
    header = image.header
    coded = hasattr(header, "get_qform")
    qform, qform_code = header.get_qform(coded=True) if coded else (None, 0)
    sform, sform_code = header.get_sform(coded=True) if coded else (affine, 1)
    space = FileSpace(
        shape=tuple(values.shape),  # type: ignore[arg-type]
        affine=affine,
        qform=qform,
        qform_code=int(qform_code),
        sform=sform,
        sform_code=int(sform_code),
    )
    turned = np.array(apply_orientation(values, orientation), dtype=np.float32, order="C")
    if kind == "label":
        if not np.isfinite(turned).all() or turned.min() < 0 or turned.max() > 255:
            raise VolumeError("labels must be whole numbers from 0 to 255")
        if not np.array_equal(turned, np.round(turned)):
            raise VolumeError("labels must be whole numbers from 0 to 255")
    ras = affine @ inv_ornt_aff(orientation, values.shape)
    return Volume(turned, ras, kind=kind, space=space)


def write(volume: Volume, path: Path | str) -> Path:
    """Write a NIfTI file atomically, in the orientation of the file that `volume` came from.

    Intensities are stored as float32, labels as uint8, without scaling. qform and sform are those
    of the original file; a volume made in memory gets its affine as both.

    Raises:
        VolumeError: the name does not end in .nii or .nii.gz.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise VolumeError(f"{path}: volumes are written as .nii or .nii.gz")
    space = volume.space
    if space is None:
        image = nib.Nifti1Image(volume.data, volume.affine)
        image.set_sform(volume.affine, code=1)
        image.set_qform(volume.affine, code=1)
    else:
        back = ornt_transform(axcodes2ornt("RAS"), io_orientation(space.affine))
        image = nib.Nifti1Image(apply_orientation(volume.data, back), space.affine)
        image.set_sform(space.sform, code=space.sform_code)
        image.set_qform(space.qform, code=space.qform_code)
    image.header.set_xyzt_units("mm")
    with atomic(path) as temporary:
        nib.save(image, temporary)
    return path
