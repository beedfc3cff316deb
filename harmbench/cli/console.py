"""What the command line prints: notices, tables, JSON, errors."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NoReturn

from harmbench.notes import Note, summarize

__all__ = ["fail", "print_json", "say", "say_notes", "show_table"]

_WIDE = 240
"""Characters of a line that no terminal wraps."""
_PADDING = 3
"""Characters around a cell, with the rule between columns."""


def say(text: str) -> None:
    """Print a notice on standard error, so that standard output can be piped."""
    print(text, file=sys.stderr, flush=True)


def say_notes(notes: Iterable[Note]) -> None:
    """Print notes on standard error, one line for each kind."""
    for line in summarize(notes):
        say(f"note: {line}")


def print_json(value: object) -> None:
    """Print JSON; NaN and infinity become `null`, which JSON has no other word for."""

    def plain(item: object) -> object:
        if isinstance(item, float) and not isfinite(item):
            return None
        if isinstance(item, Mapping):
            return {str(key): plain(own) for key, own in item.items()}
        if isinstance(item, list | tuple):
            return [plain(own) for own in item]
        return item

    print(json.dumps(plain(value), indent=2, default=str))


def show_table(rows: Iterable[Mapping[Any, Any]], as_json: bool, *, cut: str = "") -> None:
    """Print rows as a table for people, or as JSON.

    Args:
        rows: column to value.
        as_json: print JSON.
        cut: the column that is cut to one line where the terminal is too narrow; others wrap.
    """
    found: Sequence[Mapping[Any, Any]] = list(rows)
    if as_json:
        print_json(found)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    # Off a terminal nothing wraps: another program may read the lines.
    width = console.width if console.is_terminal else _WIDE
    texts = [{str(name): _text(value) for name, value in row.items()} for row in found]
    table = Table(box=box.SIMPLE_HEAD)
    for name in texts[0] if texts else ():
        if name == cut:
            left = max(len(name), width - 1 - sum(_widths(texts, but=cut)))
            table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=left)
        else:
            table.add_column(name, overflow="fold")
    for row in texts:
        table.add_row(*row.values())
    Console(width=width, markup=False, highlight=False).print(table)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _widths(rows: Sequence[Mapping[str, str]], but: str) -> list[int]:
    """Characters of every column, with the space around it, of `but` the space alone."""
    return [
        _PADDING + (0 if name == but else max(len(name), *(len(row[name]) for row in rows)))
        for name in rows[0]
    ]


def fail(error: BaseException, text: str, code: int, debug: bool) -> NoReturn:
    """Print `text`, the traceback with `debug`, and end with exit code `code`."""
    if debug:
        traceback.print_exception(error)
    say(text)
    sys.exit(code)
