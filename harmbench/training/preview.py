"""Pictures of how far a training is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harmbench.arrays import Single
from harmbench.storage import atomic
from harmbench.training.team import Team

__all__ = ["Previews", "Samples"]

_SHOWN = 4  # samples in a picture


class Samples(Protocol):
    """What a network is trained on: slices, or patches of volumes."""

    def __len__(self) -> int: ...
    @property
    def plane(self) -> tuple[int, int]:
        """Rows and columns of a sample."""

    def examples(self, count: int) -> tuple[Single, Single]:
        """Return sources and targets of at most `count` samples, ([planes,] rows, columns) each."""


class Previews:
    """Draws slices of the training subjects every few minutes: source, output and target, in rows.

    They show that a network learns at all, not how well it will do on others: test subjects stay
    unseen.

    Args:
        folder: where `preview-STEP.png` goes; `None` draws nothing.
        samples: the training samples, of which four are shown; of patches, the slice in their middle.
        minutes: time between pictures; 0 draws none.
        team: the processes that train together; the first one draws.
        unit: the intensity that is drawn white.
    """

    def __init__(self, folder: Path | None, samples: Samples, minutes: float, team: Team) -> None:
        self._folder = folder if minutes > 0 and team.first else None
        self._seconds = 60 * minutes
        self._last = time.monotonic()
        self._source, self._target = samples.examples(_SHOWN)

    def due(self) -> bool:
        """Whether it is time for a picture."""
        return self._folder is not None and time.monotonic() - self._last >= self._seconds

    def draw(
        self, step: int, make: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> Path | None:
        """Draw a picture after `step` steps.

        Args:
            step: number of steps done.
            make: maps source samples, as in training, to the method's output.
        """
        if self._folder is None:
            return None
        from matplotlib.image import imsave

        rows = [
            np.concatenate(list(_slices(row)), axis=1)
            for row in (self._source, make(self._source), self._target)
        ]
        path = self._folder / f"preview-{step:07d}.png"
        with atomic(path) as temporary:
            imsave(
                temporary, np.concatenate(rows), cmap="gray", vmin=0, vmax=float(self._target.max())
            )
        self._last = time.monotonic()
        return path


def _slices(samples: Single) -> Single:
    """Return slices as they are, and of patches those in their middle: (batch, rows, columns)."""
    return samples if samples.ndim == 3 else np.asarray(samples[:, samples.shape[1] // 2])
