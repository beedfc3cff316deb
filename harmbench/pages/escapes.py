"""Names of others in what people open: no text of a table becomes a formula, a link or markup."""

from __future__ import annotations

import re
from typing import Final

import pandas as pd

__all__ = ["markdown_text", "spreadsheet_safe"]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet takes for a formula."""

# Brackets make a link, and angles a tag, only with what follows; an underscore inside a word is one.
_MARKUP: Final = re.compile(r"[\\`*|~]|\](?=[(\[:])|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_])")


def markdown_text(text: str) -> str:
    """Escape text for a line of Markdown; a line break becomes a space."""
    return _MARKUP.sub(lambda found: "\\" + found[0], " ".join(text.splitlines()))


def spreadsheet_safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which texts that a spreadsheet would compute begin with an apostrophe.

    Numbers stay as they are, and so do texts that are numbers.
    """
    safe = frame.copy()
    for place, kind in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(place, frame.iloc[:, place].map(_plain).to_numpy())
    return safe.rename(columns=_plain)


def _plain(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
