"""Commands that measure what a study asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import say, show_table
from harmbench.cli.options import DEFAULT_OUT, Device, Json

__all__ = ["changes", "study"]

study = typer.Typer(
    no_args_is_help=True, help="Measure what a study asks: change over a switch of scanner."
)


@study.callback()
def _study() -> None:
    """Keep `changes` a command of its own, also while it is the only one."""


@study.command()
def changes(
    run: Annotated[Path, typer.Argument(help="A run on the simulated cohort.", metavar="RUN")] = (
        DEFAULT_OUT
    ),
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method", "-m", help="A fitted method of the run (repeatable); default: all."
        ),
    ] = None,
    device: Device = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cells at a time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure known changes of simulated subjects over a switch of scanner, with each fitted method.

    Follow-up visits are simulated, harmonized with the method of the cell that held the subject out,
    and segmented. Slope 1, offset 0: change is kept as it is. The run's next report shows the table.

    Example: `harmbench study changes harmbench-run --method unet`
    """
    from harmbench.study.changes import change_lines
    from harmbench.trained.changes import measure_changes

    rows = measure_changes(run, method or (), device=device or "auto", jobs=jobs, say=say)
    show_table(change_lines(rows).to_dict("records"), as_json)
