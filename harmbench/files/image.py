"""Image files: their format, their header, and their voxels.

Files are read to the last byte, so that checksums are verified. Where a file is not an image, such as
a pointer to content that was not downloaded, the error says what it is.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.filename_parser import splitext_addext
from nibabel.freesurfer import MGHImage
from nibabel.imageclasses import all_image_classes
from nibabel.nifti1 import Nifti1Image, Nifti1Pair
from nibabel.spatialimages import SpatialImage
from nibabel.spm99analyze import Spm99AnalyzeImage
from numpy.typing import NDArray

from harmbench.bounded import open_regular, read_bytes
from harmbench.errors import VolumeError
from harmbench.files.geometry import FileSpace, known_space, nifti_space
from harmbench.files.kinds import HEAD_BYTES, decompressed, looks_like, pointer, why_no_file
from harmbench.files.nifti_values import Remark, odd_scaling
from harmbench.files.stream import ImageStream, check_declared
from harmbench.files.transforms import size_fault

__all__ = ["ImageFile", "open_image"]

# Headers are read without nibabel's repairs; notes report what is wrong.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

# SPM's files of one or two 4x4 matrices have some 300 bytes.
_MOST_MATRIX_BYTES = 1 << 16


class ImageFile:
    """An image, open for reading; made by `open_image`.

    Attributes:
        remarks: what is unusual about the files; complete once the voxels are read.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.remarks: list[Remark] = []
        self._path, self._stack = path, stack
        self._streams: dict[str, ImageStream] = {}
        self._format = self._find_format()

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """The three extents of the array; trailing axes of length 1 or 0 are left out.

        Raises:
            VolumeError: it is not a single 3D volume.
        """
        header = self._nifti_header
        found = self._image.shape if header is None else header.get_data_shape()
        shape = tuple(int(n) for n in found)
        if len(shape) < 3 or any(extent > 1 for extent in shape[3:]):
            raise VolumeError(f"shape {shape}, expected a single 3D volume")
        if min(shape[:3]) < 1:
            raise VolumeError(f"shape {shape}, expected three axes of 1 or more voxels")
        return shape[0], shape[1], shape[2]

    @cached_property
    def space(self) -> FileSpace:
        """Where the voxels lie; adds to `remarks`.

        Raises:
            VolumeError: the header's transforms cannot be used.
        """
        space, remarks = self._find_space()
        self.remarks += remarks
        return space

    def voxels(self) -> NDArray[np.float32]:
        """Read the voxels, scaled as the header says, shape `shape` in the file's own axis order.

        Raises:
            VolumeError: they are not real numbers, or the file is damaged or shorter than declared.
        """
        shape, image = self.shape, self._image
        if image.get_data_dtype().kind not in "iufb":
            raise VolumeError(f"voxel type {image.get_data_dtype()}, expected real numbers")
        self._check_size()
        with np.errstate(all="ignore"):
            values = np.asanyarray(self._stored, dtype=np.float32)
        if self._by_stream:
            extra = {role: one.drain() for role, one in self._streams.items()}
            # MGH files have a footer.
            if extra["image"] and issubclass(self._format, AnalyzeImage):
                text = "it is longer than its header declares; what follows the voxels is left out"
                self.remarks.append(("longer-than-header", text))
        return values.reshape(shape)

    def _find_format(self) -> Any:
        """Choose nibabel's class by the name's ending and the first bytes, and open the files."""
        for kind in all_image_classes:
            _, ending, _ = splitext_addext(self._path.name, kind._compressed_suffixes)
            if ending.lower() not in kind.valid_exts:
                continue
            files = {k: h.filename for k, h in kind.filespec_to_file_map(self._path).items()}
            meta = files.get("header", files["image"])
            head = self._open("header" if "header" in files else "image", Path(meta)).head
            if kind.path_maybe_image(str(self._path), (head, meta))[0]:
                self._open("image", Path(files["image"]))
                return kind
        first = next(iter(self._streams.values()), None) or self._open("image", self._path)
        raise VolumeError(f"not an image that nibabel knows{looks_like(first.head)}")

    def _open(self, role: str, path: Path) -> ImageStream:
        known = self._streams.get(role)
        if known is not None and known.path == path:
            return known
        same = next((one for one in self._streams.values() if one.path == path), None)
        if same is not None:
            return same
        if path != self._path and (problem := why_no_file(path)):
            raise VolumeError(f"it needs the file {path.name} beside it: {problem}")
        expected = {".gz": "gzip", ".mgz": "gzip", ".bz2": "bzip2"}.get(path.suffix.lower(), "")
        raw = self._stack.enter_context(open_regular(path))
        magic = raw.read(HEAD_BYTES)
        raw.seek(0)
        # The voxels of an .img can begin like a compressed file.
        bare = role == "image" and "header" in self._streams and not expected
        data, compression = (raw, "") if bare else decompressed(raw, magic)
        self._stack.enter_context(data)
        head = data.read(HEAD_BYTES)
        data.seek(0)
        if stand_in := pointer(head, path):
            raise VolumeError(f"{'' if path == self._path else path.name + ' is '}{stand_in}")
        if compression != expected:
            found = f"compressed with {compression}" if compression else "not compressed"
            text = f"its content is {found}, and its name says otherwise"
            self.remarks.append(("compression-unlike-name", text))
        stream = ImageStream(path, data, os.fstat(raw.fileno()).st_size, compression, head)
        self._streams[role] = stream
        return stream

    @property
    def _by_stream(self) -> bool:
        """Whether nibabel's class reads from open files; other classes open files by name."""
        return issubclass(self._format, AnalyzeImage | MGHImage)

    @property
    def _head(self) -> bytes:
        return self._streams.get("header", self._streams["image"]).head

    @cached_property
    def _nifti_header(self) -> Any:
        """The NIfTI header as it is stored, without nibabel's repairs; `None` for other formats."""
        if not issubclass(self._format, Nifti1Pair):
            return None
        kind = self._format.header_class
        return kind(binaryblock=self._head[: kind.sizeof_hdr], check=False)

    @cached_property
    def _image(self) -> Any:
        # Surfaces and the like are refused before they are read.
        if not issubclass(self._format, SpatialImage):
            raise VolumeError(f"not a volume image ({self._format.__name__})")
        files = self._format.filespec_to_file_map(self._path)
        if "mat" in files and Path(files["mat"].filename).exists():
            read_bytes(Path(files["mat"].filename), _MOST_MATRIX_BYTES)
        if not self._by_stream:
            # These are read by name; a first pass verifies compressed files.
            for stream in self._streams.values():
                stream.drain()
            image = self._format.from_file_map(files)
        else:
            for role, stream in self._streams.items():
                files[role].fileobj = stream.data
            image = self._format.from_file_map(files, mmap=False)
        return image

    @cached_property
    def _stored(self) -> Any:
        """The voxels, not yet read; adds to `remarks` what the header says of them that cannot be."""
        image, header = self._image, self._nifti_header
        if header is None:
            return image.dataobj
        self.remarks += odd_scaling(float(header["scl_slope"]), float(header["scl_inter"]))
        inside = issubclass(self._format, Nifti1Image) and int(header.get_data_offset()) == 0
        if not inside and min(image.shape) > 0:
            return image.dataobj
        mended = header.copy()
        mended.set_data_shape(self.shape)
        if inside:
            mended.set_data_offset(header.single_vox_offset)
            text = "its voxels would begin inside the header (vox_offset 0); read from behind it"
            self.remarks.append(("voxel-offset", text))
        return self._format.ImageArrayProxy(self._streams["image"].data, mended, mmap=False)

    def _find_space(self) -> tuple[FileSpace, list[Remark]]:
        if self._nifti_header is not None:
            return nifti_space(self._nifti_header, self.shape)
        kind, head, why = self._format, self._head, ""
        if issubclass(kind, MGHImage) and not any(head[28:30]):
            why = "its goodRASFlag is 0"
        if issubclass(kind, AnalyzeImage) and not self._has_spm_matrix():
            why = "Analyze format"
            header = kind.header_class(binaryblock=head[:348], check=False)
            if fault := size_fault(header["pixdim"][1:4]):
                raise VolumeError(f"it {fault}")
        return known_space(self._image.affine, self.shape, why)

    def _has_spm_matrix(self) -> bool:
        """Whether SPM's .mat file beside the image gives the directions of its axes."""
        if not issubclass(self._format, Spm99AnalyzeImage):
            return False
        holder = self._format.filespec_to_file_map(self._path)["mat"]
        if not Path(holder.filename).exists():
            return False
        from scipy.io import loadmat

        with holder.get_prepare_fileobj(mode="rb") as file:
            content = file.read()
        return bool(content) and "mat" in loadmat(io.BytesIO(content))

    def _check_size(self) -> None:
        """Refuse, before memory is taken, an image that cannot hold the voxels that its header declares."""
        voxels = int(np.prod(self.shape, dtype=object))
        if self._by_stream:
            proxy = self._stored
            declared = int(proxy.offset) + voxels * int(proxy.dtype.itemsize)
            self._streams["image"].check(declared, voxels)
        else:
            size = sum(stream.size for stream in self._streams.values())
            check_declared(size, voxels * int(self._image.get_data_dtype().itemsize), voxels)


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile]:
    """Open an image file by its given name; links are not resolved.

    Raises:
        VolumeError: there is no such file, it is not an image, or reading it in the block fails; the
            message begins with the path.
    """
    problem = why_no_file(path)
    if problem:
        raise VolumeError(f"{path}: {problem}")
    try:
        with ExitStack() as stack:
            yield ImageFile(path, stack)
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: damaged or truncated file ({error})") from error
    except MemoryError as error:
        raise VolumeError(f"{path}: its header declares more voxels than memory holds") from error
    except Exception as error:  # nibabel raises many kinds of errors on damaged headers
        detail = str(error) or type(error).__name__
        raise VolumeError(f"{path}: not a readable image, or a damaged one ({detail})") from error
