"""FSL FAST, called through fslpy."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmbench.errors import ProgramError, SegmenterError, VolumeError
from harmbench.external.fsl import fsl_version, run_fsl
from harmbench.segmentation.base import TISSUES, check_segmentable
from harmbench.segmentation.contrast import CONTRASTS, Contrast, by_rising_intensity, to_tissues
from harmbench.volume import Step, Volume, read, write

__all__ = ["Fast"]

_IMAGE_TYPE = {"T1w": 1, "UNIT1": 1, "T2w": 2}
"""Value of FAST's option -t for each contrast."""

_OUTPUTS = ("out_seg.nii.gz", "out_seg.nii", "out_seg.img")


class Fast:
    """FAST with three classes and hard labels (Zhang, Brady & Smith 2001).

    FAST works on the logarithm of intensity + 1, so the scale of the input matters: it gets the
    prepared volume in [0, 1] unchanged, and the scale is recorded in the labels' history.

    Args:
        device: ignored; FAST computes on the processor.
        contrast: of the volumes.
    """

    name = "fast"
    contrasts = CONTRASTS

    def __init__(self, *, device: str = "cpu", contrast: Contrast = "T1w") -> None:
        self.contrast = contrast

    @cached_property
    def version(self) -> str:
        """Version of the FSL installation, and the origin of FAST if it is not part of it.

        Raises:
            UnavailableError: FSLDIR is unset, holds no `fast`, or one that does not start.
        """
        return fsl_version("fast", "segmenter fast")

    def segment(self, volume: Volume) -> Volume:
        """Return labels (0 background, 1 CSF, 2 GM, 3 WM) on the grid of `volume`.

        Raises:
            UnavailableError: FSL is not installed.
            UnsegmentableError: the volume is unusable.
            SegmenterError: FAST failed; the message has FAST's output.
        """
        _ = self.version
        check_segmentable(volume)
        try:
            with tempfile.TemporaryDirectory(prefix="harmbench-fast-") as folder:
                classes = self._run(volume, Path(folder))
        except OSError as error:
            reason = error.strerror or str(error)
            raise SegmenterError(f"the temporary folder cannot be used: {reason}") from error
        parameters = {"segmenter": self.name, "version": self.version, "scale": [0, 1]}
        step = Step("segment", {**parameters, "contrast": self.contrast})
        return volume.with_data(self._tissues(classes, volume), step, kind="label")

    def _run(self, volume: Volume, folder: Path) -> Volume:
        """Return FAST's own labels, on the grid that it wrote."""
        # Write, and read back, in RAS: without the orientation of the scan's file.
        data = np.maximum(volume.data, 0)
        scan = write(Volume(data, volume.affine), folder / "scan.nii.gz")
        options = {"n_classes": 3, "t": _IMAGE_TYPE[self.contrast], "nopve": True}
        try:
            words = run_fsl("fast", str(scan), out=str(folder / "out"), **options)
        except ProgramError as error:
            reason = str(error).replace(f"{folder}/", "")
            raise SegmenterError(f"FAST {reason}") from error
        found = [folder / name for name in _OUTPUTS if (folder / name).is_file()]
        if not found:
            told = f": {words}".replace(f"{folder}/", "") if words else ""
            raise SegmenterError(f"FAST ended without writing a segmentation{told}")
        try:
            return read(found[0], kind="label")
        except VolumeError as error:
            reason = str(error).replace(f"{folder}/", "")
            raise SegmenterError(f"FAST's segmentation cannot be read: {reason}") from error

    def _tissues(self, classes: Volume, volume: Volume) -> NDArray[np.uint8]:
        if not classes.same_grid(volume):
            raise SegmenterError("FAST's segmentation lies on another grid than the scan")
        if classes.data.max() > len(TISSUES):
            raise SegmenterError(f"FAST's segmentation has a label {classes.data.max()}")
        rising = by_rising_intensity(classes.data, volume.data)
        return to_tissues(rising, self.contrast)
