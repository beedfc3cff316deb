"""Patches of volumes: drawn at random for training, overlapping for prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harmbench.arrays import Array, Mask, Single, bounding_box, foreground
from harmbench.errors import TrainingError
from harmbench.storage import key_of
from harmbench.task import Pair
from harmbench.volume import require_same_grid

__all__ = ["TrainingPatches", "corners", "map_patches"]

Corner = tuple[int, int, int]


class TrainingPatches:
    """The training volumes in memory, cut to the brain, and patches of them.

    Args:
        pairs: the training subjects, gone through once.
        side: of a patch, in voxels.

    Attributes:
        key: SHA-256 of the volumes and the side.

    Raises:
        TrainingError: there are no pairs, or a pair has no voxel above 0.
        VolumeError: source and target of a pair lie on different grids.
    """

    def __init__(self, pairs: Sequence[Pair], side: int) -> None:
        self._side = side
        self._volumes: list[Single] = []  # each (2, x, y, z): source and target
        self._count = 0
        keys: list[object] = [side]
        for pair in pairs:
            names = (f"source of {pair.subject}", f"target of {pair.subject}")
            require_same_grid(pair.source, pair.target, names)
            mask = foreground(pair.source.data) | foreground(pair.target.data)
            if not mask.any():
                raise TrainingError(f"{pair.subject}: no voxel is above 0")
            both = [_cut(volume.data, mask, side) for volume in (pair.source, pair.target)]
            self._volumes.append(np.stack(both))
            self._count += len(list(corners(both[0].shape, side, 0.5)))
            keys.append((pair.source.key, pair.target.key))
        if not self._volumes:
            raise TrainingError("there is nothing to learn from: no training subject")
        self.key = key_of(keys)

    def __len__(self) -> int:
        """Return the number of patches that cover the training volumes, half overlapping."""
        return self._count

    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of a patch."""
        return self._side, self._side

    def examples(self, count: int) -> tuple[Single, Single]:
        """Return source and target patches in the middle of `count` volumes, (count, x, y, z) each."""
        volumes = [self._volumes[n * len(self._volumes) // count] for n in range(count)]
        middles = [
            self._patch(v, [(extent - self._side) // 2 for extent in v.shape[1:]]) for v in volumes
        ]
        both = np.stack(middles, axis=1)
        return both[0], both[1]

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return random source and target patches, (count, 1, x, y, z) each.

        Patches are centred on a random voxel of a random volume and moved until they lie inside, so
        that voxels near the border are seen as often as others.
        """
        chosen = []
        for _ in range(count):
            random = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
            volume = self._volumes[int(random[0] * len(self._volumes))]
            places = zip(random[1:], volume.shape[1:], strict=True)
            starts = [
                min(max(int(share * extent) - self._side // 2, 0), extent - self._side)
                for share, extent in places
            ]
            chosen.append(self._patch(volume, starts))
        both = torch.from_numpy(np.stack(chosen, axis=1))[:, :, None]
        return both[0], both[1]

    def _patch(self, volume: Single, starts: Sequence[int]) -> Single:
        x, y, z = (slice(start, start + self._side) for start in starts)
        return np.asarray(volume[:, x, y, z])


def _cut(data: Array, mask: Mask, side: int) -> Array:
    """Return the bounding box of a mask, padded with zeros to at least a patch."""
    box = data[bounding_box(mask)]
    return np.pad(box, [(0, max(0, side - extent)) for extent in box.shape])


def corners(shape: Sequence[int], side: int, overlap: float) -> Iterator[Corner]:
    """Give the first corners of patches that cover a volume.

    Args:
        shape: of the volume, at least `side` along each axis.
        side: of a patch.
        overlap: share of a side by which neighbours overlap at least.
    """
    stride = max(1, int(side * (1 - overlap)))
    axes = []
    for extent in shape:
        count = -(-(extent - side) // stride) + 1
        axes.append(np.linspace(0, extent - side, count).round().astype(int).tolist())
    x, y, z = axes
    yield from product(x, y, z)


def map_patches(
    function: Callable[[Single], Single],
    data: Single,
    brain: Mask,
    *,
    side: int,
    overlap: float,
    batch_size: int,
    progress: Callable[[int, int], object],
) -> Single:
    """Apply `function` to overlapping patches of a volume and blend its results.

    A patch counts most in its middle and least at its border. Patches without brain are left out.

    Args:
        function: maps patches, shape (batch, side, side, side), to the same shape.
        data: shape (x, y, z).
        brain: where the brain is, same shape; the result is 0 outside of its bounding box.
        side: of a patch.
        overlap: share of a side by which neighbours overlap at least.
        batch_size: number of patches that `function` gets at once, at most.
        progress: called after every batch with the number of patches done and their total.
    """
    result = np.zeros_like(data)
    if not brain.any():
        return result
    box = bounding_box(brain)
    inside, mask = _cut(data, brain, side), _cut(brain, brain, side)
    places = [
        tuple(slice(start, start + side) for start in corner)
        for corner in corners(inside.shape, side, overlap)
    ]
    places = [place for place in places if mask[place].any()]
    weight = _blending(side)
    total, weights = np.zeros_like(inside), np.zeros_like(inside)
    for first in range(0, len(places), batch_size):
        own = places[first : first + batch_size]
        made = function(np.stack([inside[place] for place in own]))
        for place, patch in zip(own, made, strict=True):
            total[place] += weight * patch
            weights[place] += weight
        progress(first + len(own), len(places))
    mean = np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)
    result[box] = mean[tuple(slice(0, extent) for extent in result[box].shape)]
    return result


def _blending(side: int) -> NDArray[np.float32]:
    """Weights of a patch, (side, side, side): a product of sines, which is above 0 everywhere."""
    line = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    return np.asarray(line[:, None, None] * line[:, None] * line, dtype=np.float32)
