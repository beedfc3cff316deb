"""The built-in tissue segmenter: a hidden Markov random field, as in FSL's FAST.

A clean implementation, from the published description, of Zhang, Brady & Smith: Segmentation of
brain MR images through a hidden Markov random field model and the expectation-maximization
algorithm, IEEE Trans. Med. Imaging 20(1), 2001. It answers as FAST 6.0.0 does at its defaults
(`fast -t 1 -n 3`) and takes seconds; `reports/segmentation` has the comparison.
"""

from __future__ import annotations

from importlib.metadata import version

from harmbench.segmentation.hmrf.model import HmrfResult, hmrf
from harmbench.volume import Step, Volume

__all__ = ["Hmrf", "HmrfResult", "hmrf"]


# The class stands here because a segmentation's key covers the folder of the class's module.
class Hmrf:
    """The built-in segmenter with three classes and hard labels; see `hmrf` for the algorithm.

    It works on the logarithm of intensity + 1, so the scale of the input matters: it takes the
    prepared volume in [0, 1] as it is, and the scale is recorded in the labels' history.
    """

    name = "hmrf"

    @property
    def version(self) -> str:
        """Version of harmbench."""
        return f"harmbench {version('harmbench')}"

    def segment(self, volume: Volume) -> Volume:
        """Return labels (0 background, 1 CSF, 2 GM, 3 WM) on the grid of `volume`.

        Raises:
            SegmentationError: the volume is unusable, or a class died out.
        """
        labels = hmrf(volume.data, volume.spacing_mm).labels
        step = Step("segment", {"segmenter": self.name, "version": self.version, "scale": [0, 1]})
        return volume.with_data(labels, step, kind="label")
