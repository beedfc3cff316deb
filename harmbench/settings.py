"""Frozen, validated settings, and the errors that explain bad values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.errors import ConfigError, suggest

__all__ = ["Settings", "validated"]

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def validated(model: type[Model], values: Mapping[str, object], where: str = "") -> Model:
    """Make settings from plain values.

    Args:
        model: the settings to make.
        values: such as a parsed YAML mapping.
        where: path of these settings in the whole configuration, put before each name.

    Raises:
        ConfigError: lists every unknown name, with the nearest valid one, and every bad value.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = []
        for item in error.errors():
            location = [str(part) for part in item["loc"]]
            name = ".".join([where, *location] if where else location)
            if item["type"] == "extra_forbidden":
                allowed = _fields_at(model, location[:-1])
                lines.append(f"{name}: unknown setting; {suggest(location[-1], allowed)}")
            else:
                reason = item["msg"].removeprefix("Value error, ")
                given = "" if item["type"] == "missing" else f" (got {item['input']!r})"
                lines.append(f"{name or 'settings'}: {reason}{given}")
        raise ConfigError("\n".join(lines)) from error


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for name in location:
        field = model.model_fields.get(name)
        if field is None:
            return []
        options = [field.annotation, *get_args(field.annotation)]
        nested = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)
