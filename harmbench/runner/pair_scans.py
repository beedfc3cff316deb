"""The two scans of a tested pair, which harmonizing and scoring share."""

from __future__ import annotations

from functools import cached_property

from harmbench.arrays import Mask
from harmbench.cohorts.masks import read_lesions
from harmbench.runner.inputs import InputScans
from harmbench.runner.pairs import SessionPair
from harmbench.volume import Volume

__all__ = ["PairScans"]


class PairScans:
    """The scans of a tested pair as methods see them; each is read once, when it is first needed.

    Args:
        inputs: the real scans of the run.
        pair: which.
    """

    def __init__(self, inputs: InputScans, pair: SessionPair) -> None:
        self._inputs, self.pair = inputs, pair

    @cached_property
    def source(self) -> Volume:
        """The scan that is harmonized; reading it raises `VolumeError`."""
        return self._inputs.volume(self.pair.subject, self.pair.source)

    @cached_property
    def reference(self) -> Volume:
        """The scan that the result is scored against; reading it raises `VolumeError`."""
        return self._inputs.volume(self.pair.subject, self.pair.target)

    def source_for_method(self) -> Volume:
        """Return the source in memory of its own: what a method does to it changes no score."""
        own = self.source.data.copy()
        own.flags.writeable = False
        return self.source.with_data(own)

    def lesions(self) -> Mask | None:
        """Read the mask of lesions of the reference, or else of the source; both lie on one grid.

        Returns:
            Shape (x, y, z), bool; `None` where neither scan has a mask.

        Raises:
            VolumeError: a file is gone or damaged, or the mask is not on its scan's grid.
        """
        path = self._inputs.scan(self.pair.subject, self.pair.target).lesions
        if path is not None:
            return read_lesions(path, self.reference)
        path = self._inputs.scan(self.pair.subject, self.pair.source).lesions
        return None if path is None else read_lesions(path, self.source)
