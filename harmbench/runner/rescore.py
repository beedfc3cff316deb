"""Scores of a run's stored volumes under other scoring settings, without its methods or a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harmbench.config import Experiment, load_experiment, write_experiment
from harmbench.errors import CohortError, ConfigError, RunError
from harmbench.folds import Folds
from harmbench.runner.cell import rescore_cell
from harmbench.runner.context import Bench
from harmbench.runner.experiment import (
    Summary,
    collect,
    damaged_scores,
    run_cells,
    segment_real_scans,
    torch_device,
)
from harmbench.runner.folder import RunFolder
from harmbench.runner.leftovers import sweep
from harmbench.runner.provenance import now
from harmbench.runner.records import keys_of_inputs, new_invocation, note_end
from harmbench.segmentation import find_contrast, make_segmenter
from harmbench.storage import file_key

__all__ = ["rescore_run"]


def rescore_run(
    out: Path,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    say: Any = print,
) -> Summary:
    """Segment and score the stored volumes of a run again where that is not current.

    Nothing is fitted and no method is loaded: this is for other scoring settings, another segmenter,
    or a newer harmbench.

    Args:
        out: the run folder.
        overrides: such as `scoring.surface_backend=medpy`.
        changes: dotted name to value, as for `load_experiment`.
        say: told what happens.

    Raises:
        HarmbenchError: not a run folder; a setting that scoring does not depend on; or real scans
            are gone or have changed. Nothing was written.
    """
    folder = RunFolder(out.absolute())
    run = folder.read_record()
    experiment = _experiment(folder, overrides, changes or {})
    device = torch_device(experiment.device)
    cells = [cell for cell, _ in folder.cells()]
    if not cells:
        raise RunError(f"{out}: the run has no cells to score")
    inputs = folder.input_table()
    _check_inputs(inputs)
    contrast = find_contrast(map(Path, inputs["path"]), experiment.scoring.contrast)
    segmenter = make_segmenter(experiment.scoring.segmenter, contrast=contrast)
    folds = folder.fold_table()
    invocation = new_invocation(device, experiment)
    bench = Bench(
        root=folder.root,
        experiment=experiment,
        folds=Folds(
            run["folds"]["k"],
            run["folds"]["seed"],
            dict(zip(folds["subject"], folds["fold"].astype(int), strict=True)),
        ),
        groups=dict(zip(folds["subject"], folds["group"], strict=True)),
        input_keys=keys_of_inputs(inputs),
        segmenter=segmenter.name,
        device=device,
        contrast=contrast,
        invocation=str(invocation["id"]),
    )
    say(f"{len(cells)} cells to score on {device}")
    say(f"segmenter: {segmenter.name} ({segmenter.version}), {contrast}")
    sweep(folder.root)
    write_experiment(experiment, folder.config)

    def begin(record: dict[str, Any]) -> None:
        record["segmenter"] = {
            "name": segmenter.name,
            "version": segmenter.version,
            "contrast": contrast,
        }
        record["stacking_axis"] = experiment.scoring.stacking_axis
        record["invocations"] = [*record.get("invocations", []), invocation]

    folder.update_record(begin)
    directions = list(dict.fromkeys(cell.direction for cell in cells))
    segment_real_scans(bench, directions, sorted({cell.fold for cell in cells}), say)
    failed, incomplete = run_cells(bench, cells, say=say, work=rescore_cell)
    collect(folder)
    for problem in damaged_scores(folder):
        say(problem)
    counts = {"cells": len(cells), "failed": len(failed), "incomplete": len(incomplete)}
    note_end(folder, bench.invocation, {"finished": now(), **counts})
    return Summary(out, len(cells), failed, incomplete)


def _experiment(
    folder: RunFolder, overrides: Sequence[str], changes: Mapping[str, Any]
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


def _check_inputs(inputs: pd.DataFrame) -> None:
    """Raise `CohortError`, listing every problem, unless real scans are as the run found them."""
    problems = []
    for row in inputs.to_dict("records"):
        for path, key in ((row["path"], row["sha256"]), (row["mask"], row["mask_sha256"])):
            if path and not Path(path).is_file():
                problems.append(f"{path} is gone")
            elif path and file_key(Path(path)) != key:
                problems.append(f"{path} has changed since the run")
    if problems:
        raise CohortError("the run's real scans are needed to score against:", problems)
