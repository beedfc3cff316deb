"""How methods are found, and how their settings are validated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from typing import cast

from pydantic import BaseModel

from harmbench.code_keys import own_code
from harmbench.errors import MethodError, UnavailableError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.plugins import METHODS, VOLUME_CORRECTIONS, Reference
from harmbench.settings import validated
from harmbench.volume_correction import VolumeCorrection

__all__ = [
    "available_corrections",
    "available_methods",
    "correction_code",
    "is_correction",
    "learns",
    "load_correction",
    "load_method",
    "make_settings",
    "method_code",
    "saved_settings",
    "usable_methods",
]


def available_methods() -> dict[str, EntryPoint]:
    """Return the installed methods by name, without importing them."""
    return METHODS.installed()


def usable_methods() -> list[str]:
    """Return the names of the installed methods that can be used: imports them all.

    Left out are those that need software which is not installed; others that fail stay in the list.
    """
    return [name for name in available_methods() if _is_usable(name)]


def _is_usable(name: str) -> bool:
    try:
        load_method(name)
    except UnavailableError:
        return False
    except MethodError:
        return True  # it says what is wrong when it is asked for
    return True


def load_method(method: str | Reference) -> type[Method]:
    """Import a method.

    Args:
        method: an installed name, or `path/to/file.py:Class`.

    Raises:
        MethodError: the name is unknown, the file or class is missing, or the import fails.
        UnavailableError: software that the method needs, an extra, is not installed.
    """
    if is_correction(method):
        raise MethodError(
            f"'{method}' is a volume correction: it maps tissue volumes, and no images"
        )
    found = cast(type[Method], METHODS.load(_reference(method), _is_method))
    _require_whole(found, f"method '{method}'")
    return found


def learns(method: type[Method]) -> bool:
    """Whether a method defines a `fit` of its own."""
    return method.fit is not Method.fit


def method_code(method: str | Reference) -> str:
    """SHA-256 of a method's code: its module or package, and what of harmbench it uses.

    Args:
        method: as for `load_method`, which must have succeeded.
    """
    return own_code(METHODS.module(_reference(method)))


def available_corrections() -> dict[str, EntryPoint]:
    """Return the installed volume corrections by name, without importing them."""
    return VOLUME_CORRECTIONS.installed()


def load_correction(correction: str | Reference) -> type[VolumeCorrection]:
    """Import a volume correction.

    Args:
        correction: an installed name, or `path/to/file.py:Class`.

    Raises:
        MethodError: the name is unknown, the file or class is missing, or the import fails.
    """
    loaded = VOLUME_CORRECTIONS.load(_reference(correction), _is_correction)
    found = cast(type[VolumeCorrection], loaded)
    _require_whole(found, f"volume correction '{correction}'")
    return found


def correction_code(correction: str | Reference) -> str:
    """SHA-256 of a volume correction's code, as `method_code`; it must have been loaded."""
    return own_code(VOLUME_CORRECTIONS.module(_reference(correction)))


def is_correction(method: str | Reference) -> bool:
    """Whether a reference is of a volume correction. A class in a file is imported.

    What cannot be imported is none: whoever loads it as a method says what is wrong with it.
    """
    reference = _reference(method)
    if reference.file is None:
        known = reference.name in available_methods()
        return not known and reference.name in available_corrections()
    try:
        VOLUME_CORRECTIONS.load(reference, _is_correction)
    except MethodError:
        return False
    return True


def _require_whole(found: type, name: str) -> None:
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise MethodError(f"{name} does not define {missing}")


def _reference(method: str | Reference) -> Reference:
    return Reference.parse(method) if isinstance(method, str) else method


def _is_method(kind: type) -> bool:
    return issubclass(kind, Method) and kind is not Method


def _is_correction(kind: type) -> bool:
    return issubclass(kind, VolumeCorrection) and kind is not VolumeCorrection


def make_settings(
    method: type[Method] | type[VolumeCorrection], values: Mapping[str, object], label: str
) -> BaseModel:
    """Validate the settings of a method or a volume correction; `label` is its name in the configuration.

    Raises:
        ConfigError: names every setting that is unknown (with the nearest valid name) or invalid.
        MethodError: the method's own checks ended the program.
    """
    with method_call():
        return validated(method.Config, values, f"methods.{label}")


def saved_settings(method: type[Method], values: Mapping[str, object], label: str) -> BaseModel:
    """Validate the settings that a saved model was made with, by this version or an earlier one.

    Args:
        method: the model's; its `earlier_settings` stand in for settings that `values` lacks.
        values: all settings, as the version that saved the model had them.
        label: the method's name in the configuration.

    Raises:
        ConfigError: names every setting that is unknown or invalid.
    """
    return make_settings(method, {**method.earlier_settings, **values}, label)
