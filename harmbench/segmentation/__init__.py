"""Tissue segmenters, and the choice of one by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from harmbench.errors import SegmentationError, UnavailableError, suggest
from harmbench.segmentation.atropos import Atropos
from harmbench.segmentation.base import TISSUES, BatchSegmenter, Segmenter
from harmbench.segmentation.contrast import CONTRASTS, Contrast, find_contrast
from harmbench.segmentation.fast import Fast
from harmbench.segmentation.hmrf import Hmrf

__all__ = [
    "AUTO",
    "CONTRASTS",
    "SEGMENTERS",
    "TISSUES",
    "BatchSegmenter",
    "Contrast",
    "Segmenter",
    "find_contrast",
    "make_segmenter",
]

SEGMENTERS: Mapping[str, Callable[..., Segmenter]] = {
    "fast": Fast,
    "hmrf": Hmrf,
    "atropos": Atropos,
}

AUTO = ("fast", "hmrf")
"""The segmenters that `auto` tries, in this order."""


def make_segmenter(name: str, device: str = "cpu", contrast: Contrast = "T1w") -> Segmenter:
    """Make a segmenter by name; `auto` takes the first of `AUTO` that is installed.

    Args:
        name: `auto`, or one of `SEGMENTERS`.
        device: torch device name; `hmrf` computes there, the others on the processor.
        contrast: of the volumes.

    Raises:
        SegmentationError: the name is unknown, or the segmenter is not made for the contrast.
        UnavailableError: its software is not installed.
    """
    if name != "auto" and name not in SEGMENTERS:
        raise SegmentationError(
            f"unknown segmenter '{name}'; {suggest(name, ['auto', *SEGMENTERS])}"
        )
    reasons = []
    for candidate in AUTO if name == "auto" else (name,):
        segmenter = _make(candidate, device=device, contrast=contrast)
        try:
            _ = segmenter.version
        except UnavailableError as error:
            reasons.append(str(error))
        else:
            return segmenter
    raise UnavailableError("; ".join(reasons))


def _make(name: str, **wanted: Any) -> Segmenter:
    """Make a segmenter with those settings that its constructor takes."""
    kind = SEGMENTERS[name]
    taken = {
        key: value for key, value in wanted.items() if key in inspect.signature(kind).parameters
    }
    if "contrast" not in taken and wanted["contrast"] != "T1w":
        raise SegmentationError(
            f"segmenter {name} is made for T1w; the scans' contrast is {wanted['contrast']}"
        )
    return kind(**taken)
