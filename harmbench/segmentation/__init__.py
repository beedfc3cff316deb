"""Tissue segmenters, and the choice of one by name."""

from harmbench.segmentation.base import TISSUES, BatchSegmenter, Segmenter
from harmbench.segmentation.contrast import CONTRASTS, Contrast, contrast_notes, find_contrast
from harmbench.segmentation.discovery import (
    AUTO,
    SegmenterClass,
    available_segmenters,
    choose_segmenter,
    load_segmenter,
    make_segmenter,
)

__all__ = [
    "AUTO",
    "CONTRASTS",
    "TISSUES",
    "BatchSegmenter",
    "Contrast",
    "Segmenter",
    "SegmenterClass",
    "available_segmenters",
    "choose_segmenter",
    "contrast_notes",
    "find_contrast",
    "load_segmenter",
    "make_segmenter",
]
