"""Commands that look at a run while it goes on, and end it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli.console import say, show_table
from harmbench.cli.options import DEFAULT_OUT, Json

if TYPE_CHECKING:
    from harmbench.runner.status import CellState

__all__ = ["cancel", "status"]


def status(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    watch: Annotated[
        float | None, typer.Option(help="Print it anew every so many seconds.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Show how each cell of a run stands: state, node, progress, time left, last error.

    It works while a run goes on, here or on a cluster, and after it. Nodes are shown where there are
    several, and errors below the table.

    Example: `harmbench status runs/dm --watch 30`
    """
    from harmbench.runner.status import run_status

    while True:
        states = run_status(out)
        if json:
            show_table((asdict(state) for state in states), json)
        else:
            show_table(_rows(states), json)
            for state in states:
                if state.error:
                    say(f"{state.cell}: {state.error}")
        if watch is None:
            return
        time.sleep(watch)


def _rows(states: Sequence[CellState]) -> list[dict[str, str]]:
    """Return rows that fit a terminal of 80 columns: what is the same for all cells is left out."""
    seeds = {state.cell.rpartition(" seed ")[2] for state in states}
    rows = [asdict(state) for state in states]
    for row in rows:
        del row["error"]
        if len(seeds) == 1:
            row["cell"] = row["cell"].rpartition(" seed ")[0]
    if len({row["node"] for row in rows if row["node"]}) < 2:
        for row in rows:
            del row["node"]
    return rows


def cancel(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
) -> None:
    """End a run: its jobs on a cluster, or its processes on this machine. What is done is kept.

    Example: `harmbench cancel runs/dm`
    """
    from harmbench.runner.status import cancel_run

    ended = cancel_run(out)
    found = [f"{what}: {', '.join(ids)}" for what, ids in ended.items() if ids]
    say("; ".join(found) if found else "nothing of this run is going on")
