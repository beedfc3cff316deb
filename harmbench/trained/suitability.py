"""Whether a scan is what a model was trained for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harmbench.trained.record import ModelRecord, TrainingData
from harmbench.trained.scanners import (
    brain_histogram,
    histogram_distance,
    same_scanner,
    scanner_of,
)
from harmbench.volume import Volume

__all__ = ["LARGEST_RATIO", "SPACING_TOLERANCE", "misfits"]

Spacing = tuple[float, float, float]

SPACING_TOLERANCE = 0.1
"""Largest relative difference of voxel size, on each axis, from a size seen in training."""

LARGEST_RATIO = 2.0
"""How many times farther from the training sources' histogram than the farthest of them a scan lies
at most."""

# A few training subjects that happen to be alike do not make a contrast narrow: in units of intensity,
# for any scan (more where there were very few) and for one that is nearer to the target's histogram.
_LEAST_LIMIT = 0.05
_LEAST_LIMIT_NEAR_TARGET = 0.02


def misfits(
    record: ModelRecord,
    source: Volume,
    scan: Path,
    raw_spacing_mm: tuple[float, float, float] | None = None,
) -> Iterator[str]:
    """Say what about a scan is not as in training, one sentence each.

    Voxel size, the scanner in its BIDS sidecar, and the histogram of its brain: the Wasserstein
    distance from the mean of the training sources may be twice that of the farthest of them, or that
    of the farthest itself where the scan is nearer to the training targets. On the simulated cohort
    (8 subjects at 2 mm) these distances are 0.006 to 0.034 to scans of the own contrast, and 0.050 to
    0.088 to those of the other.

    Args:
        record: the model's.
        source: the scan as the model gets it: prepared, skull-stripped, in [0, 1].
        scan: its file; its BIDS sidecars name the scanner.
        raw_spacing_mm: voxel size of a raw scan, before it was prepared.
    """
    training = record.training
    if training is None:
        yield "the run's training scans are gone, so it is not known what the model was trained for"
        return
    yield from _spacing(
        source.spacing_mm, training.spacings_mm, "its voxels are {} mm, in training they were {} mm"
    )
    if raw_spacing_mm is not None and training.source_raw_spacings_mm:
        yield from _spacing(
            raw_spacing_mm,
            training.source_raw_spacings_mm,
            "its raw voxels are {} mm, those of the training sources were {} mm",
        )
    yield from _scanner(record, training, scan)
    yield from _histogram(record, training, source)


def _spacing(own: Spacing, seen: Sequence[Spacing], sentence: str) -> Iterator[str]:
    for known in seen:
        if all(abs(a / b - 1) <= SPACING_TOLERANCE + 1e-6 for a, b in zip(own, known, strict=True)):
            return
    texts = (" x ".join(f"{mm:.3g}" for mm in size) for size in (own, *seen))
    yield sentence.format(next(texts), " or ".join(texts)) + f" (tolerance {SPACING_TOLERANCE:.0%})"


def _scanner(record: ModelRecord, training: TrainingData, scan: Path) -> Iterator[str]:
    own = scanner_of(scan)
    for name, known in training.source_scanner.items():
        if name not in own or same_scanner(name, own[name], known):
            continue
        text = f"its sidecar has {name} {own[name]}, training sources had {' or '.join(known)}"
        if same_scanner(name, own[name], training.target_scanner.get(name, ())):
            text += f": it looks like a scan of the target, {record.target}"
        yield text


def _histogram(record: ModelRecord, training: TrainingData, source: Volume) -> Iterator[str]:
    own = brain_histogram(source)
    if not own.any():
        yield "no voxel is above 0"
        return
    distance = histogram_distance(own, training.source_histogram)
    to_target = histogram_distance(own, training.target_histogram)
    near_target = to_target < distance
    limit = (
        max(training.largest_distance, _LEAST_LIMIT_NEAR_TARGET)
        if near_target
        else max(
            LARGEST_RATIO * training.largest_distance, _LEAST_LIMIT * (1 + 1 / training.subjects)
        )
    )
    if distance <= limit:
        return
    text = (
        f"its intensities are not those of {record.source}: their histogram lies {distance:.3f} from "
        f"the training sources' (Wasserstein distance; at most {limit:.3f} is accepted)"
    )
    if near_target:
        text += (
            f", and {to_target:.3f} from the training targets': is it a scan of {record.target}?"
        )
    yield text
