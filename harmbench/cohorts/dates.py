"""Dates and times of scans, in one reading for manifests, tables and conditions."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

__all__ = ["NOT_ISO", "parse_time"]

NOT_ISO: Final = "not in ISO 8601, such as 2024-05-31"
"""What is wrong with a text that is no date."""


def parse_time(text: str) -> datetime | None:
    """Return a date, or a date with a time, in ISO 8601; `None` where the text is none.

    A time zone is left out: scans of one person are compared by the clock of their place. A date
    without a time is midnight.
    """
    for form in (text, _for_old_python(text)):
        try:
            return datetime.fromisoformat(form).replace(tzinfo=None)
        except ValueError:
            continue
    return None


def _for_old_python(text: str) -> str:
    """Write a fraction of a second with six digits, and `Z` as an offset: Python 3.10 wants both."""
    padded = re.sub(r"\.(\d+)", lambda found: f".{found[1][:6]:0<6}", text)
    return re.sub(r"Z$", "+00:00", padded)
