"""Volumes: a 3D array, its position in space, and its history.

Inside harmbench every volume is in RAS orientation (axis 0 to the right, 1 anterior, 2 superior).
`read` turns a file into that orientation and keeps the file's own. `write` turns it back, so that the
voxels of an output coincide with those of the scan that it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from harmbench.arrays import Array
from harmbench.errors import VolumeError
from harmbench.files.geometry import FileSpace, some_guessed
from harmbench.files.image import open_image
from harmbench.files.transforms import is_invertible
from harmbench.notes import Note
from harmbench.storage import atomic

__all__ = [
    "FileSpace",
    "Kind",
    "Step",
    "Volume",
    "read",
    "read_space",
    "require_same_grid",
    "require_same_sides",
    "write",
]

Kind = Literal["intensity", "label"]


_AFFINE_TOLERANCE_MM = 1e-3
_UNIT_NAMES = {1.0: "mm", 1000.0: "meter", 0.001: "micron"}


@dataclass(frozen=True, slots=True)
class Step:
    """One transform in a volume's history: its name and the parameters that replay it."""

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """Return a parameter that is a number.

        Raises:
            KeyError: there is no such parameter.
            TypeError: it is no number.
        """
        value = self.parameters[name]
        if not isinstance(value, float | int):
            raise TypeError(f"{self.name}: parameter {name} is no number (got {value!r})")
        return float(value)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A 3D image in RAS orientation. Immutable: the array is read-only.

    Attributes:
        data: shape (x, y, z); float32 for `intensity`, uint8 for `label`.
        affine: (4, 4) float64, voxel indices to RAS millimetres.
        kind: `intensity` (interpolated, scored) or `label` (tissue classes, masks).
        space: the file that it was read from, `None` for a volume made in memory.
        history: the transforms applied since reading, oldest first.
        notes: assumptions made when its file was read.

    Raises:
        VolumeError: the array is not 3D, empty or not of real numbers, or the affine is not an
            invertible (4, 4).
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
        if not is_invertible(affine):
            raise VolumeError("the affine cannot be inverted: an axis has no extent")
        if data.dtype.kind not in "biuf":
            raise VolumeError(f"a volume has real numbers; this array has the type {data.dtype}")
        wanted = np.float32 if self.kind == "intensity" else np.uint8
        # A read-only array is shared. Others are copied, so that no caller can change the volume.
        if data.dtype != wanted or data.flags.writeable:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found
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
    """Raise `VolumeError` unless two volumes share their grid; `names` are for the message."""
    if one.shape != other.shape:
        raise VolumeError(f"{names[0]} has shape {one.shape}, {names[1]} has {other.shape}")
    if not one.same_grid(other):
        gap = float(np.abs(one.affine - other.affine).max())
        raise VolumeError(f"{names[0]} and {names[1]} differ in affine by up to {gap:.3g} mm")


def require_same_sides(volumes: Mapping[str, Volume]) -> None:
    """Raise `VolumeError` where left and right are a guess in some, but not all, of several volumes.

    Args:
        volumes: by their names for the message.
    """
    problem = some_guessed({name: volume.space for name, volume in volumes.items()})
    if problem:
        raise VolumeError(problem)


def read(path: Path | str, kind: Kind = "intensity") -> Volume:
    """Read any 3D image that nibabel reads, to its last byte, and turn it to RAS.

    Links are not resolved: the given name decides the format. Where the header is ambiguous,
    `harmbench.files.geometry` decides, and `Volume.notes` says what was assumed.

    Raises:
        VolumeError: the file is missing, damaged, not an image, not 3D, or not real-valued; its
            header has no usable transform, or two that disagree on left and right.
    """
    path = Path(path)
    with open_image(path) as file:
        space = file.space
        turned = _turned(file.voxels(), space, kind)
        ras = space.affine @ inv_ornt_aff(io_orientation(space.affine), space.shape)
        notes = tuple(Note(name, text, str(path)) for name, text in file.remarks)
        return Volume(turned, ras, kind=kind, space=space, notes=notes)


def read_space(path: Path | str) -> tuple[FileSpace, tuple[Note, ...]]:
    """Read the position of an image's voxels, and the notes on it, from its header alone.

    Raises:
        VolumeError: see `read`; the voxels are not checked.
    """
    path = Path(path)
    with open_image(path) as file:
        return file.space, tuple(Note(name, text, str(path)) for name, text in file.remarks)


def _turned(values: NDArray[np.float32], space: FileSpace, kind: Kind) -> Array:
    """Turn a file's array to RAS; return a read-only array with the data type of its kind."""
    orientation = io_orientation(space.affine)
    if np.isnan(orientation).any():
        raise VolumeError("the affine has no orientation: two axes point the same way")
    if kind == "label":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise VolumeError("labels must be whole numbers from 0 to 255")
        if not np.array_equal(values, np.round(values)):
            raise VolumeError("labels must be whole numbers from 0 to 255")
    wanted = np.float32 if kind == "intensity" else np.uint8
    turned = np.array(apply_orientation(values, orientation), dtype=wanted, order="C")
    turned.flags.writeable = False
    return turned


def write(volume: Volume, path: Path | str) -> Path:
    """Write a NIfTI file atomically, in the orientation of the file that `volume` came from.

    Intensities are stored as float32, labels as uint8, without scaling. qform, sform and the unit of
    length are those of the original file; a transform of it that was not usable stays unset. A volume
    made in memory gets its affine as both, or as sform alone where a qform cannot hold it (shears).

    Raises:
        VolumeError: the name does not end in .nii or .nii.gz.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise VolumeError(f"{path}: volumes are written as .nii or .nii.gz")
    image = _as_file(volume)
    with atomic(path) as temporary:
        nib.save(image, temporary)
    return path


def _as_file(volume: Volume) -> Any:
    """Return a nibabel image with the array and the header of the file that a volume came from."""
    space = volume.space or FileSpace(
        volume.shape, volume.affine, volume.affine, 1, volume.affine, 1
    )
    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(space.affine))
    scale = np.diag([1 / space.unit_mm] * 3 + [1.0])
    image = nib.Nifti1Image(apply_orientation(volume.data, back), scale @ space.affine)
    image.set_sform(space.sform, code=space.sform_code)
    image.set_qform(space.qform, code=space.qform_code)
    if space.qform is not None:
        gap = np.abs(image.get_qform() - space.qform).max() * space.unit_mm
        if gap > _AFFINE_TOLERANCE_MM:
            image.set_qform(None, code=0)
    image.header.set_xyzt_units(_UNIT_NAMES[space.unit_mm])
    return image
