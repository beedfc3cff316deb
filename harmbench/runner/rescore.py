"""Scores of a run's stored volumes under other scoring settings, without its methods or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harmbench.config import Experiment, load_experiment
from harmbench.errors import CohortError, ConfigError, RunError
from harmbench.folds import Folds
from harmbench.results import RESCAN
from harmbench.runner.cell import rescore_cell
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.context import RunContext
from harmbench.runner.corrections import correct_volumes
from harmbench.runner.executor import cells_executor
from harmbench.runner.experiment import Summary, conclude, torch_device
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.grid import run_cells
from harmbench.runner.inputs import InputScans, keys_of_inputs
from harmbench.runner.invocations import begin_rescore, new_invocation
from harmbench.runner.leftovers import sweep
from harmbench.runner.pairs import CellSplit
from harmbench.runner.recorded_split import recorded_folds, recorded_split
from harmbench.segmentation import choose_segmenter, find_contrast, make_segmenter
from harmbench.storage import file_key
from harmbench.task import Direction

__all__ = ["rescore_run"]


def rescore_run(
    out: Path,
    overrides: Sequence[str] = (),
    changes: Mapping[str, object] | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Segment and score the stored volumes of a run again where that is not current.

    Nothing is fitted and no method is loaded: this is for other scoring settings, another segmenter,
    or a newer harmbench.

    Args:
        out: the run folder.
        overrides: such as `scoring.surface_backend=medpy`.
        changes: dotted name to value, as for `load_experiment`.
        say: called with each status line.

    Raises:
        HarmbenchError: not a run folder; a setting that scoring does not depend on; or real scans
            are gone or have changed. Nothing was written.
    """
    folder = RunFolder(out.absolute())
    run = folder.read_record()
    experiment = _experiment(folder, overrides, changes or {})
    device = torch_device(experiment.device)
    found = dict(folder.all_cells())
    if not found:
        raise RunError(f"{out}: the run has no cells to score")
    inputs = folder.input_scans()
    _check_inputs(inputs)
    paths = [scan.path for scan in inputs.scans.values()]
    contrast = find_contrast(paths, experiment.scoring.contrast)
    chosen = choose_segmenter(experiment.scoring.segmenter)
    segmenter = make_segmenter(chosen, contrast=contrast)
    invocation = new_invocation(device, experiment)
    folds, groups = recorded_folds(folder, run)
    splits = _splits(found, folds)
    context = RunContext(
        root=folder.root,
        experiment=experiment,
        folds=folds,
        splits=splits,
        groups=groups,
        inputs=inputs,
        input_keys=keys_of_inputs(inputs),
        segmenter=segmenter.name,
        segmenter_reference=chosen,
        device=device,
        contrast=contrast,
        invocation=invocation.id,
    )
    say(f"{len(found)} cells to score on {device}")
    say(f"segmenter: {segmenter.name} ({segmenter.version}), {contrast}")
    sweep(folder.root)
    begin_rescore(context, invocation)
    executor = cells_executor(experiment, trains=False)
    images, volumes = _by_kind(found)
    corrected = correct_volumes(context, executor, say, volumes)
    ends = corrected.joined(run_cells(context, images, say, executor, rescore_cell))
    return conclude(context, out, len(images) + corrected.named, ends, say)


def _by_kind(found: Mapping[Cell, CellRecord]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of methods that map images, and those of volume corrections."""
    volumes = [cell for cell, record in found.items() if record.maps == "volumes"]
    return [cell for cell in found if cell not in volumes], volumes


def _splits(
    found: Mapping[Cell, CellRecord], folds: Folds
) -> dict[tuple[Direction, int], CellSplit]:
    """Return what the cells were tested on; that of a rescan is a part of what methods were."""
    return {
        (cell.direction, cell.fold): recorded_split(cell, own, folds)
        for cell, own in found.items()
        if cell.method != RESCAN
    }


def _experiment(
    folder: RunFolder, overrides: Sequence[str], changes: Mapping[str, object]
) -> Experiment:
    """Return the run's settings with what is changed; only scoring may be."""
    before = load_experiment(folder.config)
    wanted = load_experiment(folder.config, overrides, changes)
    free = {name: getattr(wanted, name) for name in ("scoring", "jobs", "device")}
    if before.model_copy(update=free) != wanted:
        raise ConfigError("only scoring.*, jobs and device can be changed for stored volumes")
    if before.scoring.mask_background != wanted.scoring.mask_background:
        raise ConfigError(
            "scoring.mask_background is a part of how volumes were stored; "
            "give it to `harmbench run` instead"
        )
    return wanted


def _check_inputs(inputs: InputScans) -> None:
    """Raise `CohortError`, listing every problem, unless real scans are as the run found them."""
    problems = []
    for scan in inputs.scans.values():
        for path, key in (
            (scan.path, scan.sha256),
            (scan.mask, scan.mask_sha256),
            (scan.lesions, scan.lesions_sha256),
        ):
            if path is None:
                continue
            if not path.is_file():
                problems.append(f"{path} is gone")
            elif file_key(path) != key:
                problems.append(f"{path} has changed since the run")
    if problems:
        raise CohortError("the run's real scans are needed to score against:", problems)
