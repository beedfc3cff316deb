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


def say(text: str) -> None:
    """Print a notice on standard error, so that standard output can be piped."""
    print(text, file=sys.stderr, flush=True)


def say_notes(notes: Iterable[Note]) -> None:
    """Print notes on standard error, one line for each kind."""
    for line in summarize(notes):
        say(f"note: {line}")


def print_json(value: Any) -> None:
    """Print JSON; NaN and infinity become `null`, which JSON has no other word for."""

    def plain(item: Any) -> Any:
        if isinstance(item, float) and not isfinite(item):
            return None
        if isinstance(item, Mapping):
            return {str(key): plain(own) for key, own in item.items()}
        if isinstance(item, list | tuple):
            return [plain(own) for own in item]
        return item

    print(json.dumps(plain(value), indent=2, default=str))


def show_table(rows: Iterable[Mapping[Any, Any]], as_json: bool) -> None:
    """Print rows as a table for people, or as JSON."""
    found: Sequence[Mapping[Any, Any]] = list(rows)
    if as_json:
        print_json(found)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in found[0] if found else ():
        table.add_column(str(name), overflow="fold")
    for row in found:
        cells = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values())
        table.add_row(*cells)
    console = Console()
    # Off a terminal nothing wraps: another program may read the lines.
    width = console.width if console.is_terminal else 240
    Console(width=width, markup=False, highlight=False).print(table)


def fail(error: BaseException, text: str, code: int, debug: bool) -> NoReturn:
    """Print `text`, the traceback with `debug`, and end with exit code `code`."""
    if debug:
        traceback.print_exception(error)
    say(text)
    sys.exit(code)
