"""Commands that compare several runs, and export results for other laboratories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import say
from harmbench.cli.options import DEFAULT_OUT

__all__ = ["compare", "export_results"]


def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Run folders, or files that export-results wrote.", metavar="RUN..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Report folder.")] = Path("comparison"),
) -> None:
    """Compare runs in one report, or results of several laboratories side by side.

    Run folders must be comparable: the same scans, scaling, preparation, folds, segmenter and metrics.
    Others are refused before any work, with every reason. With a file of exported results, the page is a
    leaderboard: what is not comparable stands on a board of its own.

    Examples:
    - `harmbench compare runs/dm runs/pgan --out comparison`

    - `harmbench compare here.zip there.zip`
    """
    from harmbench.progress import Display
    from harmbench.report import compare as compare_results

    with Display("compare", 1) as display:
        page = compare_results(sources, out, display)
    say(f"comparison: {page}")


def export_results(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default: RUN-results.zip here.")
    ] = None,
    label: Annotated[str, typer.Option(help="Name of the cohort in the file.")] = "",
) -> None:
    """Write the results of a run to one small file that another laboratory can compare with its own.

    It has no images, no paths, no names of subjects, visits or machines: subjects are numbers. Names of
    methods, scanners and groups stay.

    Example: `harmbench export-results runs/dm --out dm.zip --label "Our 3T and 1.5T"`
    """
    from harmbench.exchange.export import export_results as write_results

    place = out or Path(f"{run.resolve().name}-results.zip")
    written = write_results(run, place, label)
    say(f"results: {written} ({written.stat().st_size / 1000:.0f} kB)")
