"""The scanner: contrast, resolution, position, distortion, receive field and noise of a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harmbench.arrays import Single
from harmbench.cohorts.phantom.anatomy import HULL_LEVEL, Anatomy
from harmbench.cohorts.phantom.fields import Nodes, PhantomGrid, random_nodes
from harmbench.cohorts.phantom.physics import (
    CLASSES,
    INFLOW,
    TISSUES,
    Protocol,
    Tissue,
    tissue_signal,
)

__all__ = [
    "LATER_VISITS",
    "SCANNERS",
    "Scanner",
    "contrast",
    "draw_tissues",
    "gradient_distortion",
    "log_bias",
    "prepared_scan",
    "rician",
]


@dataclass(frozen=True, slots=True)
class Scanner:
    """How one scanner degrades what it sees. Lengths are in acquired voxels where so named.

    Attributes:
        snr: white matter signal over the SD of the noise of one channel.
        blur_voxels: SD of the point spread beside the voxel itself.
        bias_sd: SD of the logarithm of the receive field.
        bias_left: share of that which bias correction leaves.
        registration_mm: SD of the local misregistration that is left along each axis.
        shift_mm, turn_deg: SD of the rigid misregistration that is left.
        distortion_mm: displacement by the gradients' nonlinearity at 100 mm from the isocentre.
        distortion_left: share of that which deformable registration leaves.
    """

    snr: float
    blur_voxels: float
    bias_sd: float
    bias_left: float
    registration_mm: float
    shift_mm: float
    turn_deg: float
    distortion_mm: float
    distortion_left: float


# Signal-to-noise goes with the field. The 1.5 T scan is the one that is registered to the other, so
# the misregistration that is left is its own.
SCANNERS: Mapping[str, Scanner] = MappingProxyType(
    {
        "1.5T": Scanner(
            snr=12,
            blur_voxels=0.5,
            bias_sd=0.05,
            bias_left=0.35,
            registration_mm=0.35,
            shift_mm=0.15,
            turn_deg=0.15,
            distortion_mm=2.0,
            distortion_left=0.25,
        ),
        "3T": Scanner(
            snr=24,
            blur_voxels=0.4,
            bias_sd=0.10,
            bias_left=0.35,
            registration_mm=0.0,
            shift_mm=0.0,
            turn_deg=0.0,
            distortion_mm=0.0,
            distortion_left=0.0,
        ),
    }
)

# A later visit on the 3 T scanner is registered to the first one there: as at 1.5 T, an error is left.
_REGISTERED = SCANNERS["1.5T"]
LATER_VISITS: Mapping[str, Scanner] = MappingProxyType(
    {
        session: replace(
            scanner,
            registration_mm=_REGISTERED.registration_mm,
            shift_mm=_REGISTERED.shift_mm,
            turn_deg=_REGISTERED.turn_deg,
        )
        for session, scanner in SCANNERS.items()
    }
)
"""The scanners at all visits but the first."""

# Published spreads hold regions and methods beside people: subjects spread somewhat less.
_BETWEEN_SUBJECTS = 0.85
_NODE_MM = 8.0
_MISREGISTRATION_SCALE_MM = 8.0
_BIAS_SCALE_MM = 40.0
_MASK_NODE_MM = 4.0
_MASK_JITTER = 0.05


def draw_tissues(generator: np.random.Generator, session: str) -> dict[str, Tissue]:
    """Draw a subject's relaxation times and proton densities, within the tissues' spread.

    Called with the same generator state for both sessions, it draws the same person: T1 deviates by
    the same number of standard deviations at both field strengths.
    """
    drawn = {}
    for name in CLASSES:
        t1, pd = _BETWEEN_SUBJECTS * np.clip(generator.standard_normal(2), -2, 2)
        mean = TISSUES[session][name]
        drawn[name] = replace(
            mean, t1_ms=float(mean.t1_ms + t1 * mean.t1_sd_ms), pd=float(mean.pd + pd * mean.pd_sd)
        )
    return drawn


def contrast(anatomy: Anatomy, protocol: Protocol, tissues: Mapping[str, Tissue]) -> Single:
    """Noise-free signal of each voxel, shape (x, y, z); white matter of mean T1 has the signal 1.

    Each class adds its signal times its share (partial volume). Smooth deviations of T1 within tissues
    change the signal in first order.
    """
    white = tissue_signal(protocol, tissues["WM"])
    image = np.zeros(anatomy.grid.shape, dtype=np.float32)
    slope = np.zeros(anatomy.grid.shape, dtype=np.float32)
    for name in CLASSES:
        middle = tissue_signal(protocol, tissues[name]) / white
        image += np.float32(middle) * anatomy.fractions[name]
        if name != "CSF":
            above = tissue_signal(protocol, tissues[name], 1.02) / white
            below = tissue_signal(protocol, tissues[name], 0.98) / white
            slope += np.float32((above - below) / 0.04) * anatomy.fractions[name]
    image += np.float32(INFLOW) * anatomy.fractions["BLOOD"]
    return image + slope * anatomy.t1_deviation


def prepared_scan(
    generator: np.random.Generator, anatomy: Anatomy, image: Single, scanner: Scanner
) -> tuple[Single, NDArray[np.bool_]]:
    """Acquire `image` and prepare it, with the errors that preparation leaves.

    The scan is acquired on the scanner's own grid, shifted by a fraction of a voxel, with point spread,
    receive field and Rician noise. Then its bias field is corrected, and it is resampled once, linearly.

    Args:
        generator: random numbers of the session.
        anatomy: the subject, on the grid of `image`.
        image: noise-free signal, shape (x, y, z), white matter near 1.
        scanner: its blur, noise, bias field and distortion.

    Returns:
        The image in scanner units (white matter near 1, not masked) and the skull-stripping mask of
        this session, both on the grid of `anatomy`.
    """
    grid = anatomy.grid
    offset = generator.uniform(0.1, 0.9, size=3).astype(np.float32)
    blurred = ndimage.gaussian_filter(image, scanner.blur_voxels, mode="nearest")
    displacement = _misregistration(generator, grid, scanner)
    index = np.indices(grid.shape, dtype=np.float32)
    index += displacement / np.float32(grid.spacing_mm) + offset.reshape(3, 1, 1, 1)
    seen = ndimage.map_coordinates(blurred, index, order=3, mode="nearest", output=np.float32)
    bias = log_bias(generator, grid, scanner).on(grid)
    noisy = rician(generator, seen * np.exp(bias), 1 / scanner.snr)
    corrected = noisy * np.exp(-(1 - np.float32(scanner.bias_left)) * bias)
    for axis in range(3):
        previous = np.roll(corrected, 1, axis=axis)
        corrected = (1 - offset[axis]) * corrected + offset[axis] * previous
    jitter = random_nodes(generator, grid, _MASK_NODE_MM).scaled(_MASK_JITTER).on(grid)
    return corrected, anatomy.hull + jitter > HULL_LEVEL


def rician(generator: np.random.Generator, signal: Single, sd: float) -> Single:
    """Magnitude of `signal`, any shape, with Gaussian noise of `sd` in both channels; same shape."""
    real = signal + np.float32(sd) * generator.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(sd) * generator.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.sqrt(real**2 + imaginary**2), dtype=np.float32)


def log_bias(generator: np.random.Generator, grid: PhantomGrid, scanner: Scanner) -> Nodes:
    """Draw the logarithm of a receive field: smooth over about 40 mm, mean about 0."""
    nodes = random_nodes(generator, grid, 2 * _NODE_MM, _BIAS_SCALE_MM)
    centred = Nodes(nodes.values - nodes.values.mean(), nodes.grid)
    return centred.scaled(scanner.bias_sd / float(centred.values.std()))


def gradient_distortion(points_mm: Single, strength_mm: float) -> Single:
    """Displacement by the gradients' nonlinearity in mm, same shape as `points_mm`, (3, ...).

    The leading odd term: along each axis it grows with the coordinate times the squared distance
    from the isocentre, and reaches `strength_mm` at 100 mm.
    """
    scaled = points_mm / np.float32(100)
    return np.asarray(np.float32(strength_mm) * scaled * (scaled**2).sum(0), dtype=np.float32)


def _misregistration(generator: np.random.Generator, grid: PhantomGrid, scanner: Scanner) -> Single:
    """Displacement (3, nx, ny, nz) in mm that remains after registration."""
    shift = scanner.shift_mm * generator.standard_normal(3)
    turn = np.deg2rad(scanner.turn_deg) * generator.standard_normal(3)
    local = [random_nodes(generator, grid, _NODE_MM, _MISREGISTRATION_SCALE_MM) for _ in range(3)]
    x, y, z = np.ix_(*(grid.axis(a).astype(np.float32) for a in range(3)))
    points = np.stack(np.broadcast_arrays(x, y, z)).astype(np.float32)
    found = gradient_distortion(points, scanner.distortion_mm * scanner.distortion_left)
    a, b, c = (np.float32(v) for v in turn)
    rotation = (b * z - c * y, c * x - a * z, a * y - b * x)
    for axis in range(3):
        found[axis] += np.float32(shift[axis]) + rotation[axis]
        if scanner.registration_mm:
            found[axis] += local[axis].scaled(scanner.registration_mm).on(grid)
    return found
