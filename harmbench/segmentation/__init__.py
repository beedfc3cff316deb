"""Tissue segmentation behind one small protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harmbench.errors import SegmentationError, UnavailableError, suggest
from harmbench.segmentation.atropos import Atropos
from harmbench.segmentation.base import TISSUES, BatchSegmenter, Segmenter
from harmbench.segmentation.fast import Fast
from harmbench.segmentation.hmrf import Hmrf

__all__ = ["AUTO", "SEGMENTERS", "TISSUES", "BatchSegmenter", "Segmenter", "make_segmenter"]

SEGMENTERS: Mapping[str, Callable[[], Segmenter]] = {
    "fast": Fast,
    "hmrf": Hmrf,
    "atropos": Atropos,
}

AUTO = ("fast", "hmrf")
"""What the choice `auto` tries, in this order."""


def make_segmenter(name: str, device: str = "cpu") -> Segmenter:
    """Make a segmenter by name; `auto` takes the first of `AUTO` that is installed.

    Args:
        name: `auto`, or one of `SEGMENTERS`.
        device: torch device name; `hmrf` computes there, the others on the processor.

    Raises:
        SegmentationError: the name is unknown.
        UnavailableError: its software is not installed.
    """
    if name != "auto" and name not in SEGMENTERS:
        raise SegmentationError(
            f"unknown segmenter '{name}'; {suggest(name, ['auto', *SEGMENTERS])}"
        )
    reasons = []
    for candidate in AUTO if name == "auto" else (name,):
        made = SEGMENTERS[candidate]
        segmenter = Hmrf(device) if made is Hmrf else made()
        try:
            _ = segmenter.version
        except UnavailableError as error:
            reasons.append(str(error))
        else:
            return segmenter
    raise UnavailableError("; ".join(reasons))
