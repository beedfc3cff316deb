"""Commands on data sets and on scans: make, inspect, prepare, segment, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.cli.console import say, say_notes, show_table
from harmbench.cli.inspection import add_follow_ups, show_cohort
from harmbench.cli.options import (
    DEFAULT_EFFECT,
    Config,
    ContrastName,
    Data,
    Effect,
    Json,
    Overrides,
    Rescaling,
    SegmenterName,
    config_path,
    given,
    parse_rescale,
    parse_shape,
)
from harmbench.cli.selection import NO_SELECTION, Selection, takes_selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cohort", "prepare", "score", "segment"]


@takes_selection
def cohort(
    data: Data = None,
    config: Config = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a simulated cohort.")
    ] = None,
    rescans: Annotated[
        bool, typer.Option("--rescans", help="Simulated cohort: a second visit of each scanner.")
    ] = False,
    follow_ups: Annotated[
        bool,
        typer.Option(
            "--follow-ups",
            help="Simulated cohort: make follow-up visits with a true change of volume too.",
        ),
    ] = False,
    selection: Selection = NO_SELECTION,
    rescale: Rescaling = None,
    scans: Annotated[bool, typer.Option("--scans", help="List every scan too.")] = False,
    as_json: Json = False,
) -> None:
    """Make the simulated cohort, or inspect one: scanners, pairs, what is left out, every problem.

    Where the scanner of each scan is not clear, it says what to type.

    Examples:
    - `harmbench cohort --set data.phantom.subjects=8 --set data.phantom.spacing_mm=2 --out sim`

    - `harmbench cohort --rescans --follow-ups --set data.phantom.spacing_mm=2 --out sim`

    - `harmbench cohort --data scans.csv --scans`

    - `harmbench cohort --data bids/ --session-by ManufacturersModelName,SoftwareVersions`
    """
    from harmbench.config import load_experiment

    changes = {
        "data.path": data,
        "data.rescale": rescale,
        "data.phantom.rescans": rescans or None,
        **selection.settings(),
    }
    settings = load_experiment(config_path(config), overrides or (), given(changes)).data
    show_cohort(settings, out, scans=scans, as_json=as_json)
    if follow_ups:
        add_follow_ups(settings, out)


# Long: its options are its arguments, one a line.
@takes_selection
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
    selection: Selection = NO_SELECTION,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A YAML file: preparation settings, and data."),
    ] = None,
    overrides: Overrides = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Subjects at a time.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(min=0.1, help="Memory for all of them together, in GB.")
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

    - `harmbench prepare bids/ prepared/ --acquisition high --exclude 'qc == fail'`
    """
    from harmbench.config import load_preparation
    from harmbench.preparation.cohort import prepare_cohort

    changes = {
        "data.path": data,
        **selection.settings(),
        "strip.method": strip,
        "bias.method": bias,
        "registration.transform": registration,
        "registration.space": space,
        "registration.reference": reference,
        "spacing_mm": spacing,
    }
    wanted = given(changes)
    if crop is not None:
        # After `given`: a grid of None, for `none`, is a choice too.
        wanted["crop.shape"] = parse_shape(crop)
    preparation = load_preparation(config, overrides or (), wanted)
    summary = prepare_cohort(
        preparation.data,
        out,
        preparation.settings,
        jobs=jobs,
        memory_gb=memory,
        overwrite=overwrite,
        say=say,
    )
    say_notes(summary.notes)
    for subject, reason in summary.failed.items():
        say(f"failed: {subject}: {reason}")
    say(f"{len(summary.prepared)} subjects are prepared; look at {summary.page}")
    if summary.flagged:
        say(f"conspicuous: {', '.join(summary.flagged)}")
    if summary.prepared:
        own = preparation.data.bids.suffix.partition("_")[0]  # without `_defaced`
        say(f"next: harmbench run --data {out}{'' if own == 'T1w' else f' --suffix {own}'}")
    raise typer.Exit(1 if summary.failed else 0)


def segment(
    scan: Annotated[Path, typer.Argument(help="A skull-stripped scan.", metavar="IN.nii.gz")],
    labels: Annotated[Path, typer.Argument(help="Where labels go.", metavar="OUT.nii.gz")],
    segmenter: SegmenterName = "auto",
    contrast: ContrastName = "auto",
    rescale: Rescaling = "none",
    as_json: Json = False,
) -> None:
    """Segment one scan into CSF (1), grey matter (2) and white matter (3).

    Example: `harmbench segment brain.nii.gz labels.nii.gz --segmenter atropos`
    """
    from harmbench.runner.outside_labels import segment_scan

    rows = segment_scan(
        scan, labels, segmenter or "auto", parse_rescale(rescale), contrast, say=say
    )
    show_table(rows, as_json)


StudyOnly = Annotated[
    bool,
    typer.Option(
        "--study", help="Print agreement of volumes and the cost of a switch, not scores."
    ),
]


def score(
    volume: Annotated[Path, typer.Option(help="Harmonized volume, or a folder of them.")],
    reference: Annotated[Path, typer.Option(help="Real target scan, or a folder of them.")],
    source: Annotated[Path | None, typer.Option(help="What was harmonized.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a CSV file.")] = None,
    segmenter: SegmenterName = "auto",
    contrast: ContrastName = "auto",
    rescale: Rescaling = "none",
    stacking_axis: Annotated[int, typer.Option(min=0, max=2, help="Slices' axis.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Volumes at a time; one of 256x256x256 voxels takes 0.7 GB with hmrf, 2 GB with fast.",
        ),
    ] = None,
    study: StudyOnly = False,
    effect: Effect = DEFAULT_EFFECT,
    as_json: Json = False,
) -> None:
    """Score volumes that any tool produced, with every metric of a run.

    Folders are paired by file name. The table shows each metric's mean over the volumes, and with --source
    what the sources score themselves; --out and --json give every score. With --source they also have
    what volume corrections of the sources score, each person corrected by a fit on the other people. With
    three people or more, a second table, or --study alone, shows volumes as a study sees them, those of
    the corrections too.

    Example: `harmbench score --volume out/ --reference real/ --source input/ --out scores.csv`
    """
    from harmbench.results import FAILURES
    from harmbench.runner.outside import score_all
    from harmbench.runner.outside_corrections import correction_note
    from harmbench.runner.outside_files import find_triples, odd_triples
    from harmbench.runner.score_summary import summarize_scores
    from harmbench.segmentation import contrast_notes

    triples = find_triples(volume, reference, source)
    references = [triple.reference for triple in triples]
    say_notes((*odd_triples(triples), *contrast_notes(references, contrast)))
    frame = score_all(
        triples,
        segmenter or "auto",
        parse_rescale(rescale),
        stacking_axis=stacking_axis,
        out=out,
        jobs=jobs,
        contrast=contrast,
    )
    if not study:
        show_table(frame.to_dict("records") if as_json else summarize_scores(frame), as_json)
    if source is not None:
        say(correction_note(frame))
    _show_study(frame, effect, alone=study, as_json=as_json)
    if not as_json:
        every = f"scores: {out}" if out else "--out FILE writes every score"
        say(f"{frame['name'].nunique()} volumes; {every}")
    raise typer.Exit(1 if frame["status"].isin(FAILURES).any() else 0)


def _show_study(frame: pd.DataFrame, effect: float, *, alone: bool, as_json: bool) -> None:
    """Print volumes as a study sees them: after the table of scores, or alone."""
    from harmbench.runner.outside_study import FEWEST, study_of_scores, summarize_study
    from harmbench.study.switch import Trial

    found = study_of_scores(frame, Trial(effect_percent=effect))
    if alone and found.empty:
        say(f"fewer than {FEWEST} people with volumes: agreement is not known")
    if alone and as_json:
        show_table(found.to_dict("records"), as_json)
    elif not (as_json or found.empty):
        show_table(summarize_study(found), as_json=False)
