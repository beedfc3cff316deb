"""Commands that look at a run while it goes on, and end it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import say, show_table
from harmbench.cli.options import DEFAULT_OUT, Json

__all__ = ["cancel", "status"]


def status(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    watch: Annotated[
        float | None, typer.Option(help="Print it anew every so many seconds.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Show how each cell of a run stands: state, node, progress, time left, last error.

    Example: `harmbench status runs/dm --watch 30`
    """
    from harmbench.runner.status import run_status

    while True:
        show_table((asdict(state) for state in run_status(out)), json, cut="error")
        if watch is None:
            return
        time.sleep(watch)


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
