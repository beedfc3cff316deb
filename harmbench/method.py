"""The contract of a harmonization method.

A method learns from pairs of training subjects and maps a source volume to the target contrast. It
never sees a test subject's target: the signature has no room for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Generic, cast

from pydantic import BaseModel
from typing_extensions import Self, TypeVar

from harmbench.settings import Settings
from harmbench.task import Pair, Task
from harmbench.volume import Volume

__all__ = ["Method"]

# Covariant: a Method[DiffusionSettings] is a Method. `discovery.make_settings` validates settings by
# the class's own Config, so a method never gets those of another.
ConfigT_co = TypeVar("ConfigT_co", bound=BaseModel, covariant=True, default=BaseModel)


class Method(ABC, Generic[ConfigT_co]):
    """A harmonization method. A subclass needs `harmonize`; one that learns adds the rest.

    A subclass with settings names their class twice: `class Mine(Method[MySettings])` for type
    checkers, which then know `self.config`, and `Config = MySettings` for the running code.

    Class attributes:
        Config: the settings, a subclass of `Settings`.
        title: name for tables and figures, written as a literal: `harmbench methods` reads it from
            the source, without importing the method.
        reference: citation of the method's source, a literal as well.
        default_parameters: what `parameter_counts` returns for the default settings, a literal as
            well; `None` where it is not declared. The contract test compares the two.
        quick_settings: settings with which `fit` and `harmonize` take seconds on tiny volumes, for
            the contract test.
        earlier_settings: settings that were added after models had been saved, with the values that
            describe what was done before; a saved model that lacks them gets these, not the defaults.
        several_sources: whether one model may learn from the pairs of several source scanners with
            one target scanner, and harmonize scans of a further one; pairs and task name the scanners.
        sizes: settings from the largest training to the smallest, for runs that fit a machine
            without a GPU (the last) or a budget of time; each says how long it trains by default.

    Args:
        config: an instance of `Config`, or `None` for its defaults.
    """

    Config: ClassVar[type[BaseModel]] = Settings
    title: ClassVar[str] = ""
    reference: ClassVar[str] = ""
    default_parameters: ClassVar[Mapping[str, int] | None] = None
    quick_settings: ClassVar[Mapping[str, object]] = {}
    earlier_settings: ClassVar[Mapping[str, object]] = {}
    several_sources: ClassVar[bool] = False
    sizes: ClassVar[Sequence[Mapping[str, object]]] = ()

    def __init__(self, config: ConfigT_co | None = None) -> None:
        # A ClassVar cannot name the type variable.
        self.config = cast(ConfigT_co, self.Config()) if config is None else config

    def fit(self, pairs: Sequence[Pair], task: Task) -> None:
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

    def save(self, folder: Path) -> None:
        """Write what `fit` learned into `folder`, without pickles."""

    @classmethod
    def load(cls, folder: Path, config: ConfigT_co | None = None) -> Self:  # noqa: ARG003
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

    def sized(self, steps: int) -> Mapping[str, object]:
        """Return the settings to change so that each network is trained in `steps` steps."""
        return {}

    def forward_passes(self) -> int:
        """Return how often a network is evaluated to harmonize a slice."""
        return 1

    def trial_settings(self) -> Mapping[str, object]:
        """Return the settings to change for a trial of a few steps: what costs the same, ready at once."""
        return {}
