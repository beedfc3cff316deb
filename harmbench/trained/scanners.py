"""What tells contrasts apart without a look at the anatomy: the scanner's name, and a histogram."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from harmbench.files.field_strength import FIELD, parse_tesla, same_field
from harmbench.files.sidecars import field_text, sidecar_fields
from harmbench.metrics.histogram import BINS, histogram
from harmbench.volume import Volume

__all__ = [
    "SCANNER_FIELDS",
    "Histogram",
    "brain_histogram",
    "histogram_distance",
    "largest_distance",
    "same_scanner",
    "scanner_of",
]

SCANNER_FIELDS: Final = (FIELD, "ManufacturersModelName")
"""Fields of a BIDS sidecar that say on which scanner a scan was made."""

_LEVELS = np.arange(BINS) / BINS

Histogram = NDArray[np.float64]
"""Of the brain's intensities: shape (255,)."""


def brain_histogram(volume: Volume) -> Histogram:
    """Share of brain voxels (above 0) in each of 255 bins over [0, 1], shape (255,)."""
    counts = histogram(volume.data, volume.data > 0).astype(np.float64)
    return np.asarray(counts / max(1.0, counts.sum()), dtype=np.float64)


def histogram_distance(
    one: Sequence[float] | Histogram, other: Sequence[float] | Histogram
) -> float:
    """1-Wasserstein distance of two histograms over [0, 1], in units of intensity.

    Args:
        one, other: shape (255,), each with a positive sum.
    """
    return float(wasserstein_distance(_LEVELS, _LEVELS, one, other))


def largest_distance(histograms: Sequence[Histogram]) -> float:
    """How far the farthest of some histograms lies from the mean of the others; 0 for only one."""
    if len(histograms) < 2:
        return 0.0
    total = np.sum(histograms, axis=0)
    return max(histogram_distance(own, total - own) for own in histograms)


def scanner_of(scan: Path) -> dict[str, str]:
    """Read the scanner's fields from a scan's BIDS sidecars; those that are not recorded are absent."""
    fields = sidecar_fields(scan)
    found = {name: _text(name, fields.get(name)) for name in SCANNER_FIELDS}
    return {name: text for name, text in found.items() if text is not None}


def _text(field: str, value: object) -> str | None:
    if field != FIELD:
        return field_text(value)
    try:
        return f"{parse_tesla(value):g}"
    except ValueError:
        return None


def same_scanner(field: str, value: str, known: Sequence[str]) -> bool:
    """Whether a field's value is one of the known ones; field strengths within 0.2 T are the same."""
    if value.casefold() in {other.casefold() for other in known}:
        return True
    if field != FIELD:
        return False
    try:
        own = parse_tesla(value)
    except ValueError:
        return False
    for other in known:
        with suppress(ValueError):
            if same_field(own, parse_tesla(other)):
                return True
    return False
