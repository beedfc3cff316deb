"""The sessions of one subject on one grid, each interpolated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harmbench.arrays import Mask, Matrix
from harmbench.cohorts.base import rescale_volume
from harmbench.errors import PreparationError, VolumeError
from harmbench.preparation.grid import (
    Grid,
    TransformChain,
    crop_grid,
    isotropic_grid,
    resample,
    resample_mask,
)
from harmbench.preparation.register import Alignment, halfway, register
from harmbench.preparation.scan import CleanScan
from harmbench.preparation.settings import PrepareSettings
from harmbench.volume import FileSpace, Step, Volume

__all__ = ["PreparedScan", "prepare_scans", "restore"]


# Margin around the reference's brain in which the other brains must lie, and the smaller margin of
# the images that are registered.
_SEARCH_MM = 40.0
_RIM_MM = 8.0
_LEAST_SHARE = 0.05
_FINE_MM = 1.25
"""Longest side of voxels that are fine enough for a registration that ends earlier: 1.2 mm in any header."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedScan:
    """A prepared session.

    Attributes:
        volume: on the common grid, 0 outside the brain; in [0, 1], or, where scaling is off, the
            intensities above the level of no signal (`CleanScan.zero`).
        brain: mask on the same grid.
        chain: from points of the common grid to points of the scan.
        alignment: how the session was registered; `None` for the reference.
        limits: the intensities, above the same level, that became 0 and 1; `None` where scaling is
            off.
        before, linear: the scan on the same grid and scale, resampled by its header only, and by
            the linear part of the alignment only.
    """

    volume: Volume
    brain: Mask
    chain: TransformChain
    alignment: Alignment | None
    limits: tuple[float, float] | None
    before: Volume
    linear: Volume


def prepare_scans(
    scans: Mapping[str, CleanScan], reference: str, settings: PrepareSettings, folder: Path
) -> dict[str, PreparedScan]:
    """Bring a subject's sessions onto one grid.

    Args:
        scans: session to scan.
        reference: the session that the others are brought to.
        settings: how.
        folder: where displacement fields are written.

    Raises:
        PreparationError: registration failed, the brain does not fit into the common grid, or the
            sessions lie too far apart.
    """
    fixed = scans[reference]
    iso = isotropic_grid(fixed.raw, settings.spacing_mm)
    seen = resample_mask(fixed.brain, fixed.raw, iso)
    search = _around(iso, seen, _SEARCH_MM)
    alignments = _register_all(scans, reference, iso, seen, settings, folder)
    chains = _chains(scans, reference, alignments, settings)
    brains = {s: resample_mask(c.brain, c.raw, search, chains[s]) for s, c in scans.items()}
    together = np.logical_or.reduce(list(brains.values()))
    _check_found(brains, scans, search)
    if settings.crop.shape is None:
        grid = iso
        kept = {s: resample_mask(c.brain, c.raw, grid, chains[s]) for s, c in scans.items()}
        lost = [s for s, mask in kept.items() if mask.sum() < 0.999 * brains[s].sum()]
        if lost:
            raise PreparationError(
                f"the field of view of session {reference} would cut the brain of session "
                f"{', '.join(lost)}; choose a crop.shape"
            )
    else:
        grid = crop_grid(search, together, settings.crop.shape)
    own = fixed.raw.space
    space = None if settings.orientation == "RAS" or own is None else grid.stored_like(own)
    return {
        session: _finish(
            scan, grid, chains[session], chains[reference], alignments.get(session), space, settings
        )
        for session, scan in scans.items()
    }


def _register_all(
    scans: Mapping[str, CleanScan],
    reference: str,
    iso: Grid,
    seen: Mask,
    settings: PrepareSettings,
    folder: Path,
) -> dict[str, Alignment]:
    """Register every session to the reference, whose brain is `seen` on its isotropic grid `iso`."""
    moving = [session for session in scans if session != reference]
    kind = settings.registration.transform
    if not moving or kind == "none":
        return {s: Alignment(np.eye(4), None, (1.0, 1.0)) for s in moving}
    fixed = _brain_image(scans[reference], iso, seen)
    found = {}
    for session in moving:
        own = folder / session
        own.mkdir(parents=True, exist_ok=True)
        scan = scans[session]
        grid = isotropic_grid(scan.raw, settings.spacing_mm)
        image = _brain_image(scan, grid, resample_mask(scan.brain, scan.raw, grid))
        try:
            seen_in = (scan.raw, scans[reference].raw, image, fixed)
            fine = all(max(one.spacing_mm) <= _FINE_MM for one in seen_in)
            found[session] = register(fixed, image, kind, own, fine=fine)
        except PreparationError as error:
            raise PreparationError(f"session {session} to {reference}: {error}") from error
    return found


def _brain_image(scan: CleanScan, iso: Grid, seen: Mask) -> Volume:
    """Return the image that is registered: the brain alone, `seen` on the grid `iso`, with a margin."""
    grid = _around(iso, seen, _RIM_MM)
    inside = resample_mask(scan.brain, scan.raw, grid)
    return Volume(resample(scan.corrected, grid) * inside, grid.affine)


def _around(grid: Grid, brain: Mask, room_mm: float) -> Grid:
    """Crop or extend a grid, so that it holds a brain with a margin on every side."""
    room = np.ceil(room_mm / np.array(grid.spacing_mm)).astype(int)
    size = [int(np.ptp(np.flatnonzero(brain.any(axis=_others(axis))))) + 1 for axis in range(3)]
    x, y, z = (int(n + 2 * r) for n, r in zip(size, room, strict=True))
    return crop_grid(grid, brain, (x, y, z))


def _others(axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(3) if i != axis)


def _chains(
    scans: Mapping[str, CleanScan],
    reference: str,
    alignments: Mapping[str, Alignment],
    settings: PrepareSettings,
) -> dict[str, TransformChain]:
    """Return the transforms from the common grid to each scan.

    With registration.space=halfway, the reference is moved too, by half of the linear transform.
    """
    if settings.registration.space == "reference" or not alignments:
        to_reference: tuple[Matrix, ...] = ()
    else:
        if len(scans) != 2:
            raise PreparationError(
                f"registration.space=halfway is for two sessions, this subject has {len(scans)}"
            )
        (alignment,) = alignments.values()
        to_reference = (np.asarray(np.linalg.inv(halfway(alignment.linear)), dtype=np.float64),)
    chains = {reference: TransformChain(to_reference)}
    for session, alignment in alignments.items():
        warp = () if alignment.warp is None else (alignment.warp,)
        chains[session] = TransformChain((*to_reference, *warp, alignment.linear))
    return chains


def _check_found(brains: Mapping[str, Mask], scans: Mapping[str, CleanScan], grid: Grid) -> None:
    """Refuse sessions whose brain lies outside the search margin."""
    voxel_mm3 = float(np.prod(grid.spacing_mm))
    for session, mask in brains.items():
        scan = scans[session]
        own = np.count_nonzero(scan.brain) * abs(np.linalg.det(scan.raw.affine[:3, :3]))
        if mask.sum() * voxel_mm3 < 0.6 * own:
            raise PreparationError(
                f"session {session} does not lie on the reference session: after registration most "
                "of its brain is elsewhere; check the headers, or choose another registration.transform"
            )


def _finish(
    scan: CleanScan,
    grid: Grid,
    chain: TransformChain,
    reference_chain: TransformChain,
    alignment: Alignment | None,
    space: FileSpace | None,
    settings: PrepareSettings,
) -> PreparedScan:
    brain = resample_mask(scan.brain, scan.raw, grid, chain)
    step = Step("resample", {"interpolation": settings.interpolation})
    data = resample(scan.corrected, grid, chain, settings.interpolation)
    made = Volume(data, grid.affine, space=space, history=(step,))
    volume, limits = _normalized(made, brain, settings)

    def on_same_scale(chain: TransformChain) -> Volume:
        inside = resample_mask(scan.brain, scan.raw, grid, chain)
        other = resample(scan.corrected, grid, chain, settings.interpolation)
        if limits is not None:
            other = np.clip((other - limits[0]) / (limits[1] - limits[0]), 0, 1)
        return Volume(np.asarray(other * inside, dtype=np.float32), grid.affine)

    if alignment is None:
        return PreparedScan(volume, brain, chain, None, limits, volume, volume)
    links = tuple(link for link in chain.links if not isinstance(link, Path))
    linear = volume if alignment.warp is None else on_same_scale(TransformChain(links))
    before = on_same_scale(reference_chain)
    return PreparedScan(volume, brain, chain, alignment, limits, before, linear)


def _normalized(
    made: Volume, brain: Mask, settings: PrepareSettings
) -> tuple[Volume, tuple[float, float] | None]:
    off = settings.normalize.method == "none"
    try:
        volume = rescale_volume(
            made, "none" if off else "percentile", brain, settings.normalize.percentiles
        )
    except VolumeError as error:
        raise PreparationError(f"intensities cannot be scaled: {error}") from error
    if off:
        return volume, None
    rescaling = volume.history[-1]
    return volume, (rescaling.number("low"), rescaling.number("high"))


def restore(
    volume: Volume, scan: CleanScan, prepared: PreparedScan, units: str = "prepared"
) -> Volume:
    """Bring a volume on the common grid back onto the grid of the scan that it was prepared from.

    Args:
        volume: on the grid of `prepared`, in its intensities.
        scan: the scan before preparation.
        prepared: how it was prepared; without a registration.
        units: `prepared` keeps the intensities; `scan` undoes their scaling, multiplies by the
            scan's bias field, and adds the scan's level of no signal.

    Returns:
        A volume on the scan's own grid, 0 outside its brain, that is written like the scan's file.

    Raises:
        PreparationError: the scan was registered to another one.
    """
    if prepared.chain.links:
        raise PreparationError(
            "a registered scan cannot be brought back: its transform is not inverted"
        )
    raw = scan.raw
    grid = Grid(raw.shape, raw.affine)
    # At the brain's edge, interpolation includes the zeros around it: divide by the interpolated
    # share of brain.
    share = resample(volume.with_data(prepared.brain.astype(np.float32)), grid)
    data = resample(volume, grid) / np.maximum(share, _LEAST_SHARE)
    if units == "scan":
        if prepared.limits is not None:
            low, high = prepared.limits
            data = data * (high - low) + low
        data = data * scan.bias + scan.zero
    inside = np.asarray(data * scan.brain, dtype=np.float32)
    step = Step("restore", {"units": units})
    return raw.with_data(inside, step)
