"""Damage run folders until the counts are reached: `python tests/soak/soak_folders.py`.

Run folders get one damaged file of each kind, `--flips` of them by one bit and `--cuts` of them cut, are
verified, and are run again. Every rerun must give the results of a run that nothing happened to, to the
bit, and the same files. What goes wrong is printed, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from folders import Folder, damage, judge, make_cohort, run_once

import harmbench.storage


def damages(
    count: int, manifest: Path, good: Path, clean: Folder, dice: random.Random, *, cut: bool
) -> tuple[Counter[str], list[str]]:
    """Damage files and mend them by runs, until `count` were damaged."""
    counts, problems = Counter[str](), []
    while counts.total() < count:
        root, hit = damage(good, good.with_name("damaged"), dice, cut=cut)
        own, wrong = judge(root, hit, clean, manifest)
        counts += own
        what = "cuts" if cut else "flips"
        problems += [f"{text} (after {what} in {hit})" for text in wrong]
        print(f"{counts.total()} {what}, {len(problems)} problems", flush=True)
    return counts, problems


def main() -> int:
    """Read the command line, and go through all faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("build/soak"))
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    # No power is lost here, and waiting for the disk would take most of the time.
    harmbench.storage.sync = lambda path: None
    start, dice = time.monotonic(), random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        manifest, good = make_cohort(place / "scans"), place / "clean"
        run_once(manifest, good)
        clean = Folder(good)
        flips, problems = damages(given.flips, manifest, good, clean, dice, cut=False)
        cuts, more = damages(given.cuts, manifest, good, clean, dice, cut=True)
        problems += more
    for text in problems:
        print(text)
    seconds = round(time.monotonic() - start)
    found = {
        "flips": flips,
        "cuts": cuts,
        "problems": problems,
        "seconds": seconds,
    }
    given.keep.mkdir(parents=True, exist_ok=True)
    (given.keep / "folders.json").write_text(json.dumps(found, indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
