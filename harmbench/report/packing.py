"""A subject's volumes for the viewer of the page: 8 bit, cropped to the brain, within a budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import nibabel as nib
import numpy as np

from harmbench.arrays import Array
from harmbench.pages.bundles import compressed
from harmbench.report.evidence import Evidence
from harmbench.task import Direction
from harmbench.volume import Volume

__all__ = [
    "BYTES_PER_VOLUME",
    "COARSE",
    "FINE",
    "Embedded",
    "Part",
    "Side",
    "SubjectVolumes",
    "embed_volumes",
    "pack",
]

BYTES_PER_VOLUME = 300_000
"""What a page may spend on volumes, per scan and output of one subject; in characters of base64."""

_MOST_BYTES = 9_000_000
_LEADING_SHARE = 0.85
"""Of the budget, for the first subject: the next ones are to have some of it too."""
_LABELS = 1.25
"""Size of an image with its labels, as a multiple of its own."""
_MARGIN_VOXELS = 2
_STEPS = (1, 2, 3, 4)
"""Of the first subject; the next ones have every second voxel at best, and are still legible."""
FINE = 255
"""Steps of grey of volumes that are served."""
COARSE = 63
"""Steps of grey of volumes in a page: a third less space, and less than the noise of a scan."""

Part = Literal["image", "labels"]
Side = Literal["source", "target"]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class SubjectVolumes:
    """The volumes of one subject on one grid, that of the first scan that can be read.

    Attributes:
        evidence: the merged runs.
        subject: whose.
    """

    evidence: Evidence
    subject: str

    def session(self, direction: Direction, side: Side) -> str:
        """Name the session that a direction takes as its source or its target."""
        pair = self.evidence.pair(direction, self.subject)
        return pair.source if side == "source" else pair.target

    @property
    def sessions(self) -> tuple[str, ...]:
        """All scans that the directions take."""
        ways = self.evidence.shown_directions
        sides: tuple[Side, Side] = ("source", "target")
        return tuple(dict.fromkeys(self.session(way, side) for way in ways for side in sides))

    def scan(self, session: str, part: Part = "image") -> Volume | None:
        """Read a real scan or its labels; `None` where it is missing or on another grid."""
        read = self.evidence.scan if part == "image" else self.evidence.scan_labels
        return self._on_grid(read(self.subject, session))

    def output(self, method: str, direction: Direction, part: Part) -> Volume | None:
        """Read a method's output or its labels; `None` where it is missing or on another grid."""
        read = self.evidence.harmonized if part == "image" else self.evidence.labels
        return self._on_grid(read(method, direction, self.subject))

    @cached_property
    def _grid(self) -> Volume | None:
        scans = (self.evidence.scan(self.subject, session) for session in self.sessions)
        return next((scan for scan in scans if scan is not None), None)

    @cached_property
    def window(self) -> Window:
        """The box around the brain in all scans, with a margin."""
        scans = (self.scan(session) for session in self.sessions)
        masks = [scan.data > 0 for scan in scans if scan is not None]
        if not masks or not np.any(masks):
            return (slice(None), slice(None), slice(None))
        filled = np.nonzero(np.any(masks, axis=0))
        spans = [(int(places.min()), int(places.max())) for places in filled]
        x, y, z = (
            slice(max(low - _MARGIN_VOXELS, 0), high + 1 + _MARGIN_VOXELS) for low, high in spans
        )
        return (x, y, z)

    def _on_grid(self, volume: Volume | None) -> Volume | None:
        if volume is None or self._grid is None or not volume.same_grid(self._grid):
            return None
        return volume


def pack(volume: Volume, window: Window, step: int = 1, levels: int = FINE) -> bytes:
    """Return part of a volume as a NIfTI file with 8-bit values.

    Args:
        volume: intensities, of which 0 to 1 is kept, or labels.
        window: the voxels to keep.
        step: voxels along each axis that become one: their mean, or the middle one of labels.
        levels: steps of grey from 0 to 1, at most 255.
    """
    data = volume.data[window]
    if volume.kind == "label":
        small = data[tuple(slice(step // 2, None, step) for _ in range(3))]
    else:
        small = np.rint(np.clip(_mean_of_blocks(data, step), 0, 1) * levels).astype(np.uint8)
    start = [part.start or 0 for part in window]
    affine = volume.affine.copy()
    affine[:3, 3] += volume.affine[:3, :3] @ (np.array(start) + (step - 1) / 2)
    affine[:3, :3] *= step
    image = nib.Nifti1Image(small, affine)
    if volume.kind == "intensity":
        image.header.set_slope_inter(1 / levels, 0)
    image.header.set_xyzt_units("mm")
    content: bytes = image.to_bytes()
    return content


def _mean_of_blocks(data: Array, step: int) -> Array:
    """Average blocks of step x step x step voxels; what is left over at the ends is repeated."""
    if step == 1:
        return data
    data = np.pad(data, [(0, -size % step) for size in data.shape], mode="edge")
    x, y, z = (size // step for size in data.shape)
    blocks: Array = data.reshape(x, step, y, step, z, step).mean(axis=(1, 3, 5))
    return blocks


@dataclass(frozen=True)
class Embedded:
    """One subject's volumes in a page, as texts (see `harmbench.pages.bundles.compressed`).

    Attributes:
        subject: whose.
        spacing_mm: distance of voxels.
        step: how many voxels of the run, along each axis, became one.
        sessions: direction to side to the name of the scan.
        scans: name of a scan to text.
        outputs: direction to method to part to text.
    """

    subject: str
    spacing_mm: float
    step: int = 1
    sessions: dict[str, dict[Side, str]] = field(default_factory=dict)
    scans: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, dict[Part, str]]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Characters of all texts."""
        outputs = [parts for methods in self.outputs.values() for parts in methods.values()]
        texts = [*self.scans.values(), *(text for parts in outputs for text in parts.values())]
        return sum(map(len, texts))


def embed_volumes(
    evidence: Evidence, subjects: Sequence[str], budget: int | None = None
) -> Iterator[Embedded]:
    """Pack subjects in the given order, until their texts fill a page's budget.

    The first subject has full resolution where that fits, the others what space is left for.

    Args:
        evidence: the merged runs.
        subjects: in the order of their importance.
        budget: characters in all; by default `BYTES_PER_VOLUME` for each volume of one subject, up
            to 9 million.
    """
    if budget is None:
        budget = min(BYTES_PER_VOLUME * _count(evidence), _MOST_BYTES)
    left = budget
    steps: tuple[int, ...] = _STEPS
    for subject in subjects:
        volumes = SubjectVolumes(evidence, subject)
        share = int(left * _LEADING_SHARE) if steps is _STEPS else left
        step = _fitting_step(volumes, _count(evidence), share, steps)
        if step is None:
            continue
        packed = _packed(volumes, step)
        if packed.size > left:
            return
        if steps is _STEPS:
            steps = (max(step, 2),)
        left -= packed.size
        yield packed


def _count(evidence: Evidence) -> int:
    """How many scans and outputs a subject has."""
    scanners = {name for way in evidence.shown_directions for name in (way.source, way.target)}
    return len(scanners) + len(evidence.candidates) * len(evidence.shown_directions)


def _fitting_step(
    volumes: SubjectVolumes, count: int, share: int, steps: Sequence[int]
) -> int | None:
    """Choose the finest step whose volumes should fit; `None` without scans, or where none does."""
    scans = (volumes.scan(session) for session in volumes.sessions)
    scan = next((scan for scan in scans if scan is not None), None)
    if scan is None:
        return None
    for step in steps:
        size = len(compressed(pack(scan, volumes.window, step, COARSE), level=6))
        if _LABELS * count * size <= share:
            return step
    return None


def _packed(volumes: SubjectVolumes, step: int) -> Embedded:
    parts: tuple[Part, Part] = ("image", "labels")
    sides: tuple[Side, Side] = ("source", "target")
    evidence = volumes.evidence

    def text(volume: Volume) -> str:
        return compressed(pack(volume, volumes.window, step, COARSE), level=6)

    scans = {name: scan for name in volumes.sessions if (scan := volumes.scan(name)) is not None}
    outputs: dict[str, dict[str, dict[Part, str]]] = {}
    for way in evidence.shown_directions:
        for method in evidence.candidates:
            found = {part: volumes.output(method, way, part) for part in parts}
            outputs.setdefault(str(way), {})[method] = {
                part: text(volume) for part, volume in found.items() if volume is not None
            }
    return Embedded(
        subject=volumes.subject,
        spacing_mm=step * max(max(scan.spacing_mm) for scan in scans.values()),
        step=step,
        sessions={
            str(way): {side: volumes.session(way, side) for side in sides}
            for way in evidence.shown_directions
        },
        scans={name: text(scan) for name, scan in scans.items()},
        outputs=outputs,
    )
