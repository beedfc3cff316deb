"""Pictures of how far a training is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harmbench.slices import TrainingSlices
from harmbench.storage import atomic
from harmbench.training.team import Team

__all__ = ["Previews"]

_SHOWN = 4  # slices in a picture


class Previews:
    """Draws slices of the training subjects every few minutes: source, output and target, in rows.

    They show that a network learns at all, not how well it will do on others: test subjects stay
    unseen.

    Args:
        folder: where `preview-STEP.png` goes; `None` draws nothing.
        slices: the training slices; four, spread over all of them, are shown.
        minutes: time between pictures; 0 draws none.
        team: the processes that train together; the first one draws.
        unit: the intensity that is drawn white.
    """

    def __init__(
        self, folder: Path | None, slices: TrainingSlices, minutes: float, team: Team
    ) -> None:
        self._folder = folder if minutes > 0 and team.first else None
        self._seconds = 60 * minutes
        self._last = time.monotonic()
        count = min(_SHOWN, len(slices))
        # Middles of equal shares: the ends of the stack are slices with hardly any brain.
        self._numbers = ((np.arange(count) + 0.5) * len(slices) / count).astype(np.int64)
        self._source, self._target = slices.source[self._numbers], slices.target[self._numbers]

    def due(self) -> bool:
        """Whether it is time for a picture."""
        return self._folder is not None and time.monotonic() - self._last >= self._seconds

    def draw(
        self, step: int, make: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> Path | None:
        """Draw a picture after `step` steps.

        Args:
            step: number of steps done.
            make: maps source slices, (batch, rows, columns) as in training, to the method's output.
        """
        if self._folder is None:
            return None
        from matplotlib.image import imsave

        rows = [
            np.concatenate(list(r), axis=1)
            for r in (self._source, make(self._source), self._target)
        ]
        path = self._folder / f"preview-{step:07d}.png"
        with atomic(path) as temporary:
            imsave(
                temporary, np.concatenate(rows), cmap="gray", vmin=0, vmax=float(self._target.max())
            )
        self._last = time.monotonic()
        return path
