"""The white matter peak of a T1-weighted scan, and scans that are scaled by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from harmbench.task import Pair
from harmbench.volume import Step, Volume

__all__ = ["AlignedPairs", "white_matter_peak"]

_BINS = 256
_SMOOTHING_BINS = 10.0  # 4 % of the range: the noise of small brains goes, tissues stay apart
_LEAST_CURVATURE = 0.2  # of the strongest
_LEAST_HEIGHT = 0.25  # of the highest bin


def white_matter_peak(data: NDArray[Any]) -> float:
    """Return the intensity of the white matter peak of a skull-stripped T1-weighted scan.

    White matter is the brightest tissue of such a scan, so its peak is the last one of the smoothed
    histogram of the brain. Where contrast is low, grey matter makes a shoulder of it; peaks and
    shoulders alike are where the histogram curves downward most, so the last such place is taken.
    Lesions and vessels are too few to make one. Voxels at the maximum are left out: where a scan
    was clipped they stand for a range of intensities.

    Args:
        data: intensities, shape (x, y, z); the brain is what lies above 0.

    Returns:
        The peak's intensity, above 0; it scales with `data`. Brains without voxels below their
        maximum give the maximum, and an empty scan gives 1.
    """
    brain = data[data > 0].astype(np.float64)
    if not brain.size:
        return 1.0
    unclipped = brain[brain < brain.max()]
    if not unclipped.size:
        return float(brain[0])
    top = float(np.quantile(unclipped, 0.999))
    counts, edges = np.histogram(unclipped, bins=_BINS, range=(0, top))
    # The empty bins around the range let a peak be found at its end as well.
    border = int(4 * _SMOOTHING_BINS)
    padded = np.pad(counts.astype(np.float64), border)
    density = gaussian_filter1d(padded, _SMOOTHING_BINS, mode="constant")
    curvature = -gaussian_filter1d(padded, _SMOOTHING_BINS, order=2, mode="constant")
    places, _ = find_peaks(curvature, height=_LEAST_CURVATURE * curvature.max())
    high = places[density[places] >= _LEAST_HEIGHT * density.max()]
    last = int(high[-1]) if len(high) else int(density.argmax())
    width = edges[1] - edges[0]
    return float(np.clip((last - border + 0.5) * width, width, top))


class AlignedPairs(Sequence[Pair]):
    """Training pairs, each scan scaled so that its white matter peak lies at 1.

    Args:
        pairs: the pairs; loaded when they are asked for and not kept.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        self._target_peaks: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> AlignedPairs: ...
    def __getitem__(self, index: int | slice) -> Pair | AlignedPairs:
        """Return a scaled pair, whose target's peak is remembered, or a part of the pairs."""
        if isinstance(index, slice):
            return AlignedPairs(self._pairs[index])
        pair = self._pairs[index]
        source_peak = white_matter_peak(pair.source.data)
        target_peak = white_matter_peak(pair.target.data)
        self._target_peaks[pair.subject] = target_peak
        source, target = _scaled(pair.source, source_peak), _scaled(pair.target, target_peak)
        return Pair(pair.subject, pair.group, source, target)

    @property
    def target_peak(self) -> float:
        """Median white matter peak of the targets."""
        for index in () if self._target_peaks else range(len(self)):
            self[index]  # another process went through the pairs
        return float(np.median(list(self._target_peaks.values())))


def _scaled(volume: Volume, peak: float) -> Volume:
    data = volume.data / np.float32(peak)
    return volume.with_data(data, Step("align white matter", {"peak": peak}))
