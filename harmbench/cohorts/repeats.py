"""Scans that occur twice in a cohort: the same scan could be in training and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmbench.volume import Volume

__all__ = ["Fingerprint", "fingerprint", "repeated"]

_SAMPLES = 32768
_EACH = 499
"""Which samples are compared first; a prime, so that they do not lie in one plane."""
# Share of the range of values: rounding to 16-bit integers changes less, noise of a second scan more.
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """Identifies a scan, independent of its file's compression, voxel type and scaling.

    Attributes:
        shape: of the volume in RAS orientation.
        digest: SHA-256 of the values.
        samples: values of a regular subset of voxels, float32.
        size: 99th percentile of the samples' absolute values; 0 where they are too few to compare.
    """

    shape: tuple[int, int, int]
    digest: str
    samples: NDArray[np.float32]
    size: float

    def same(self, other: Fingerprint) -> bool:
        """Whether two volumes have the same values, apart from rounding to 16-bit integers."""
        if self.shape != other.shape:
            return False
        if self.digest == other.digest:
            return True
        allowed = _TOLERANCE * min(self.size, other.size)
        # Scans of many people have the same mean: a few voxels tell nearly all of them apart.
        few = np.abs(self.samples[::_EACH] - other.samples[::_EACH])
        if allowed <= 0 or few.max() > allowed:
            return False
        return bool(np.abs(self.samples - other.samples).max() <= allowed)


def fingerprint(volume: Volume) -> Fingerprint:
    """Return the fingerprint of a volume as read; samples that are not finite count as 0."""
    step = max(1, round((volume.data.size / _SAMPLES) ** (1 / 3)))
    samples = np.nan_to_num(volume.data[::step, ::step, ::step], posinf=0, neginf=0).ravel()
    digest = hashlib.sha256(np.ascontiguousarray(volume.data).data).hexdigest()
    # A percentile: the maximum may be one spike, and would make all scans equal.
    return Fingerprint(volume.shape, digest, samples, float(np.percentile(np.abs(samples), 99)))


def repeated(
    prints: Mapping[tuple[str, str], Fingerprint], paths: Mapping[tuple[str, str], Path]
) -> list[str]:
    """Name each scan that equals an earlier one, with both files.

    Args:
        prints: (subject, session) to fingerprint, in the order of the cohort.
        paths: (subject, session) to file.
    """
    # Equal scans have equal means: sorted by mean, only neighbours need to be compared.
    means = {key: float(own.samples.mean(dtype=np.float64)) for key, own in prints.items()}
    order = {key: place for place, key in enumerate(prints)}
    ordered = sorted(prints, key=lambda key: means[key])
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for place, key in enumerate(ordered):
        own = prints[key]
        for other in ordered[place + 1 :]:
            if means[other] - means[key] > _TOLERANCE * max(own.size, prints[other].size):
                break
            if own.same(prints[other]):
                one, two = sorted((key, other), key=order.__getitem__)
                first[two] = min(first.get(two, one), one, key=order.__getitem__)
    return [
        f"subject {key[0]}, session {key[1]} is the same scan as subject {twin[0]}, session {twin[1]} "
        f"({paths[key]}, {paths[twin]})"
        for key, twin in sorted(first.items(), key=lambda item: order[item[0]])
    ]
