"""The two scans of a tested pair, which harmonizing and scoring share."""

from __future__ import annotations

from functools import cached_property

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
