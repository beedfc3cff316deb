"""Commands that look at a run and its files, end it, and free its space."""

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

__all__ = ["cancel", "gc", "status", "verify"]


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


def verify(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    json: Json = False,
) -> None:
    """Check every file of a run: list what is damaged, stale or missing, and what a rerun does.

    Nothing is written. The exit code is 1 where something is wrong.

    Example: `harmbench verify runs/dm`
    """
    from harmbench.runner.verification import verify_run

    found = verify_run(out)
    if found or json:
        show_table((asdict(finding) for finding in found), json)
    wrong = sum(finding.wrong for finding in found)
    say(f"{wrong} pieces are not as they should be" if wrong else "all files are as written")
    raise typer.Exit(1 if wrong else 0)


def gc(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="What to free (repeatable): leftovers, checkpoints, volumes, labels, models, "
            "scores. Without it: all but models and scores."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be freed, and leave it.")
    ] = False,
    json: Json = False,
) -> None:
    """Free the space of what a rerun makes again; models and scores stay unless they are named.

    Examples:
    - `harmbench gc runs/dm --dry-run`

    - `harmbench gc runs/dm --kind leftovers --kind checkpoints`
    """
    from harmbench.runner.freeing import FREED, free_space

    freed, left = free_space(out, kind or FREED, dry_run=dry_run)
    show_table((asdict(own) for own in freed), json)
    for line in left:
        say(f"left alone: {line}")
    total = sum(own.bytes for own in freed) / 1e6
    say(f"{total:.1f} MB {'would be' if dry_run else 'were'} freed")
