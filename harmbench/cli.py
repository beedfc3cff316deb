"""The command line: each command is a few lines over the public API.

Modules are imported inside the commands, so that `--help` answers before torch, nibabel and pandas
are loaded.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harmbench.console import fail, print_json, say, show_table
from harmbench.errors import ConfigError, HarmbenchError, suggest

__all__ = [
    "app",
    "apply",
    "check_method",
    "cohort",
    "demo",
    "doctor",
    "export",
    "main",
    "methods",
    "metrics",
    "new_method",
    "prepare",
    "report",
    "rescore",
    "run",
    "score",
    "segment",
]

_EPILOG = (
    "Exit codes: 0 success; 1 the work ended but a cell or check failed; 2 wrong usage or input, "
    "nothing was done; 3 an error of the system (disk full, no permission) or in harmbench itself; "
    "130 interrupted. "
    "`--debug`, anywhere, shows tracebacks."
)

app = typer.Typer(
    name="harmbench",
    help="A benchmark of MRI contrast harmonization methods.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Config = Annotated[
    str | None,
    typer.Option("--config", "-c", help="A YAML file, or a built-in one: demo, paper."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: a.b=c (repeatable).", metavar="NAME=VALUE"),
]
Data = Annotated[
    Path | None,
    typer.Option(help="A manifest (.csv) or a BIDS folder; without it, the simulated cohort."),
]
Rescaling = Annotated[
    str | None,
    typer.Option(help="none: scans are in [0, 1]; percentile: clip and scale each scan's brain."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
SegmenterName = Annotated[
    str | None, typer.Option("--segmenter", help="auto, or a segmenter that `doctor` lists.")
]
_DEFAULT_OUT = Path("harmbench-run")
_INTERRUPTED = 130


@app.command()
def run(
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="A method, FILE.py:CLASS, or all (repeatable)."),
    ] = None,
    fold: Annotated[str | None, typer.Option(help="all, or fold numbers: 0,2.")] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds.")] = None,
    direction: Annotated[str | None, typer.Option(help="both, or SOURCE-to-TARGET.")] = None,
    data: Data = None,
    source: Annotated[str | None, typer.Option(help="Session to map from.")] = None,
    target: Annotated[str | None, typer.Option(help="Session to map to.")] = None,
    rescale: Rescaling = None,
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = _DEFAULT_OUT,
    seed: Annotated[int | None, typer.Option(help="Seed of the methods.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
    device: Device = None,
    segmenter: SegmenterName = None,
) -> None:
    """Train, harmonize, segment and score: every cell that is not current.

    A run that was stopped goes on where it was; several runs into one folder add up.

    Examples:
    - `harmbench run --config demo`

    - `harmbench run --method dm --fold all --jobs 2`

    - `harmbench run --method my_method.py:MyMethod --data scans.csv --rescale percentile`
    """
    from harmbench.config import load_experiment, select_methods
    from harmbench.grid import run_experiment

    changes = {
        "folds.run": fold,
        "folds.k": folds,
        "data.path": data,
        "data.source": source,
        "data.target": target,
        "data.direction": direction,
        "data.rescale": rescale,
        "seeds": None if seed is None else [seed],
        "jobs": jobs,
        "device": device,
        "scoring.segmenter": segmenter,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    experiment = load_experiment(_config_path(config), overrides or (), given)
    summary = run_experiment(select_methods(experiment, method or ()), out, say=say)
    done = summary.cells - len(summary.failed)
    say(f"{done} of {summary.cells} cells are done: {summary.out / 'results.csv'}")
    say(f"next: harmbench report {summary.out}")
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
def rescore(
    out: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")] = _DEFAULT_OUT,
    overrides: Overrides = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
    device: Device = None,
    segmenter: SegmenterName = None,
) -> None:
    """Segment and score the stored volumes of a run again, without its methods.

    Example: `harmbench rescore runs/dm --set scoring.surface_backend=medpy`
    """
    from harmbench.rescoring import rescore_run

    changes = {"jobs": jobs, "device": device, "scoring.segmenter": segmenter}
    given = {name: value for name, value in changes.items() if value is not None}
    summary = rescore_run(out, overrides or (), given, say=say)
    say(f"{summary.cells - len(summary.failed)} of {summary.cells} cells are done")
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Report folder.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subject shown in slice panels.")] = None,
) -> None:
    """Write tables, figures and one self-contained page from stored results.

    Examples:
    - `harmbench report`

    - `harmbench report runs/dm runs/pgan --out comparison`
    """
    from harmbench.progress import Display
    from harmbench.report import make_report

    with Display("report", 1) as display:
        page = make_report(runs or [_DEFAULT_OUT], out, progress=display, lead_subject=subject)
    say(f"report: {page}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder.")] = Path(
        "harmbench-demo"
    ),
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Cells at a time.")] = None,
) -> None:
    """Run the benchmark on a small simulated cohort and report: minutes on two cores."""
    from harmbench.config import load_experiment
    from harmbench.grid import run_experiment

    changes = {} if jobs is None else {"jobs": jobs}
    summary = run_experiment(load_experiment(_config_path("demo"), (), changes), out, say=say)
    report([out])
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="A method, or FILE.py:CLASS.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods; with a name, its settings, source and parameter counts."""
    from harmbench.method import available_methods, load_method

    if name is None:
        rows = []
        for label, point in available_methods().items():
            kind = load_method(label)
            row = {"method": label, "title": kind.title, "class": point.value}
            rows.append({**row, "reference": kind.reference})
        show_table(rows, as_json)
        return
    kind = load_method(name)
    settings = [
        {
            "setting": key,
            "default": field.get_default(call_default_factory=True),
            "description": field.description or "",
        }
        for key, field in kind.Config.model_fields.items()
    ]
    counts = dict(kind().parameter_counts())
    if as_json:
        described = {"method": name, "title": kind.title, "reference": kind.reference}
        print_json({**described, "parameters": counts, "settings": settings})
        return
    print(f"{name}: {kind.title}\nsource: {kind.reference or '-'}")
    print("parameters: " + (", ".join(f"{k} {v:,}" for k, v in counts.items()) or "none"))
    show_table(settings, as_json)


@app.command()
def metrics(as_json: Json = False) -> None:
    """List the metrics with unit, range and the direction that is better."""
    from dataclasses import asdict

    from harmbench.metrics.suite import METRICS

    show_table([asdict(metric) for metric in METRICS.values()], as_json)


@app.command(name="new-method")
def new_method(
    name: Annotated[str, typer.Argument(help="Such as my_method.")],
    folder: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
) -> None:
    """Write a working method adapter and its test, to start from."""
    from harmbench.scaffold import new_method as write_method

    adapter, test, cls = write_method(name, folder)
    print(f"wrote {adapter} and {test}; next:")
    print(f"  harmbench check-method {adapter}:{cls}")
    print(f"  harmbench run --method {adapter}:{cls} --config demo")


@app.command(name="check-method")
def check_method(
    name: Annotated[str, typer.Argument(help="A method, or FILE.py:CLASS.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Run the contract's tests on a method: grid, range, seed, save and load, resume.

    Example: `harmbench check-method my_method.py:MyMethod --set degree=2`
    """
    from harmbench.config import parse_overrides
    from harmbench.contract import check_method as check
    from harmbench.method import load_method

    checks = check(load_method(name), parse_overrides(overrides or ()))
    rows = [
        {"check": c.name, "result": "passed" if c.passed else "FAILED", "detail": c.detail}
        for c in checks
    ]
    show_table(rows, as_json)
    raise typer.Exit(0 if all(c.passed for c in checks) else 1)


@app.command()
def cohort(
    data: Data = None,
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a simulated cohort.")
    ] = None,
    rescale: Rescaling = None,
    as_json: Json = False,
) -> None:
    """Make the simulated cohort, or inspect one: subjects, groups, sessions, and every problem.

    Examples:
    - `harmbench cohort --set data.phantom.subjects=8 --set data.phantom.spacing_mm=2 --out sim`

    - `harmbench cohort --data scans.csv`
    """
    from harmbench.cohorts.data import describe_cohort
    from harmbench.config import load_experiment
    from harmbench.progress import Display

    given = {"data.path": data, "data.rescale": rescale}
    given = {name: value for name, value in given.items() if value is not None}
    settings = load_experiment(_config_path(config), overrides or (), given).data
    with Display("cohort", 1) as display:
        rows = describe_cohort(settings, out, display)
    show_table(rows, as_json)


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="A manifest (.csv) or a BIDS folder of raw scans.")],
    out: Annotated[Path, typer.Argument(help="Folder of the prepared data set (BIDS derivative).")],
    strip: Annotated[
        str | None, typer.Option(help="Skull stripper: deepbet, hd-bet, bet, mask or none.")
    ] = None,
    bias: Annotated[str | None, typer.Option(help="Bias field correction: n4 or none.")] = None,
    registration: Annotated[
        str | None, typer.Option(help="deformable, affine, rigid or none.")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="reference, or halfway: both sessions are interpolated alike."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Session that the others are brought to.")
    ] = None,
    spacing: Annotated[float | None, typer.Option(help="Voxel size in mm.")] = None,
    crop: Annotated[
        str | None, typer.Option(help="Common grid in voxels, such as 160x224x224, or none.")
    ] = None,
    session_by: Annotated[
        str | None,
        typer.Option(help="What tells BIDS sessions apart: label, or a sidecar field."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A YAML file with preparation settings.")
    ] = None,
    overrides: Overrides = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Subjects at a time.")] = None,
    memory: Annotated[
        float | None, typer.Option(help="Memory for all of them together, in GB.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Prepare anew what OUT holds with other settings.")
    ] = False,
) -> None:
    """Prepare raw scans: strip, correct bias, register, resample once, scale to [0, 1], crop.

    A command that was stopped goes on where it was. Look at OUT/qc.html before you trust the result.

    Examples:
    - `harmbench prepare bids/ prepared/`

    - `harmbench prepare scans.csv prepared/ --registration rigid --space halfway`

    - `harmbench prepare bids/ prepared/ --session-by MagneticFieldStrength --set bias.spline_mm=150`
    """
    from harmbench.cohorts.bids import BidsSettings
    from harmbench.cohorts.data import DataSettings
    from harmbench.config import load_preparation
    from harmbench.prepare import prepare_cohort

    changes: dict[str, Any] = {
        "strip.method": strip,
        "bias.method": bias,
        "registration.transform": registration,
        "registration.space": space,
        "registration.reference": reference,
        "spacing_mm": spacing,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if crop is not None:
        given["crop.shape"] = _shape(crop)
    settings = load_preparation(config, overrides or (), given)
    bids = BidsSettings() if session_by is None else BidsSettings(session_by=session_by)
    summary = prepare_cohort(
        DataSettings(path=data, bids=bids),
        out,
        settings,
        jobs=jobs,
        memory_gb=memory,
        overwrite=overwrite,
        say=say,
    )
    for subject, reason in summary.failed.items():
        say(f"failed: {subject}: {reason}")
    say(f"{len(summary.prepared)} subjects are prepared; look at {summary.page}")
    if summary.flagged:
        say(f"conspicuous: {', '.join(summary.flagged)}")
    if summary.prepared:
        say(f"next: harmbench run --data {out}")
    raise typer.Exit(1 if summary.failed else 0)


@app.command()
def segment(
    scan: Annotated[Path, typer.Argument(help="A skull-stripped scan.", metavar="IN.nii.gz")],
    labels: Annotated[Path, typer.Argument(help="Where labels go.", metavar="OUT.nii.gz")],
    segmenter: SegmenterName = "auto",
    rescale: Rescaling = "none",
    as_json: Json = False,
) -> None:
    """Segment one scan into CSF (1), grey matter (2) and white matter (3).

    Example: `harmbench segment brain.nii.gz labels.nii.gz --segmenter atropos`
    """
    from harmbench.outside import segment_scan

    show_table(segment_scan(scan, labels, segmenter or "auto", _rescale(rescale)), as_json)


@app.command()
def score(
    volume: Annotated[Path, typer.Option(help="Harmonized volume, or a folder of them.")],
    reference: Annotated[Path, typer.Option(help="Real target scan, or a folder of them.")],
    source: Annotated[Path | None, typer.Option(help="What was harmonized.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a CSV file.")] = None,
    segmenter: SegmenterName = "auto",
    rescale: Rescaling = "none",
    stacking_axis: Annotated[int, typer.Option(min=0, max=2, help="Slices' axis.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Volumes at a time, 1 GB each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score volumes that any tool produced, with every metric of a run.

    Folders are paired by file name.

    Example: `harmbench score --volume out/ --reference real/ --source input/ --out scores.csv`
    """
    from harmbench.outside import find_triples, score_all

    triples = find_triples(volume, reference, source)
    frame = score_all(
        triples,
        segmenter or "auto",
        _rescale(rescale),
        stacking_axis=stacking_axis,
        out=out,
        jobs=jobs,
    )
    show_table(frame.to_dict("records"), as_json)
    raise typer.Exit(1 if (frame["status"] == "failed").any() else 0)


@app.command()
def apply(
    model: Annotated[Path, typer.Argument(help="A cell's folder, or an exported model.")],
    scans: Annotated[list[Path], typer.Argument(help="Scans in the source contrast.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where outputs go.")] = Path(),
    kind: Annotated[
        str, typer.Option("--input", help="auto, raw, or prepared: what the scans are.")
    ] = "auto",
    units: Annotated[
        str, typer.Option(help="Intensities of what is made of raw scans: prepared, or scan.")
    ] = "prepared",
    mask: Annotated[
        list[Path] | None, typer.Option(help="Brain mask, one for each scan in order (repeatable).")
    ] = None,
    n_samples: Annotated[
        int, typer.Option(min=1, help="Harmonize so many times; write mean and spread.")
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="Of the first sample; default: training's.")] = (
        None
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Also scans that the model was not trained for.")
    ] = False,
    method: Annotated[
        str | None, typer.Option(help="FILE.py:CLASS, where the method is not an installed one.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Harmonize new scans, raw or prepared, with a trained model; outputs lie on the scan's grid.

    Raw scans are prepared as the training scans were; what the model was not trained for is refused.

    Examples:
    - `harmbench apply harmbench-run/cells/dm/3T-to-1.5T/fold-0/seed-0 scan.nii.gz --out new`

    - `harmbench apply my-model scan.nii.gz --n-samples 10 --units scan --out new`
    """
    from harmbench.apply import ApplyOptions, InputKind, Units, apply_model
    from harmbench.models import load_model
    from harmbench.progress import Display
    from harmbench.training import resolve_device

    options = ApplyOptions(
        input=_one_of(kind, InputKind, "input"),
        units=_one_of(units, Units, "units"),
        n_samples=n_samples,
        seed=seed,
        force=force,
    )
    with Display("apply", len(scans)) as display:
        trained = load_model(model, str(resolve_device(device or "auto")), display, method=method)
        written = apply_model(trained, scans, out, options, mask or (), say=say)
    for path in written:
        print(path)


@app.command()
def export(
    cell: Annotated[Path, typer.Argument(help="A cell's folder in a run folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the model.")],
) -> None:
    """Write a trained model into one folder that stands alone: weights, record, model card.

    Example: `harmbench export harmbench-run/cells/dm/3T-to-1.5T/fold-0/seed-0 --out my-model`
    """
    from harmbench.models import export_model
    from harmbench.progress import Display

    with Display("export", 1) as display:
        folder = export_model(cell, out, display)
    print(folder)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this installation can do: FSL, GPU, methods, versions."""
    from dataclasses import asdict

    from harmbench.doctor import examine

    findings = examine()
    show_table([asdict(finding) for finding in findings], as_json)
    raise typer.Exit(1 if any(finding.state == "broken" for finding in findings) else 0)


def _config_path(config: str | None) -> Path | None:
    """Return the file of a built-in configuration's name, or the path as it is."""
    if config is None:
        return None
    from importlib.resources import files

    built_in = Path(str(files("harmbench.configs") / f"{config}.yaml"))
    return built_in if "/" not in config and built_in.is_file() else Path(config)


def _shape(text: str) -> tuple[int, ...] | None:
    """Read `160x224x224`; `none` is `None`."""
    parts = text.split("x")
    if text == "none":
        return None
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ConfigError(f"crop '{text}': expected three numbers such as 160x224x224, or none")
    return tuple(int(part) for part in parts)


def _rescale(text: str | None) -> Any:
    from harmbench.cohorts.base import Rescale

    return _one_of(text, Rescale, "rescale")


def _one_of(text: str | None, choices: Any, name: str) -> Any:
    from typing import get_args

    allowed = get_args(choices)
    if text not in allowed:
        raise ConfigError(f"{name} '{text}'; {suggest(str(text), allowed)}")
    return text


def main() -> None:
    """Run the command line; errors that harmbench raises on purpose become one readable line."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except HarmbenchError as error:
        fail(error, f"error: {error}", 2, debug)
    except SystemExit as ended:
        # typer has turned the interrupt into this code, silently.
        if ended.code == _INTERRUPTED:
            say("interrupted; the same command goes on from here")
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(error, f"system error: {where}{error.strerror or error}", 3, debug)
    except Exception as error:  # noqa: BLE001 - the last door
        text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
        fail(error, text, 3, debug)
