"""What volume corrections and the tables of a study cost, as a share of a run's time.

    python benchmarks/study_cost.py                        # 8 simulated subjects at 4 mm, unet for 100 steps
    python benchmarks/study_cost.py --spacing 2 --iterations 300
    python benchmarks/study_cost.py --iterations 0         # controls alone: the cheapest run that there is

One run is measured, with its report's tables, in one process: the time of this process and its children on
the processors. Three parts are measured apart:

- *corrections*: fitting all volume corrections, choosing among them by cross-validation, and their scores;
- *study tables*: every table on the agreement and worth of volumes and on what a study asks;
- *whole run*: everything from the scans to the scores, corrections included.

Scans are segmented for methods and corrections alike; that is no part of the corrections. A run of one fold
also segments the training subjects' scans, which `--fold` measures.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tabulate import tabulate

from harmbench.config import load_experiment
from harmbench.metrics.lesion_declarations import ALL_METRICS
from harmbench.report.loading import load_evidence
from harmbench.report.tables.study import every_study_table
from harmbench.runner import corrections
from harmbench.runner.experiment import run_experiment

T = TypeVar("T")

MOST_PERCENT = 10.0
"""What corrections and tables may cost, in percent of the run."""


def used_s() -> float:
    """Return the seconds that this process and its finished children spent on the processors."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work gives, and the seconds that it took on the processors."""
    before = used_s()
    return work(), used_s() - before


def measure(out: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Run the benchmark and return the seconds of each part."""
    settings = [
        f"data.phantom.subjects={arguments.subjects}",
        f"data.phantom.spacing_mm={arguments.spacing}",
        f"folds.k={arguments.folds}",
        "device=cpu",
        *(["folds.run=0"] if arguments.fold else []),
    ]
    if arguments.iterations:
        settings += [f"methods.unet.iterations={arguments.iterations}", "methods.unet.warmup=10"]
        settings += ["methods.unet.channels=[8, 16, 32]"]
    experiment = load_experiment(None, settings)
    spent = 0.0
    run_cells = corrections.run_volume_cells

    def watched(*given: object, **named: object) -> object:
        nonlocal spent
        found, seconds = timed(lambda: run_cells(*given, **named))  # type: ignore[arg-type] # as called
        spent += seconds
        return found

    corrections.run_volume_cells = watched  # type: ignore[assignment] # the same function, timed
    try:
        _, whole = timed(lambda: run_experiment(experiment, out, say=lambda _: None))
    finally:
        corrections.run_volume_cells = run_cells
    evidence = load_evidence([out], ALL_METRICS)
    _, tables = timed(lambda: list(every_study_table(evidence)))
    return {"corrections": spent, "study tables": tables, "whole run": whole}


def main() -> None:
    """Measure, print, and end with 1 where the corrections and tables cost too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=8)
    parser.add_argument("--spacing", type=float, default=4.0, help="voxel size in mm")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=100, help="of unet; 0: controls alone")
    parser.add_argument("--fold", action="store_true", help="run the first fold alone")
    arguments = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "run", arguments)
    whole = found["whole run"]
    rows = [(name, f"{s:.2f}", f"{100 * s / whole:.1f}") for name, s in found.items()]
    print(tabulate(rows, headers=["part", "CPU s", "% of the run"], disable_numparse=True))
    share = 100 * (found["corrections"] + found["study tables"]) / whole
    print(
        f"corrections and tables: {share:.1f} % of the run (wall {time.perf_counter() - began:.0f} s)"
    )
    raise SystemExit(share > MOST_PERCENT)


if __name__ == "__main__":
    main()
