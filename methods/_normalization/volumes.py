"""From training pairs to intensities, and from normalized intensities to a volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Single, count_not_finite, outside_unit_range
from harmbench.errors import MethodError, TrainingError
from harmbench.task import Pair, Task
from harmbench.volume import Step, Volume

__all__ = ["finished", "target_brains"]


def target_brains(pairs: Sequence[Pair], task: Task) -> list[Single]:
    """Return the intensities above 0 of each training target, shape (voxels,), going through `pairs` once.

    Raises:
        TrainingError: there are no pairs, or a target has no voxel above 0.
    """
    brains: list[Single] = []
    for pair in pairs:
        target = pair.target.data
        brain = np.asarray(target[target > 0])
        if not brain.size:
            raise TrainingError(f"target of {pair.subject}: no voxel is above 0")
        brains.append(brain)
        task.progress("read targets", len(brains), len(pairs))
    if not brains:
        raise TrainingError("there is nothing to learn from: no training subject")
    return brains


def finished(source: Volume, values: NDArray[Any], name: str, **parameters: object) -> Volume:
    """Return a volume with new intensities for the voxels of `source` above 0; the others are 0.

    Args:
        source: gives the grid and the voxels.
        values: intensities in the order of `source.data[source.data > 0]`, shape (voxels,). They are
            clipped to [0, 1]; the share for which that was needed goes into the history as `clipped`.
        name: of the method, for the history.
        **parameters: of the method, for the history.

    Raises:
        MethodError: a value is not finite.
    """
    if values.size and count_not_finite(values[None]):
        raise MethodError(
            f"{name}: the intensities of the source cannot be mapped: many of them are the same"
        )
    clipped = float(outside_unit_range(values).mean()) if values.size else 0.0
    data = np.zeros(source.shape, dtype=np.float32)
    data[source.data > 0] = np.clip(values, 0, 1)
    return source.with_data(data, Step(name, {**parameters, "clipped": clipped}))
