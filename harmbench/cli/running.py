"""Commands that run the benchmark and report on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli.console import say
from harmbench.cli.options import (
    DEFAULT_EFFECT,
    DEFAULT_OUT,
    Config,
    Data,
    Device,
    Devices,
    Effect,
    Isolate,
    Overrides,
    Rescaling,
    SegmenterName,
    config_path,
    given,
)
from harmbench.cli.selection import NO_SELECTION, Selection, takes_selection

if TYPE_CHECKING:
    from harmbench.config import Experiment
    from harmbench.runner.experiment import Summary

__all__ = ["demo", "report", "rescore", "run", "serve"]


# Long: its options are its arguments, one a line.
@takes_selection
def run(
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="A method, FILE.py:CLASS, or all (repeatable)."),
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Folds to run: all, or 0,2.")] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Number of folds, or a table with the columns subject, fold."),
    ] = None,
    direction: Annotated[str | None, typer.Option(help="both, all, or A-to-B,B-to-C.")] = None,
    data: Data = None,
    source: Annotated[str | None, typer.Option(help="Scanner to map from.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Scanner to map to; alone: from every other one.")
    ] = None,
    train_group: Annotated[str | None, typer.Option(help="Learn from this group only.")] = None,
    test_group: Annotated[str | None, typer.Option(help="Test on this group only.")] = None,
    leave_scanner_out: Annotated[
        bool | None,
        typer.Option(
            "--leave-scanner-out", help="Learn from the other scanners, test on an unseen one."
        ),
    ] = None,
    train_pairs: Annotated[
        str | None, typer.Option(help="Pairs of visits to learn from: closest, or all.")
    ] = None,
    train_subjects: Annotated[
        str | None,
        typer.Option(help="Learning curve: numbers of training subjects, such as 2,4,8,all."),
    ] = None,
    selection: Selection = NO_SELECTION,
    rescale: Rescaling = None,
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = DEFAULT_OUT,
    seed: Annotated[int | None, typer.Option(help="Seed of the methods.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
    device: Device = None,
    devices: Devices = None,
    segmenter: SegmenterName = None,
    executor: Annotated[
        str | None, typer.Option(help="Where cells run: local, or slurm (jobs of a cluster).")
    ] = None,
    isolate: Isolate = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for the whole run, which sizes trainings: 10m, 2h, 1h30m."),
    ] = None,
) -> None:
    """Train, harmonize, segment and score: every cell that is not current.

    A run that was stopped goes on where it was; several runs into one folder add up.

    Without --config, methods run with the paper's settings on a GPU. Elsewhere they get small
    networks and short trainings, on a small simulated cohort where there is no --data. With
    --budget, trainings are as long, and networks as large, as the time allows. What you set
    yourself always counts, and a rerun into the same folder takes the same settings again. The time
    that a run takes is said before it trains.

    Examples:
    - `harmbench run --config demo`

    - `harmbench run --method dm --fold all --jobs 2`

    - `harmbench run --method all --budget 2h`

    - `harmbench run --method my_method.py:MyMethod --data scans.csv --rescale percentile`

    - `harmbench run --data study/ --target SITE-A --folds folds.tsv --method unet`
    """
    from harmbench.config import load_experiment, select_methods
    from harmbench.planning.durations import parse_duration
    from harmbench.runner.experiment import run_experiment

    budget_s = None if budget is None else parse_duration(budget)
    changes = {
        "folds.run": fold,
        "data.path": data,
        "data.source": source,
        "data.target": target,
        "data.direction": direction,
        "data.rescale": rescale,
        "split.train_group": train_group,
        "split.test_group": test_group,
        "split.leave_scanner_out": leave_scanner_out,
        "split.train_pairs": train_pairs,
        "train_subjects": _sizes(train_subjects),
        **selection.settings(),
        "seeds": None if seed is None else [seed],
        "jobs": jobs,
        "executor": executor,
        "isolate": isolate,
        "device": device,
        "devices": None if devices is None else devices.split(","),
        "scoring.segmenter": segmenter,
    }
    settings = {**given(changes), **_folds(folds)}
    experiment = _isolated(load_experiment(config_path(config), overrides or (), settings))
    summary = run_experiment(
        select_methods(experiment, method or ()),
        out,
        say=say,
        configured=config is not None,
        budget_s=budget_s,
    )
    say(f"{_done(summary)}: {summary.out / 'results.csv'}")
    say(f"next: harmbench report {summary.out}")
    raise typer.Exit(0 if summary.complete else 1)


def _folds(text: str | None) -> dict[str, object]:
    """Return the settings that `--folds` gives: a number, or a table; the other is unset."""
    if text is None:
        return {}
    if text.isascii() and text.lstrip("-").isdigit():
        return {"folds.k": int(text), "folds.file": None}
    return {"folds.k": None, "folds.file": Path(text)}


def _sizes(text: str | None) -> list[int | str] | None:
    """Return the numbers that `--train-subjects` gives; what is no number is found by validation."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    return [int(part) if part.isascii() and part.isdigit() else part for part in parts]


def rescore(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    overrides: Overrides = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
    device: Device = None,
    segmenter: SegmenterName = None,
) -> None:
    """Segment and score the stored volumes of a run again, without its methods.

    Example: `harmbench rescore runs/dm --set scoring.surface_backend=medpy`
    """
    from harmbench.runner.rescore import rescore_run

    changes = {"jobs": jobs, "device": device, "scoring.segmenter": segmenter}
    summary = rescore_run(out, overrides or (), given(changes), say=say)
    say(_done(summary))
    raise typer.Exit(0 if summary.complete else 1)


def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Report folder.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subject shown in slice panels.")] = None,
    effect: Effect = DEFAULT_EFFECT,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Figures at a time; by default one per core."),
    ] = None,
) -> None:
    """Write tables, figures and one self-contained page from stored results.

    Examples:
    - `harmbench report`

    - `harmbench report runs/dm runs/pgan --out comparison`
    """
    from harmbench.progress import Display
    from harmbench.report import make_report
    from harmbench.study.switch import Trial

    with Display("report", 1) as display:
        trial = Trial(effect_percent=effect)
        jobs = jobs or os.cpu_count() or 1
        page = make_report(runs or [DEFAULT_OUT], out, display, subject, trial, jobs)
    say(f"report: {page}")


def serve(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = DEFAULT_OUT,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes one that is free.")
    ] = 8765,
) -> None:
    """Serve a run's page to this machine, with every subject's volumes at full resolution.

    The server listens on 127.0.0.1 and shows nothing but this run. Ctrl-C ends it.

    Example: `harmbench serve runs/dm --port 0`
    """
    from harmbench.report.server import open_server

    with open_server(out, port) as server:
        try:
            say(f"page: {server.address} (Ctrl-C ends)")
            server.serve_forever()
        except KeyboardInterrupt:
            say("stopped")


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = Path(
        "harmbench-demo"
    ),
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
) -> None:
    """Run the benchmark on a small simulated cohort and report: minutes on two cores."""
    from harmbench.config import load_experiment
    from harmbench.runner.experiment import run_experiment

    experiment = load_experiment(config_path("demo"), (), given({"jobs": jobs}))
    summary = run_experiment(experiment, out, say=say)
    report([out])
    raise typer.Exit(0 if summary.complete else 1)


def _isolated(experiment: Experiment) -> Experiment:
    """Return an experiment whose cells run in processes of their own, unless it says otherwise."""
    if experiment.isolate is not None:
        return experiment
    return experiment.model_copy(update={"isolate": True})


def _done(summary: Summary) -> str:
    done = summary.cells - len(summary.failed) - len(summary.incomplete)
    missing = f", {len(summary.incomplete)} are incomplete" if summary.incomplete else ""
    return f"{done} of {summary.cells} cells are done{missing}"
