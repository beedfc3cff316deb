"""The `hmrf` segmenter as a function of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Array, is_spacing
from harmbench.errors import SegmentationError
from harmbench.segmentation.base import check_segmentable
from harmbench.segmentation.hmrf.brain_box import BrainBox
from harmbench.volume import Volume

if TYPE_CHECKING:
    from harmbench.segmentation.hmrf.batch import BatchFit

__all__ = ["HmrfResult", "hmrf", "hmrf_batch"]

_CLASSES = range(2, 7)


@dataclass(frozen=True, slots=True, eq=False)
class HmrfResult:
    """What `hmrf` found. Arrays are read-only.

    Attributes:
        labels: (x, y, z) uint8, 0 background, then 1, 2, ... by rising mean intensity; for three
            classes 1 CSF, 2 GM, 3 WM (FAST's `_seg`).
        partial_volumes: (class, x, y, z) float32, each class's share of the voxel, adding up to 1
            in the brain and 0 outside (FAST's `_pve_0`, ...); `None` unless asked for.
        bias_field: (x, y, z) float32, multiplicative on intensity + 1, geometric mean 1 in the
            brain, 1 outside: the intensity without it is (I + 1) / bias_field - 1.
        means, variances: (class,) float64, of log(I + 1) without bias field.
    """

    labels: NDArray[np.uint8]
    partial_volumes: NDArray[np.float32] | None
    bias_field: NDArray[np.float32]
    means: NDArray[np.float64]
    variances: NDArray[np.float64]


def hmrf(
    data: Array,
    spacing_mm: Sequence[float],
    *,
    classes: int = 3,
    partial_volumes: bool = False,
    threads: int | None = None,
) -> HmrfResult:
    """Segment a skull-stripped T1-weighted volume by the algorithm of FSL's FAST at its defaults.

    `reports/segmentation` compares its labels with FAST's. The model is that of Zhang,
    Brady & Smith (IEEE Trans. Med. Imaging 20(1), 2001). It works on log(I + 1), so the scale of the
    intensities matters: runs use [0, 1]. The result does not depend on the number of threads.

    Args:
        data: (x, y, z) in RAS orientation, intensities of at least 0; the brain is where it is
            above 0.
        spacing_mm: distance between voxels along x, y, z.
        classes: number of classes, 2 to 6; only 3 has been compared with FAST.
        partial_volumes: whether to estimate each class's share of every voxel.
        threads: number of threads; without it `NUMBA_NUM_THREADS`, or the number of processors.

    Raises:
        SegmentationError: the volume has voxels that are negative or not finite, an empty brain, too
            few different intensities, or a class died out; or an argument is out of range.
        VolumeError: `data` is not three-dimensional or empty.
    """
    if threads is not None and threads < 1:
        raise SegmentationError(f"{threads} threads; at least 1 is needed")
    volume, spacing = _checked(data, spacing_mm, classes)
    # numba takes half a second to import; commands that do not segment start without it.
    from harmbench.segmentation.hmrf.estimation import fit
    from harmbench.segmentation.hmrf.partial import shares
    from harmbench.segmentation.hmrf.workers import Workers

    region = BrainBox.of(volume.data > 0)
    with Workers(threads) as workers:
        found = fit(region, np.log1p(region.to_box(volume.data)), spacing, classes, workers)
        parts = shares(region, found, spacing, workers) if partial_volumes else None
    return HmrfResult(
        labels=region.to_volume(found.labels),
        partial_volumes=None if parts is None else _stack(region, parts),
        bias_field=region.to_volume(np.exp(found.bias), background=1),
        means=found.means,
        variances=found.variances,
    )


def hmrf_batch(
    volumes: Sequence[Array],
    spacings_mm: Sequence[Sequence[float]],
    *,
    device: str = "cuda",
    classes: int = 3,
    partial_volumes: bool = False,
) -> list[HmrfResult | SegmentationError]:
    """Segment several volumes in one call with torch, on a GPU or another device.

    The same model and schedule as `hmrf`; the random field's voxels are updated together instead of
    one after the other, so that labels differ from `hmrf`'s in fewer than 1 of 10,000 voxels.
    Results are the same from run to run on one device.

    Args:
        volumes: each (x, y, z), as for `hmrf`; shapes may differ.
        spacings_mm: each volume's distance between voxels along x, y, z.
        device: torch device name.
        classes, partial_volumes: as for `hmrf`.

    Returns:
        For each volume its result, or the error that says why it cannot be segmented.

    Raises:
        SegmentationError: there are not as many spacings as volumes.
    """
    import torch  # takes seconds to import

    from harmbench.segmentation.hmrf.batch import fit_batch

    if len(volumes) != len(spacings_mm):
        raise SegmentationError(f"{len(volumes)} volumes, but {len(spacings_mm)} spacings_mm")
    results: list[HmrfResult | SegmentationError | None] = [None] * len(volumes)
    usable, regions, spacings, boxes = [], [], [], []
    for number, (data, lengths) in enumerate(zip(volumes, spacings_mm, strict=True)):
        try:
            volume, spacing = _checked(data, lengths, classes)
        except SegmentationError as error:
            results[number] = error
            continue
        region = BrainBox.of(volume.data > 0)
        usable.append(number)
        regions.append(region)
        spacings.append(spacing)
        boxes.append(region.to_box(volume.data))
    if usable:
        found = fit_batch(regions, boxes, spacings, classes, torch.device(device))
    for i, number in enumerate(usable):
        if i in found.failures:
            results[number] = found.failures[i]
            continue
        results[number] = _batch_result(found, i, spacings[i] if partial_volumes else None)
    return [one for one in results if one is not None]


def _batch_result(found: BatchFit, i: int, spacing_mm: Sequence[float] | None) -> HmrfResult:
    """Return the result of volume `i`; with its spacing, partial volumes too."""
    from harmbench.segmentation.hmrf.batch_shares import batch_shares

    region, parts = found.regions[i], None
    if spacing_mm is not None:
        values, inside, p = (found.cut(t, i) for t in (found.values, found.inside, found.p))
        share = batch_shares(values, inside, p, found.mean[i], found.var[i], spacing_mm)
        parts = _stack(region, share.cpu().numpy())
    means, variances = found.mean[i].copy(), found.var[i].copy()
    for array in (means, variances):
        array.flags.writeable = False
    return HmrfResult(
        labels=region.to_volume(found.labels(i)),
        partial_volumes=parts,
        bias_field=region.to_volume(found.cut(found.bias, i).exp().cpu().numpy(), 1),
        means=means,
        variances=variances,
    )


def _checked(
    data: Array, spacing_mm: Sequence[float], classes: int
) -> tuple[Volume, tuple[float, ...]]:
    spacing = tuple(float(value) for value in spacing_mm)
    if not is_spacing(spacing):
        raise SegmentationError(f"spacing_mm is {spacing}; expected three positive lengths in mm")
    if classes not in _CLASSES:
        raise SegmentationError(f"{classes} classes; allowed: {_CLASSES[0]} to {_CLASSES[-1]}")
    volume = Volume(np.asarray(data), np.diag([*spacing, 1.0]))
    check_segmentable(volume)
    return volume, spacing


def _stack(region: BrainBox, parts: NDArray[np.float32]) -> NDArray[np.float32]:
    stacked = np.stack([region.to_volume(part) for part in parts])
    stacked.flags.writeable = False
    return stacked
