"""Commands on trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmbench.cli.console import say
from harmbench.cli.options import Device, one_of

__all__ = ["apply", "export"]


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
    from harmbench.progress import Display
    from harmbench.trained import load_model
    from harmbench.trained.apply import apply_model
    from harmbench.trained.scans import ApplyOptions, InputKind, Units
    from harmbench.training import resolve_device

    options = ApplyOptions(
        input=one_of(kind, InputKind, "input"),
        units=one_of(units, Units, "units"),
        n_samples=n_samples,
        seed=seed,
        force=force,
    )
    with Display("apply", len(scans)) as display:
        trained = load_model(model, str(resolve_device(device or "auto")), display, method=method)
        written = apply_model(trained, scans, out, options, mask or (), say=say)
    for path in written:
        print(path)


def export(
    cell: Annotated[Path, typer.Argument(help="A cell's folder in a run folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the model.")],
) -> None:
    """Write a trained model into one folder that stands alone: weights, record, model card.

    Example: `harmbench export harmbench-run/cells/dm/3T-to-1.5T/fold-0/seed-0 --out my-model`
    """
    from harmbench.progress import Display
    from harmbench.trained import export_model

    with Display("export", 1) as display:
        folder = export_model(cell, out, display)
    print(folder)
