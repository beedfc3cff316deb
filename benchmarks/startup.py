"""Measure how soon commands answer that need no network: seconds, and parts of an import of torch.

    python benchmarks/startup.py [--repeats 5]

Each command runs in a new process, with byte code that Python keeps and without (as on a file system
that it cannot write to). Printed are the median seconds that pass, and of the processor's time; the
ratios are to `import torch`, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory

from tabulate import tabulate

COMMANDS = ("--help", "--version", "methods", "metrics", "doctor")
TORCH = "import torch"


def seconds_of(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """Return the seconds that pass until a command has ended, and those of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    passed = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(environment: Mapping[str, str], repeats: int) -> list[list[float | str]]:
    """Return a row for each command: its name, its seconds and its ratios to an import of torch."""
    python = sys.executable
    programs = {TORCH: [python, "-c", TORCH]}
    programs |= {f"harmbench {name}": [python, "-m", "harmbench", name] for name in COMMANDS}
    found = {}
    for name, program in programs.items():
        seconds_of(program, environment)  # fills the disk's cache
        times = [seconds_of(program, environment) for _ in range(repeats)]
        found[name] = [statistics.median(kind) for kind in zip(*times, strict=True)]
    peer = found[TORCH]
    return [
        [name, passed, cpu, passed / peer[0], cpu / peer[1]]
        for name, (passed, cpu) in found.items()
    ]


def main() -> int:
    """Print one table with byte code, and one without."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each command")
    options = parser.parse_args()
    headers = ["command", "seconds", "processor s", "of torch's seconds", "of torch's processor s"]
    shared = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for title, own in (
        ("byte code is kept", {}),
        ("byte code cannot be written", {"PYTHONDONTWRITEBYTECODE": "1"}),
    ):
        print(f"\n{title}\n")
        # A folder of its own: neither finds what another process has compiled before.
        with TemporaryDirectory() as empty:
            environment = {**shared, **own, "PYTHONPYCACHEPREFIX": empty}
            rows = measured(environment, options.repeats)
        print(tabulate(rows, headers, "github", floatfmt=".3g"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
