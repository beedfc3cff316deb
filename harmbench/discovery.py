"""How methods are found: by entry point, or in a file that is not installed."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from zlib import crc32

from pydantic import BaseModel

from harmbench.code_keys import own_code
from harmbench.errors import MethodError, suggest
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.settings import validated

__all__ = [
    "ENTRY_POINT_GROUP",
    "available_methods",
    "load_method",
    "make_settings",
    "method_code",
    "saved_settings",
]

ENTRY_POINT_GROUP = "harmbench.methods"


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
