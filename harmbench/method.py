"""The contract of a harmonization method, and how methods are found.

A method learns from pairs of training subjects and maps a source volume to the target contrast. It
never sees a test subject's target: the signature has no room for it.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol
from zlib import crc32

from pydantic import BaseModel
from typing_extensions import Self

from harmbench.code_keys import own_code
from harmbench.errors import MethodError, suggest
from harmbench.guard import method_call
from harmbench.settings import Settings, validated
from harmbench.volume import Volume

__all__ = [
    "ENTRY_POINT_GROUP",
    "Direction",
    "Keep",
    "KeepNothing",
    "Method",
    "NoProgress",
    "Pair",
    "Progress",
    "Settings",
    "Task",
    "available_methods",
    "load_method",
    "make_settings",
    "method_code",
    "saved_settings",
]

ENTRY_POINT_GROUP = "harmbench.methods"


@dataclass(frozen=True, slots=True, order=True)
class Direction:
    """An ordered pair of sessions: map `source` to the contrast of `target`."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}-to-{self.target}"

    @property
    def reverse(self) -> Direction:
        """The other way round."""
        return Direction(self.target, self.source)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both scans of one training subject, on one grid."""

    subject: str
    group: str
    source: Volume
    target: Volume


class Progress(Protocol):
    """Receives the progress of long work."""

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Report that `done` of `total` steps of `stage` are finished; `values` such as loss."""


class NoProgress:
    """A progress reporter that reports nothing."""

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Do nothing."""


class Keep(Protocol):
    """Receives volumes that a method gives beside its result."""

    def __call__(self, name: str, volume: Volume) -> None:
        """Keep `volume`, on the grid of the source; `name` such as `standard-deviation`."""


class KeepNothing:
    """Lets go of what a method gives beside its result."""

    def __call__(self, name: str, volume: Volume) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a method is asked to do in one cell.

    Attributes:
        direction: from which session to which.
        fold: number of the held-out fold, from 0.
        seed: seed of every random number that the method draws.
        device: torch device name, `cpu` or `cuda`.
        folder: where checkpoints may be kept, so that an interrupted `fit` can go on; `None`
            where nothing may be kept. Files called `checkpoint*` are removed once the fitted model
            is saved; others, such as a loss curve, stay.
        progress: told about long work.
        keep: gets volumes that `harmonize` makes beside its result, such as a standard deviation.
    """

    direction: Direction
    fold: int = 0
    seed: int = 0
    device: str = "cpu"
    folder: Path | None = None
    progress: Progress = field(default_factory=NoProgress)
    keep: Keep = field(default_factory=KeepNothing)


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


def available_methods() -> dict[str, EntryPoint]:
    """Return the installed methods by name, without importing them."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_method(name: str) -> type[Method]:
    """Import a method: an installed name, or `path/to/file.py:Class`.

    Raises:
        MethodError: the name is unknown, the file or class is missing, or the import fails.
    """
    if ":" in name and ".py" in name:
        return _from_file(name)
    methods = available_methods()
    if name not in methods:
        raise MethodError(f"unknown method '{name}'; {suggest(name, methods)}; or FILE.py:CLASS")
    try:
        with method_call():
            found = methods[name].load()
    except Exception as error:
        raise MethodError(f"method '{name}' cannot be imported: {_words(error)}") from error
    return _checked(found, name)


def method_code(name: str) -> str:
    """SHA-256 of a method's code: its module or package, and what of harmbench it uses.

    Args:
        name: as for `load_method`, which must have succeeded.
    """
    if ":" in name and ".py" in name:
        return own_code(_from_file(name).__module__)
    return own_code(available_methods()[name].module)


def _from_file(name: str) -> type[Method]:
    file_name, _, class_name = name.rpartition(":")
    path = Path(file_name).resolve()
    if not path.is_file():
        raise MethodError(f"method '{name}': no such file {file_name}")
    module_name = f"harmbench_file_{path.stem}_{crc32(str(path).encode()):x}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise MethodError(f"method '{name}': {file_name} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        # Registered before it runs: dataclasses and pydantic look their module up while it does.
        sys.modules[module_name] = module
        try:
            with method_call():
                spec.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[module_name]
            if not isinstance(error, Exception):
                raise
            text = f"method '{name}': importing {file_name} failed: {_words(error)}"
            raise MethodError(text) from error
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Method) and value is not Method
    }
    if not classes:
        raise MethodError(f"{file_name} defines no subclass of harmbench.method.Method")
    if class_name not in classes:
        raise MethodError(f"{file_name}: no method '{class_name}'; {suggest(class_name, classes)}")
    return _checked(classes[class_name], name)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _checked(found: Any, name: str) -> type[Method]:
    if not (inspect.isclass(found) and issubclass(found, Method)):
        raise MethodError(
            f"method '{name}' is {found!r}, not a subclass of harmbench.method.Method"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise MethodError(f"method '{name}' does not define {missing}")
    return found


def make_settings(method: type[Method], values: Mapping[str, Any], label: str) -> BaseModel:
    """Validate a method's settings; `label` is its name in the configuration.

    Raises:
        ConfigError: names every setting that is unknown (with the nearest valid name) or invalid.
        MethodError: the method's own checks ended the program.
    """
    with method_call():
        return validated(method.Config, values, f"methods.{label}")


def saved_settings(method: type[Method], values: Mapping[str, Any], label: str) -> BaseModel:
    """Validate the settings that a saved model was made with, by this version or an earlier one.

    Args:
        method: the model's; its `earlier_settings` stand in for settings that `values` lacks.
        values: all settings, as the version that saved the model had them.
        label: the method's name in the configuration.

    Raises:
        ConfigError: names every setting that is unknown or invalid.
    """
    return make_settings(method, {**method.earlier_settings, **values}, label)
