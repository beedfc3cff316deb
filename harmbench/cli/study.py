"""Commands that measure what a study asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import print_json, say, show_table
from harmbench.cli.options import DEFAULT_EFFECT, DEFAULT_OUT, Device, Effect, Json

__all__ = ["changes", "study", "tables"]

study = typer.Typer(
    no_args_is_help=True, help="What a study asks: its tables, and change over a switch of scanner."
)


@study.callback()
def _study() -> None:
    """Group the commands."""


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


@study.command()
def tables(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    table: Annotated[
        str | None, typer.Option(help="A part of a table's name, such as switch; default: a list.")
    ] = None,
    effect: Effect = DEFAULT_EFFECT,
    as_json: Json = False,
) -> None:
    """Print the tables on volumes and on what a study asks, without a report.

    A list of them, those that --table names as Markdown, or with --json the name, title, caption and rows
    of each.

    Example: `harmbench study tables harmbench-run --table switch --json`
    """
    from harmbench.errors import ReportError
    from harmbench.metrics.lesion_declarations import ALL_METRICS
    from harmbench.pages.render import to_markdown
    from harmbench.report.loading import load_evidence
    from harmbench.report.tables.study import every_study_table
    from harmbench.study.switch import Trial

    evidence = load_evidence([run], ALL_METRICS)
    every = list(every_study_table(evidence, Trial(effect_percent=effect)))
    found = [one for one in every if table is None or table in one.name]
    if not found:
        names = ", ".join(one.name for one in every) or "none"
        raise ReportError(f"{run}: no table '{table}'; there are: {names}")
    if as_json:
        print_json(
            [
                {
                    **{"name": one.name, "title": one.title, "caption": one.caption},
                    "rows": one.data.to_dict("records"),
                }
                for one in found
            ]
        )
    elif table is None:
        show_table([{"table": one.name, "title": one.title} for one in found], as_json=False)
    else:
        print("\n".join(to_markdown(one) for one in found))
