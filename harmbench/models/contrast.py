"""What tells contrasts apart without a look at the anatomy: the scanner's name, and a histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from harmbench.metrics.histogram import BINS, histogram
from harmbench.storage import read_json
from harmbench.volume import Volume, image_name

__all__ = [
    "SCANNER_FIELDS",
    "brain_histogram",
    "histogram_distance",
    "largest_distance",
    "same_scanner",
    "scanner_of",
]

SCANNER_FIELDS: Final = ("MagneticFieldStrength", "ManufacturersModelName")
"""Fields of a BIDS sidecar that say on which scanner a scan was made."""

# A nominal 3 T magnet is recorded as 2.89 T by one vendor.
_FIELD_TOLERANCE_T = 0.2

_LEVELS = np.arange(BINS) / BINS

Histogram = NDArray[np.float64]


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
    """Read the scanner's fields from a scan's BIDS sidecars; those that are not recorded are absent.

    Sidecars farther up in the data set count too, the nearest one first (the inheritance principle).
    """
    *entities, suffix = image_name(scan).split("_")
    found: dict[str, str] = {}
    for folder in _up_to_root(scan.resolve().parent):
        fitting = []
        for path in folder.glob(f"*{suffix}.json"):
            *theirs, last = path.stem.split("_")
            if last == suffix and set(theirs) <= set(entities):
                fitting.append((len(theirs), path))
        for _, path in sorted(fitting, reverse=True):
            for name, value in _fields(path).items():
                found.setdefault(name, value)
    return found


def _up_to_root(folder: Path) -> list[Path]:
    """The folder alone, or all up to the data set's root where it lies in a BIDS data set."""
    above: list[Path] = []
    for place in (folder, *folder.parents)[:6]:
        above.append(place)
        if (place / "dataset_description.json").is_file():
            return above
    return [folder]


def _fields(path: Path) -> dict[str, str]:
    try:
        values: Any = read_json(path)
    except (ValueError, OSError):
        return {}
    if not isinstance(values, Mapping):
        return {}
    return {name: _text(values[name]) for name in SCANNER_FIELDS if values.get(name)}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value).strip()


def same_scanner(field: str, value: str, known: Sequence[str]) -> bool:
    """Whether a field's value is one of the known ones; field strengths within 0.2 T are the same."""
    if value.casefold() in {other.casefold() for other in known}:
        return True
    if field != "MagneticFieldStrength":
        return False
    try:
        return any(abs(float(value) - float(other)) <= _FIELD_TOLERANCE_T for other in known)
    except ValueError:
        return False
