"""FSL FAST, called through fslpy."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from subprocess import CalledProcessError

import numpy as np

from harmbench.errors import SegmentationError
from harmbench.fsl import fsl_version, fsl_wrapper
from harmbench.segmentation.base import check_segmentable
from harmbench.volume import Step, Volume, read, write

__all__ = ["Fast"]


class Fast:
    """FAST with three classes, T1 contrast, hard labels (Zhang, Brady & Smith 2001).

    FAST works on the logarithm of intensity + 1, so the scale of the input matters: it gets the
    prepared volume in [0, 1] as it is, and the scale is recorded in the labels' history.
    """

    name = "fast"

    @cached_property
    def version(self) -> str:
        """Version of the FSL installation.

        Raises:
            UnavailableError: FSLDIR is unset or holds no `fast`.
        """
        return fsl_version("fast", "segmenter fast")

    def segment(self, volume: Volume) -> Volume:
        """Return labels (0 background, 1 CSF, 2 GM, 3 WM) on the grid of `volume`.

        Raises:
            UnavailableError: FSL is not installed.
            SegmentationError: FAST failed or the volume is unusable.
        """
        _ = self.version
        check_segmentable(volume)
        fast = fsl_wrapper("fast")
        with tempfile.TemporaryDirectory(prefix="harmbench-fast-") as folder:
            # Without its file's own orientation the scan is written, and read back, in RAS.
            data = np.maximum(volume.data, 0)
            scan = write(Volume(data, volume.affine), Path(folder) / "scan.nii.gz")
            out = Path(folder) / "out"
            try:
                fast(str(scan), out=str(out), n_classes=3, t=1, nopve=True, log={"tee": False})
            except (CalledProcessError, RuntimeError, OSError) as error:
                raise SegmentationError(f"FAST failed: {error}") from error
            found = sorted(Path(folder).glob("out_seg.nii*"))
            if not found:
                raise SegmentationError("FAST ended without writing a segmentation")
            labels = read(found[0], kind="label").data
        step = Step("segment", {"segmenter": self.name, "version": self.version, "scale": [0, 1]})
        return volume.with_data(labels.astype(np.uint8), step, kind="label")
