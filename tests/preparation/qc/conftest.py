"""Tiny scans that look prepared: an ellipsoid for a brain, in a brighter shell for a skull."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from harmbench.preparation.align import PreparedScan
from harmbench.preparation.grid import TransformChain
from harmbench.preparation.register import Alignment
from harmbench.preparation.scan import CleanScan
from harmbench.volume import Volume

SHAPE = (30, 36, 30)
SPACING_MM = 5.0


@dataclass(frozen=True)
class Subject:
    """What `qc_figure` takes."""

    scans: Mapping[str, CleanScan]
    prepared: Mapping[str, PreparedScan]
    reference: str


def radius(shape: tuple[int, int, int], shift: float = 0.0) -> NDArray[np.float64]:
    """Distance from the middle, 1 at the brain's border."""
    axes = [np.linspace(-1.4, 1.4, count) for count in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.sqrt((x - shift) ** 2 + y**2 + z**2)


def head(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> CleanScan:
    distance = radius(shape)
    data = np.select([distance < 0.6, distance < 1, distance < 1.2], [800.0, 500.0, 1500.0], 5.0)
    rng = np.random.default_rng(1)
    raw = Volume(data + rng.normal(0, 20, shape), np.diag([*spacing_mm, 1.0]))
    return CleanScan(raw, distance < 1, np.ones(shape, np.float32), raw)


def ready(shift: float, registered: str, scaled: bool) -> PreparedScan:
    affine = np.diag([SPACING_MM] * 3 + [1.0])

    def volume(shift: float) -> Volume:
        distance = radius(SHAPE, shift)
        data = np.select([distance < 0.6, distance < 1], [0.8, 0.5], 0.0)
        return Volume(data * (1 if scaled else 700), affine)

    move = np.eye(4)
    if registered == "affine":
        move[0, 3] = 10.0
    alignment = None if registered == "reference" else Alignment(move, None, (1.0, 1.0))
    final = volume(0.0 if registered == "affine" else shift)
    limits = (0.0, 1000.0) if scaled else None
    return PreparedScan(
        final, final.data > 0, TransformChain(), alignment, limits, volume(shift), final
    )


@pytest.fixture
def make_subject() -> Callable[..., Subject]:
    """Return a function that makes a subject of any sessions; the first is the reference."""

    def make(*sessions: str, registered: str = "affine", scaled: bool = True) -> Subject:
        scans, prepared = {}, {}
        for place, session in enumerate(sessions):
            thick = place % 2 == 1
            shape = (30, 36, 15) if thick else SHAPE
            scans[session] = head(shape, (5.0, 5.0, 10.0 if thick else 5.0))
            kind = "reference" if place == 0 else registered
            prepared[session] = ready(0.25 if place else 0.0, kind, scaled)
        return Subject(scans, prepared, sessions[0])

    return make
