"""The contract of a harmonization method.

A method learns from pairs of training subjects and maps a source volume to the target contrast. It
never sees a test subject's target: the signature has no room for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel
from typing_extensions import Self

from harmbench.settings import Settings
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["Method"]


class Method(ABC):
    """A harmonization method. A subclass needs `harmonize`; one that learns adds the rest.

    Class attributes:
        Config: the settings, a subclass of `Settings`.
        title: name for tables and figures.
        reference: citation of the method's source.
        quick_settings: settings with which `fit` and `harmonize` take seconds on tiny volumes, for
            the contract test.
        earlier_settings: settings that were added after models had been saved, with the values that
            describe what was done before; a saved model that lacks them gets these, not the defaults.
        sizes: settings from the largest training to the smallest, for runs that fit a machine
            without a GPU (the last) or a budget of time; each says how long it trains by default.

    Args:
        config: an instance of `Config`, or `None` for its defaults.
    """

    Config: ClassVar[type[BaseModel]] = Settings
    title: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    quick_settings: ClassVar[Mapping[str, Any]] = {}
    earlier_settings: ClassVar[Mapping[str, Any]] = {}
    sizes: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def __init__(self, config: BaseModel | None = None) -> None:
        self.config: Any = self.Config() if config is None else config

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:  # noqa: B027
        """Learn from the training subjects.

        `pairs` loads a pair's volumes when it is indexed: go through it once rather than keep all
        pairs alive. A fit that is interrupted and called again with the same `task.folder` goes on
        from its last checkpoint and ends in the same place.
        """

    @abstractmethod
    def harmonize(self, source: Volume, task: Task) -> Volume:
        """Return `source` in the target contrast: same shape and affine, finite values in [0, 1].

        Use `source.with_data(...)`. The same seed gives the same output.
        """

    def save(self, folder: Path) -> None:  # noqa: B027
        """Write what `fit` learned into `folder`, without pickles."""

    @classmethod
    def load(cls, folder: Path, config: BaseModel | None = None) -> Self:  # noqa: ARG003
        """Return the method as `save` left it."""
        return cls(config)

    def parameter_counts(self) -> Mapping[str, int]:
        """Number of trainable parameters of each network; empty for a method without any."""
        return {}

    # What runs ask of a method to size its training and to estimate its time. A method that trains
    # with `TrainingRun` defines the first two; one that doesn't is run as it is.

    def training_steps(self, slices: int) -> int:
        """Return the steps in which each network is trained on so many slices; 0: it doesn't tell."""
        return 0

    def sized(self, steps: int) -> Mapping[str, Any]:
        """Return the settings to change so that each network is trained in `steps` steps."""
        return {}

    def forward_passes(self) -> int:
        """Return how often a network is evaluated to harmonize a slice."""
        return 1

    def trial_settings(self) -> Mapping[str, Any]:
        """Return the settings to change for a trial of a few steps: what costs the same, ready at once."""
        return {}
