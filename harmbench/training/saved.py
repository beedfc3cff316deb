"""A trained network on disk: weights (safetensors), and beside them settings and shapes (JSON)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import nn

from harmbench.errors import MethodError
from harmbench.storage import write_json
from harmbench.training.networks import frozen, load_weights, save_weights, saved_values
from harmbench.training.settings import TrainingSettings

__all__ = ["SavedNetwork", "check_same_network", "load_network", "save_network"]

SettingsT = TypeVar("SettingsT", bound=TrainingSettings)
NetworkT = TypeVar("NetworkT", bound=nn.Module)

WEIGHTS = "model.safetensors"
VALUES = "model.json"


@dataclass(frozen=True, slots=True)
class SavedNetwork(Generic[SettingsT, NetworkT]):
    """What `load_network` read.

    Attributes:
        settings: of the method.
        network: ready for use, without gradients, on the CPU.
        plane: rows and columns of the training slices.
        texts: what else `save_network` was given, by name.
    """

    settings: SettingsT
    network: NetworkT
    plane: tuple[int, int]
    texts: Mapping[str, str]


class _NetworkValues(BaseModel):
    """The file of values: settings, plane, and further texts under names of their own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    settings: Mapping[str, object]
    plane: tuple[int, int]


def save_network(
    folder: Path,
    network: nn.Module,
    settings: TrainingSettings,
    plane: tuple[int, int],
    **texts: str,
) -> None:
    """Write a network with its settings, the plane of its training slices, and further texts."""
    save_weights(network, folder / WEIGHTS)
    write_json(folder / VALUES, {"settings": settings.model_dump(), "plane": plane, **texts})


def load_network(
    folder: Path,
    config: SettingsT | None,
    *,
    name: str,
    settings: type[SettingsT],
    make: Callable[[SettingsT], NetworkT],
    meaning: str = "the network",
    earlier: Mapping[str, object] | None = None,
    texts: tuple[str, ...] = (),
) -> SavedNetwork[SettingsT, NetworkT]:
    """Read what `save_network` wrote.

    Args:
        folder: where it lies.
        config: settings to use in place of the saved ones; may differ in what the weights do not
            depend on.
        name: of the method, for messages.
        settings: class of the method's settings.
        make: makes the network that settings describe.
        meaning: what the settings that the weights depend on describe, for messages.
        earlier: values of settings that models of an earlier version do not have yet.
        texts: names of the further texts; each has to be there.

    Raises:
        MethodError: files are missing or damaged, or `config` describes another network.
    """
    with saved_values(folder / VALUES, name, _NetworkValues) as values:
        saved = settings.model_validate({**(earlier or {}), **values.settings})
        others = values.model_extra or {}
        found = {text: str(others[text]) for text in texts}
    check_same_network(folder, saved, config, meaning)
    chosen = config or saved
    network = make(chosen)
    load_weights(network, folder / WEIGHTS)
    return SavedNetwork(chosen, frozen(network), values.plane, found)


def check_same_network(
    folder: Path, saved: TrainingSettings, config: TrainingSettings | None, meaning: str
) -> None:
    """Check that settings describe the network that was saved in `folder`.

    Args:
        folder: for the message.
        saved: the settings that the network was trained with.
        config: the settings to use; `None` for the saved ones.
        meaning: what the settings that have to agree describe, for the message.

    Raises:
        MethodError: `config` differs in settings that the weights depend on.
    """
    if config is not None and config.network_key != saved.network_key:
        raise MethodError(f"{folder}: saved with other settings of {meaning}")
