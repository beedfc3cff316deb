"""The protocol of a tissue segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from harmbench.arrays import ROUNDING, count_not_finite
from harmbench.errors import SegmentationError, UnsegmentableError
from harmbench.volume import Volume

__all__ = ["TISSUES", "BatchSegmenter", "Segmenter", "check_segmentable"]

TISSUES = {"CSF": 1, "GM": 2, "WM": 3}
"""Tissue classes and their labels, in the order of rising T1-weighted intensity; 0 is background."""


class Segmenter(Protocol):
    """Splits a skull-stripped volume into CSF, grey and white matter.

    `name` stands in every results row; `version` names the software and is part of the key of every
    segmentation. One that is made for other contrasts than T1w too keeps the one it was made with in
    an attribute `contrast`. `harmbench.segmentation.SegmenterClass` says how its class is called; to
    install one, register the class as an entry point:

    ```toml
    [project.entry-points."harmbench.segmenters"]
    mine = "my_package.segmenter:MySegmenter"
    ```

    Without that, `--segmenter path/to/file.py:MySegmenter` takes the class from a file.
    """

    name: str

    @property
    def version(self) -> str:
        """Software and version; raises `UnavailableError` where it is not installed."""
        ...

    def segment(self, volume: Volume) -> Volume:
        """Return labels (0 background, 1 CSF, 2 GM, 3 WM) on the grid of `volume`.

        `volume` is skull-stripped with intensities in [0, 1]; its brain is where it is above 0.

        Raises:
            UnsegmentableError: the volume itself cannot be segmented. This is recorded; after any
                other error the next run tries again.
        """
        ...


@runtime_checkable
class BatchSegmenter(Segmenter, Protocol):
    """A segmenter that can take several volumes in one call, for GPU efficiency."""

    def segment_batch(self, volumes: Sequence[Volume]) -> list[Volume | SegmentationError]:
        """Return the labels of each volume, or the error that `segment` would raise."""
        ...


def check_segmentable(volume: Volume) -> None:
    """Raise `UnsegmentableError` for a volume that no three-class segmenter can segment.

    The volume must be finite and at least 0, and its brain (voxels above 0) must be more than one slice
    thick and have three or more different intensities.
    """
    data = volume.data
    if count_not_finite(data):
        raise UnsegmentableError("the volume has NaN or infinite voxels")
    # Interpolation leaves small negatives; they are background.
    if data.min() < -ROUNDING:
        raise UnsegmentableError(f"the volume has negative voxels (minimum {data.min():.4g})")
    brain = data[data > 0]
    if not brain.size:
        raise UnsegmentableError("the volume has no voxel above 0")
    filled = [np.count_nonzero((data > 0).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    if min(filled) == 1:
        raise UnsegmentableError(
            f"the brain is a single slice ({' x '.join(map(str, filled))} voxels); segmentation "
            "needs a volume"
        )
    if np.unique(brain[:: max(1, brain.size // 100_000)]).size < 3 and np.unique(brain).size < 3:
        raise UnsegmentableError("the brain has fewer than three different intensities")
