"""ANTs Atropos, called through antspyx."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from harmbench.arrays import bounding_box
from harmbench.errors import SegmenterError, UnsegmentableError
from harmbench.external.antspy import ants_module
from harmbench.segmentation.base import TISSUES, check_segmentable
from harmbench.segmentation.contrast import CONTRASTS, Contrast, by_rising_intensity, to_tissues
from harmbench.volume import Step, Volume

__all__ = ["Atropos"]

_MARKOV_FIELD = "[0.1,1x1x1]"
_START = "kmeans[3]"
_CLIP_PERCENTILE = 99.9
_MARGIN = 2


class Atropos:
    """Atropos with three classes from k-means and a Markov random field (Avants et al. 2011).

    Intensities are clipped at the brain's 99.9th percentile, since k-means would otherwise
    use a class for a few bright voxels. Classes become tissues by the order of their mean intensity.

    Args:
        device: ignored; Atropos computes on the processor.
        contrast: of the volumes.
    """

    name = "atropos"
    contrasts = CONTRASTS

    def __init__(self, *, device: str = "cpu", contrast: Contrast = "T1w") -> None:
        self.contrast = contrast

    @cached_property
    def version(self) -> str:
        """Version of antspyx."""
        return f"antspyx {version('antspyx')}"

    def segment(self, volume: Volume) -> Volume:
        """Return labels (0 background, 1 CSF, 2 GM, 3 WM) on the grid of `volume`.

        Raises:
            UnsegmentableError: the volume is unusable.
            SegmenterError: Atropos failed.
        """
        check_segmentable(volume)
        ants = ants_module()
        box = bounding_box(volume.data > 0, _MARGIN)  # the smaller, the faster
        data = volume.data[box]
        brain = data > 0
        clipped = np.minimum(data, np.percentile(data[brain], _CLIP_PERCENTILE))
        spacing = list(volume.spacing_mm)
        with _own_temporary_folder():
            try:
                # ANTsPy has no types: images and lists of images, by name.
                result: dict[str, Any] = ants.atropos(
                    a=ants.from_numpy(np.ascontiguousarray(clipped), spacing=spacing),
                    x=ants.from_numpy(brain.astype(np.float32), spacing=spacing),
                    i=_START,
                    m=_MARKOV_FIELD,
                    # 0: no random seed per call, so that results are reproducible.
                    r=0,
                )
            except Exception as error:
                raise SegmenterError(f"Atropos failed: {error}") from error
            cropped = np.rint(result["segmentation"].numpy()).astype(np.uint8)
        labels = np.zeros(volume.shape, dtype=np.uint8)
        found = np.unique(cropped[cropped > 0]).size
        if found < len(TISSUES):
            raise UnsegmentableError(f"Atropos found {found} of three classes")
        labels[box] = to_tissues(by_rising_intensity(cropped, data), self.contrast)
        parameters = {"segmenter": self.name, "version": self.version, "contrast": self.contrast}
        step = Step("segment", parameters)
        return volume.with_data(labels, step, kind="label")


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Give antspyx a temporary folder of its own, since it leaves probability maps there."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="harmbench-atropos-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before
