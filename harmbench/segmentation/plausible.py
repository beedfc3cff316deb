"""The check of every segmenter's labels: could they be the tissues of a brain?

The limits are wide. They reject segmentations that failed without an error, such as a brain that is all
CSF, and accept unusual brains.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from harmbench.errors import ImplausibleLabelsError
from harmbench.segmentation.base import TISSUES
from harmbench.segmentation.contrast import RISING, Contrast

__all__ = [
    "LARGEST_SHARE",
    "LEAST_COVERED",
    "LEAST_SHARE",
    "MOST_OUTSIDE",
    "MOST_REPEATED",
    "check_plausible",
    "has_repeated_value",
]

LEAST_SHARE = {"CSF": 0.002, "GM": 0.05, "WM": 0.05}
"""Least share of each tissue in the brain. Grey and white matter each have a fifth or more of any
brain, at any age; a tight mask of a child's brain leaves little more CSF than the ventricles, 1 %."""

LARGEST_SHARE = 0.8
"""Largest share of a tissue: more than the CSF of severe hydrocephalus, or a child's grey matter."""

MOST_REPEATED = 0.5
"""Largest share of a class's voxels with the same value. Noise spreads the values of a tissue; even in
a scan of 16 grey levels, white matter's most frequent value has a smaller share."""

LEAST_COVERED = 0.9
"""Least share of the brain (voxels above 0) that has a label: segmenters label all of it."""

MOST_OUTSIDE = 0.05
"""Largest share of the labels outside the brain: more lie there where labels are shifted or mirrored,
or where the background got one."""

SPIKE_SHARE = 0.05
SPIKE_EXCESS = 3.0
"""A value of the brain is a spike where it has this share of it, and this many times the voxels of
the next lower and the next higher value. In scans of few bits, all grey levels have large shares."""


def has_repeated_value(data: NDArray[np.float32]) -> bool:
    """Whether one value fills a part of the brain, as after saturation or editing.

    Args:
        data: a skull-stripped scan, shape (x, y, z); the brain is where it is above 0.
    """
    _, counts = np.unique(data[data > 0], return_counts=True)
    if not counts.size:
        return False
    around = np.pad(counts, 1)
    beside = np.maximum(around[:-2], around[2:])
    spike = (counts >= SPIKE_SHARE * counts.sum()) & (counts >= SPIKE_EXCESS * beside)
    return bool(spike.any())


def check_plausible(
    labels: NDArray[np.uint8], data: NDArray[np.float32], contrast: Contrast = "T1w"
) -> None:
    """Raise `ImplausibleLabelsError` for labels that cannot be the tissues of a brain.

    Args:
        labels: tissue labels (0 background), shape (x, y, z).
        data: the segmented scan, same shape; the brain is where it is above 0.
        contrast: determines the order of the tissues by brightness.

    Plausible labels cover the brain and nothing else, every tissue has its share of it, no tissue
    consists of one repeated value, and tissues follow each other in brightness: half of a tissue's
    voxels are brighter than three quarters of the next darker one, and the reverse.
    """
    brain = int(np.count_nonzero(data > 0))
    counts = np.bincount(labels.ravel(), minlength=len(TISSUES) + 1)
    labelled = int(counts[1:].sum())
    if labelled < LEAST_COVERED * brain:
        raise ImplausibleLabelsError(f"only {labelled / brain:.1%} of the brain has a label")
    outside = int(np.count_nonzero((labels > 0) & (data <= 0)))
    if outside > MOST_OUTSIDE * labelled:
        raise ImplausibleLabelsError(
            f"{outside / labelled:.1%} of the labels lie outside the brain: they are not of this volume"
        )
    shares = {tissue: counts[label] / labelled for tissue, label in TISSUES.items()}
    told = ", ".join(f"{tissue} {share:.1%}" for tissue, share in shares.items())
    for tissue, share in shares.items():
        if not LEAST_SHARE[tissue] <= share <= LARGEST_SHARE:
            raise ImplausibleLabelsError(
                f"{tissue} has {share:.1%} of the brain, expected {LEAST_SHARE[tissue]:.1%} to "
                f"{LARGEST_SHARE:.0%} ({told})"
            )
    values = {tissue: data[labels == label] for tissue, label in TISSUES.items()}
    for tissue, own in values.items():
        value, share = _most_frequent(own)
        if share > MOST_REPEATED:
            raise ImplausibleLabelsError(
                f"{share:.0%} of the {tissue} is the single value {value:.4g}: it is a spike in "
                f"the intensities, not a tissue ({told})"
            )
    for dark, bright in pairwise(RISING[contrast]):
        _check_brighter(dark, values[dark], bright, values[bright], contrast)


def _most_frequent(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the most frequent value and its share."""
    found, counts = np.unique(values, return_counts=True)
    most = int(np.argmax(counts))
    return float(found[most]), float(counts[most] / values.size)


def _check_brighter(
    dark: str,
    dark_values: NDArray[np.float32],
    bright: str,
    bright_values: NDArray[np.float32],
    contrast: Contrast,
) -> None:
    _, dark_median, dark_upper = np.quantile(dark_values, (0.25, 0.5, 0.75))
    bright_lower, bright_median, _ = np.quantile(bright_values, (0.25, 0.5, 0.75))
    if bright_median < dark_upper or dark_median > bright_lower:
        raise ImplausibleLabelsError(
            f"{bright} is not brighter than {dark}, as it is in {contrast}: medians "
            f"{bright_median:.3g} and {dark_median:.3g}, upper quarter of {dark} from "
            f"{dark_upper:.3g}, lower quarter of {bright} up to {bright_lower:.3g}"
        )
