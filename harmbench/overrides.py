"""Settings as plain values: from a YAML file, `a.b=c` overrides, and changes by dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from harmbench.bounded import YAML_BYTES, read_bytes
from harmbench.cohorts import paths
from harmbench.errors import ConfigError
from harmbench.files.plain_yaml import load_yaml

__all__ = ["parse_overrides", "plain_values"]


def plain_values(
    path: Path | None, overrides: Sequence[str], changes: Mapping[str, object] | None
) -> dict[str, object]:
    """Put together plain values from a file, overrides and changes, in this order.

    Raises:
        ConfigError: the file is not readable YAML, or an override is not `NAME=VALUE`.
    """
    values: dict[str, object] = _read_yaml(path) if path is not None else {}
    if path is not None:
        paths.from_folder(values.get("data"), path.parent)
        paths.from_folder(values.get("folds"), path.parent, ("file",))
    for name, value in {**parse_overrides(overrides), **(changes or {})}.items():
        _put(values, name, value)
    return values


def parse_overrides(overrides: Sequence[str]) -> dict[str, object]:
    """Read `NAME=VALUE` texts, the values as YAML.

    Raises:
        ConfigError: there is no `=`, or a value is not YAML.
    """
    found: dict[str, object] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"'{override}': an override is NAME=VALUE, as in folds.k=4")
        try:
            found[name.strip()] = load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"'{override}': the value is not YAML ({error})") from error
    return found


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        raw = read_bytes(path, YAML_BYTES)
        values = load_yaml(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: line {line} is not UTF-8 text; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return values


def _put(values: dict[str, object], name: str, value: object) -> None:
    *parents, last = name.split(".")
    place = values
    for parent in parents:
        inner = place.get(parent)
        if not isinstance(inner, dict):
            inner = place[parent] = {}
        place = inner
    place[last] = value
