"""Field strengths in sidecars, in tesla."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["FIELD", "nominal_label", "parse_tesla", "same_field"]

FIELD: Final = "MagneticFieldStrength"
"""The sidecar field."""

_NOMINAL_T: Final = (0.055, 0.064, 0.2, 0.23, 0.25, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.7)
_NOMINAL_HIGH_T: Final = (1.0, 1.2, 1.5, 3.0, 4.0, 4.7, 7.0, 9.4, 10.5, 11.7)

# One vendor records a nominal 3 T magnet as 2.89 T. Magnets below 1 T differ by less.
_TOLERANCE_T = 0.2
_LOW_TOLERANCE = 0.05

_LARGEST_T = 25.0
_SMALLEST_T = 0.01
# Values without a unit in this range are gauss: in millitesla they would be more than 12 T.
_GAUSS = (12_000, 120_000)
_TESLA_PER = {"t": 1.0, "tesla": 1.0, "mt": 1e-3, "millitesla": 1e-3}
_TESLA_PER |= dict.fromkeys(("g", "gs", "gauss"), 1e-4)
_NUMBER = re.compile(r"\+?([0-9]*[.,]?[0-9]+(?:e[+-]?[0-9]+)?|[0-9]+[.,])\s*([a-z]*)")
_MISSING = {"", "n/a", "na", "nan", "none", "null", "unknown", "unspecified"}


def parse_tesla(value: object) -> float:
    """Return a field strength in tesla.

    Args:
        value: such as `3`, `"3T"`, `"1,5 Tesla"`, `[3]`, `"1500 mT"`. Numbers of 12,000 and more
            without a unit are taken as gauss.

    Raises:
        ValueError: says why the value is not a field strength.
    """
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and value.strip().casefold() in _MISSING):
        raise ValueError(f"{FIELD} has no value")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{FIELD} is {value!r}, expected a number in tesla")
    parts = _NUMBER.fullmatch(str(value).strip().casefold())
    number, unit = (float(parts[1].replace(",", ".")), parts[2]) if parts else (0.0, "?")
    unit = unit or ("gauss" if _GAUSS[0] <= number <= _GAUSS[1] else "t")
    if unit not in _TESLA_PER:
        raise ValueError(f"{FIELD} is {value!r}, expected a number in tesla")
    tesla = number * _TESLA_PER[unit]
    if not _SMALLEST_T <= tesla <= _LARGEST_T:
        milli = (
            f"; in millitesla it needs the unit: '{number:g} mT'" if _is_milli(number, unit) else ""
        )
        raise ValueError(f"{FIELD} is {value!r}, no field of a scanner in tesla{milli}")
    return tesla


def _is_milli(number: float, unit: str) -> bool:
    """Whether a number in tesla would be a field in millitesla."""
    return unit == "t" and _SMALLEST_T <= number * _TESLA_PER["mt"] <= _LARGEST_T


def nominal_label(tesla: float) -> str:
    """Return the name of a field strength: `3T` for 2.89 T, `1.5T` for 1.494 T."""
    nearest = min(_NOMINAL_T + _NOMINAL_HIGH_T, key=lambda nominal: abs(nominal - tesla))
    return f"{nearest if same_field(nearest, tesla) else tesla:g}T"


def same_field(one: float, other: float) -> bool:
    """Whether two field strengths in T have the same nominal value: within 0.2 T, or 5 % below 1 T."""
    larger = max(one, other)
    allowed = _TOLERANCE_T if larger >= 1 else _LOW_TOLERANCE * larger
    return abs(one - other) <= allowed + 1e-9
