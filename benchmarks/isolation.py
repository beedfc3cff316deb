"""Measure what processes of their own cost: processor's seconds for each worker, and for a whole run.

    python benchmarks/isolation.py [--workers 8] [--repeats 3]

Workers that need harmbench and PyTorch are started by forks of a server that has imported both, and as new
interpreters. Then a small grid of seven methods runs with and without processes of its own. Printed are
the median seconds of the processor, of all processes together, and their ratios within this run.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from tabulate import tabulate

from harmbench.contract import tiny_pairs
from harmbench.executors import LocalExecutor
from harmbench.executors.serving import StartMethod
from harmbench.progress import Display
from harmbench.task import Progress
from harmbench.volume import write

METHODS = 7
ADAPTER = """
from harmbench.method import Method


class Half(Method):
    title = "Half"

    def harmonize(self, source, task):
        return source.with_data(source.data * 0.5)
"""
SEGMENTER = """
import numpy as np


class Levels:
    name, version, contrasts = "levels", "1", ("T1w",)

    def __init__(self, *, device, contrast): ...

    def segment(self, volume):
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        cuts = [1e-6, low + 0.15 * extent, low + 0.35 * extent]
        labels = np.digitize(volume.data, cuts).astype(np.uint8)
        return volume.with_data(labels, kind="label")
"""


def processor_s(work: Callable[[], object]) -> float:
    """Return the processor's seconds of a call and of the processes that it waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before = [resource.getrusage(kind) for kind in kinds]
    work()
    after = [resource.getrusage(kind) for kind in kinds]
    return sum(
        two.ru_utime + two.ru_stime - one.ru_utime - one.ru_stime
        for one, two in zip(before, after, strict=True)
    )


def imports() -> None:
    """Import what a cell needs."""
    for name in ("torch", "harmbench.runner.grid"):
        import_module(name)


def needs_torch(item: int, _: Progress) -> float:
    """Return a number that PyTorch made."""
    imports()
    return float(sys.modules["torch"].ones(2).sum()) + item


def start_workers(count: int, start: StartMethod) -> None:
    """Start so many workers, one after another."""
    executor = LocalExecutor(1, isolated=True, warm_up=imports, start=start)
    with Display("workers", count, Console(quiet=True)) as display:
        for _ in executor.run(needs_torch, range(count), display, kin=lambda item: item):
            pass


def worker_rows(count: int, repeats: int) -> list[list[float | str]]:
    """Return a row for each way to start workers: seconds for each beyond the first, and the ratio."""
    found = {}
    for start in ("spawn", "fork"):
        times = [
            processor_s(partial(start_workers, count + 1, start))
            - processor_s(partial(start_workers, 1, start))
            for _ in range(repeats)
        ]
        found[start] = statistics.median(times) / count
    peer = found["spawn"]
    return [[name, seconds, seconds / peer] for name, seconds in found.items()]


def make_grid(folder: Path) -> list[str]:
    """Write the scans and the settings of a small grid; return the command that runs it."""
    with (folder / "scans.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", "group", "session", "path"])
        for number, pair in enumerate(tiny_pairs(4)):
            for session, volume in (("A", pair.source), ("B", pair.target)):
                write(volume, folder / f"s{number}_{session}.nii.gz")
                table.writerow([f"s{number}", "HC", session, f"s{number}_{session}.nii.gz"])
    (folder / "half.py").write_text(ADAPTER)
    (folder / "levels.py").write_text(SEGMENTER)
    methods = ", ".join(f"m{n}: {{uses: '{folder}/half.py:Half'}}" for n in range(METHODS))
    (folder / "run.yaml").write_text(
        "data: {path: scans.csv}\nfolds: {k: 2, run: '0'}\ndevice: cpu\nvolume_controls: []\n"
        f"ceiling: false\ncontrols: []\nscoring: {{segmenter: '{folder}/levels.py:Levels'}}\n"
        f"methods: {{{methods}}}\n"
    )
    return [sys.executable, "-m", "harmbench", "run", "--config", str(folder / "run.yaml")]


def run_rows(repeats: int) -> list[list[float | str]]:
    """Return a row for a run in one process, and one for processes of its own."""
    found: dict[str, list[float]] = {"--no-isolate": [], "--isolate": []}
    with TemporaryDirectory() as place:
        command = make_grid(Path(place))
        for number in range(repeats):
            for option, times in found.items():
                out = Path(place) / f"out{option}-{number}"
                call = partial(
                    subprocess.run,
                    [*command, option, "--out", str(out)],
                    check=True,
                    capture_output=True,
                    env=os.environ,
                )
                times.append(processor_s(call))
    medians = {option: statistics.median(times) for option, times in found.items()}
    peer = medians["--no-isolate"]
    return [[option, seconds, seconds / peer] for option, seconds in medians.items()]


def main() -> int:
    """Print one table of workers, and one of runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=8, help="workers of each kind")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each")
    options = parser.parse_args()
    for title, rows, peer in (
        ("a worker", worker_rows(options.workers, options.repeats), "of spawn's"),
        (f"a run of {METHODS} methods", run_rows(options.repeats), "of --no-isolate's"),
    ):
        print(f"\n{title}\n")
        print(tabulate(rows, ["how", "processor s", peer], "github", floatfmt=".3g"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
