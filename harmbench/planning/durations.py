"""Durations as people write and read them."""

from __future__ import annotations

import re

from harmbench.errors import ConfigError

__all__ = ["in_words", "parse_duration"]

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PATTERN = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)?(?:(?P<h>\d+(?:\.\d+)?)h)?"
    r"(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?",
    re.ASCII,
)
_LONGEST_S = 366 * 86400.0

# (from this many seconds on, seconds per unit, unit)
_WORDS = (
    (3 * 365.25 * 86400.0, 365.25 * 86400.0, "years"),
    (60 * 86400.0, 30.44 * 86400.0, "months"),
    (48 * 3600.0, 86400.0, "days"),
    (90 * 60.0, 3600.0, "hours"),
    (90.0, 60.0, "min"),
    (0.0, 1.0, "s"),
)


def parse_duration(text: str, name: str = "budget") -> float:
    """Return the seconds that `90s`, `10m`, `2h`, `1h30m` or `1.5d` stand for.

    Args:
        text: numbers with units, the larger units first.
        name: what the duration is, for the error.

    Raises:
        ConfigError: the text is none, or a duration of 0 or of more than a year.
    """
    found = _PATTERN.fullmatch(text.strip().lower())
    parts = {} if found is None else {k: v for k, v in found.groupdict().items() if v is not None}
    seconds = sum(float(value) * _UNITS_S[unit] for unit, value in parts.items())
    if not parts or not 0 < seconds <= _LONGEST_S:
        raise ConfigError(
            f"{name} '{text}': expected a time above 0 and of at most a year, "
            "such as 90s, 10m, 2h, 1h30m or 3d"
        )
    return seconds


def in_words(seconds: float) -> str:
    """Return a rough duration for people: `45 s`, `12 min`, `3.5 hours`, `9 months`."""
    for least, size, unit in _WORDS:
        if seconds >= least:
            number = seconds / size
            fine = unit in ("hours", "days", "months", "years") and number < 10
            return f"{number:.1f} {unit}" if fine else f"{number:.0f} {unit}"
    return "0 s"
