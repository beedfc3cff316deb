"""Everything that needs a GPU, measured in one run of at most ten minutes, beside its targets.

    python benchmarks/gpu.py --out gpu                    # on a machine with a GPU: 9 minutes
    python benchmarks/gpu.py --out try --dry-run          # tiny, on the CPU: goes through every line
    python benchmarks/gpu.py --out gpu --parts dm --minutes 4

Each part is a process with a time limit of its own. What it measures is in `rows.jsonl` at once, and in
`results.json`, `results.csv` and `results.md` as soon as the part ends; a part that fails, or is stopped,
costs no other. The last part, training and sampling `dm`, gets the time that the others leave. `log.txt`
has the output of all parts. In a dry run numbers mean nothing, targets are not met, and only the time of
all parts together is limited.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from gpu_rows import Ended, read_notes, write_results

PARTS_SCRIPT = Path(__file__).with_name("gpu_parts.py")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its name, and the seconds that it needs at least and gets at most."""

    name: str
    least_s: float
    most_s: float


PARTS: Sequence[Part] = (
    Part("device", 15, 60),
    Part("scans", 20, 120),
    Part("hmrf", 20, 90),
    Part("cells", 40, 100),
    Part("train-step", 60, 150),
    Part("dm", 60, 3600),
)
"""In this order; a part may not take what later ones need at least."""

Run = Callable[[Part, float], str]
"""Runs a part for some seconds at most, and returns how it ended."""


def time_limit(parts: Sequence[Part], left_s: float) -> float:
    """Return the seconds that the first of `parts` may take; 0 where too few are left for it."""
    first, later = parts[0], sum(part.least_s for part in parts[1:])
    limit = min(first.most_s, max(left_s - later, first.least_s))
    return limit if first.least_s <= left_s else 0.0


def run_parts(
    parts: Sequence[Part],
    budget_s: float,
    run: Run,
    save: Callable[[Sequence[Ended]], None],
    clock: Callable[[], float] = time.monotonic,
) -> list[Ended]:
    """Run parts one after the other within a budget, and save after each.

    Args:
        parts: what to run, the most important first.
        budget_s: seconds for all of them.
        run: runs one.
        save: called with all that have ended, after each.
        clock: seconds that pass.
    """
    started = clock()
    ended: list[Ended] = []
    for place, part in enumerate(parts):
        began = clock()
        limit = time_limit(parts[place:], budget_s - (began - started))
        status = run(part, limit) if limit else "skipped"
        ended.append(Ended(part.name, status, clock() - began, limit))
        save(ended)
    return ended


def run_in_process(part: Part, limit_s: float, out: Path, size: str, device: str) -> str:
    """Run a part in a process of its own, which is ended with all that it started."""
    command = [sys.executable, str(PARTS_SCRIPT), part.name, str(out / "rows.jsonl")]
    command += ["--seconds", f"{limit_s:.0f}", "--size", size, "--device", device]
    print(f"{part.name}: at most {limit_s:.0f} s", flush=True)
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"\n=== {part.name}\n")
        log.flush()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = ended_within(process, limit_s)
        except subprocess.TimeoutExpired:
            return "stopped"
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "ok" if code == 0 else "failed"


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Return the exit status of a process that ends in time; else raise `subprocess.TimeoutExpired`."""
    return process.wait(seconds)


def has_gpu() -> bool:
    """Whether torch sees a GPU; asked in another process, so that this one holds nothing on it."""
    asked = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


def _leave(*_: object) -> NoReturn:
    """End as after an interrupt: the part that runs is ended too."""
    raise SystemExit(1)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on the CPU")
    names = [part.name for part in PARTS]
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _leave)
    if not options.dry_run and not has_gpu():
        print("torch sees no GPU; --dry-run tries everything on the CPU", file=sys.stderr)
        return 2
    size, device = ("tiny", "cpu") if options.dry_run else ("paper", "cuda")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    for old in ("rows.jsonl", "log.txt"):
        (out / old).unlink(missing_ok=True)
    title = "Dry run of benchmarks/gpu.py: no number counts" if options.dry_run else "On a GPU"

    def save(ended: Sequence[Ended]) -> None:
        facts, rows = read_notes(out / "rows.jsonl")
        write_results(out, title, facts, ended, rows)

    def run(part: Part, limit_s: float) -> str:
        return run_in_process(part, limit_s, out, size, device)

    budget_s = 60 * options.minutes
    chosen = [part for part in PARTS if part.name in options.parts]
    if options.dry_run:
        chosen = [replace(part, most_s=budget_s) for part in chosen]
    ended = run_parts(chosen, budget_s, run, save)
    print((out / "results.md").read_text(encoding="utf-8"))
    return int(any(one.status != "ok" for one in ended))


if __name__ == "__main__":
    raise SystemExit(main())
