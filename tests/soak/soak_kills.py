"""Kill runs by SIGKILL, and start many at once: `python tests/soak/soak_kills.py`. Linux only.

Runs of a small grid are killed at random moments, `--kills` for each of three ways to run it, and before
each of the first `--first` changes of files of a fresh run. Where two runs share a folder, one of them or
both are killed; one that is left must end well. After each kill no process may be left, and the next run
must give the results of a run that nothing happened to, to the bit, and the same files. Last, `--starts`
runs start at the same moment in one folder; none may lose its record. What goes wrong is printed, and
makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from folders import KILLED, Folder, doomed, fork, make_cohort, run_once, wait

import harmbench.storage
from harmbench.processes import adopt_orphans
from harmbench.runner.folder import RunFolder

PATIENCE_S = 60.0
"""Seconds in which the processes of a killed run must be gone; an idle machine needs a part of one."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to run the grid.

    Attributes:
        settings: of each run.
        runs: how many there are at once in one folder.
    """

    settings: tuple[str, ...] = ()
    runs: int = 1


MODES = {
    "jobs 1": Mode(("isolate=true",)),
    "jobs 2": Mode(("jobs=2",)),
    "two runs": Mode(runs=2),
}


@dataclass
class Soak:
    """What all kills share.

    Attributes:
        manifest: of the scans.
        place: a folder for run folders.
        clean: of a run that nothing happened to.
        dice: decide when and what to kill.
        counts: what happened, by kind.
        problems: what went wrong.
    """

    manifest: Path
    place: Path
    clean: Folder
    dice: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.place / "out"

    def run(self, *settings: str) -> None:
        """Run the grid."""
        run_once(self.manifest, self.out, *settings)

    def duration_s(self, mode: Mode) -> float:
        """Return how long undisturbed runs take."""
        self.afresh()
        start = time.monotonic()
        runs = [fork(lambda: self.run(*mode.settings)) for _ in range(mode.runs)]
        codes = [wait(pid) for pid in runs]
        if any(codes):
            raise AssertionError("a run failed that nothing happened to")
        return time.monotonic() - start

    def afresh(self) -> None:
        """Remove the run folder."""
        shutil.rmtree(self.out, ignore_errors=True)

    def at_random(self, name: str, count: int) -> None:
        """Kill runs at random moments until `count` were killed."""
        mode = MODES[name]
        longest_s = self.duration_s(mode)
        before = self.counts[name]
        while self.counts[name] - before < count:
            self.afresh()
            runs = [fork(lambda: self.run(*mode.settings)) for _ in range(mode.runs)]
            moment_s = self.dice.uniform(0.0, longest_s)
            time.sleep(moment_s)
            # Half of the time, one of two runs is left.
            for pid in runs[: self.dice.randint(1, mode.runs)]:
                os.kill(pid, signal.SIGKILL)
            codes = [wait(pid) for pid in runs]
            # The machine may be busier or idler than it was.
            longest_s *= 1.05 if KILLED in codes else 0.7
            self.judge(name, codes, f"{name}, killed after {moment_s:.2f} s")

    def before_changes(self, name: str, count: int) -> None:
        """Kill one run before each of the first changes of files that its main process makes."""
        mode, kind = MODES[name], f"{name}, first changes"
        # Where the main process does all the work, it also makes all the changes.
        settings = mode.settings if mode.runs > 1 or name == "jobs 2" else ()
        for number in range(1, count + 1):
            self.afresh()
            others = [fork(lambda: self.run(*settings)) for _ in range(mode.runs - 1)]
            killed = fork(doomed(number, self.out, lambda: self.run(*settings)))
            codes = [wait(pid) for pid in (killed, *others)]
            self.judge(kind, codes, f"{name}, killed before change {number}")

    def judge(self, kind: str, codes: list[int], what: str) -> None:
        """Look at how runs ended, of which some were killed, and at what the next run makes of it."""
        self.counts[kind] += codes.count(KILLED)
        own = [f"a run ended with {code}" for code in codes if code not in {0, KILLED}]
        if 0 in codes and (self.out / "results.csv").read_bytes() != self.clean.results:
            own.append("the run that was left has other results")
        own += orphans()
        if wait(fork(self.run)):
            own.append("the next run failed")
        else:
            own += self.clean.differences(self.out)
        self.problems += [f"{what}: {text}" for text in own]
        print(f"{kind} {self.counts[kind]}: {'; '.join(own) or 'well'}", flush=True)

    def starts(self, count: int) -> None:
        """Start runs at the same moment in one folder."""
        self.afresh()
        gate, opened = os.pipe()

        def start() -> None:
            os.close(opened)
            os.read(gate, 1)  # ends when the parent closes its end
            self.run()

        runs = [fork(start) for _ in range(count)]
        os.close(gate)
        os.close(opened)
        codes = [wait(pid) for pid in runs]
        own = [f"{len(codes) - codes.count(0)} of {count} failed"] if any(codes) else []
        known = len(RunFolder(self.out).read_record().invocations)
        own += [f"{count - known} of {count} records are lost"] if known != count else []
        own += orphans() + self.clean.differences(self.out)
        self.counts["starts"] += count
        self.problems += [f"{count} starts: {text}" for text in own]
        print(f"{count} starts: {'; '.join(own) or 'well'}", flush=True)


def orphans() -> list[str]:
    """Name processes that dead runs left behind: they have become this one's. They are ended."""
    end = time.monotonic() + PATIENCE_S
    while left := dict(_children()):
        if time.monotonic() > end:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return [f"process left over: {text}" for text in left.values()]
        time.sleep(0.05)
    return []


def _children() -> Iterator[tuple[int, str]]:
    """Find live children of this process; those that have ended are collected."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if path.read_text(errors="replace").rpartition(")")[2].split()[1] == str(os.getpid()):
                command = path.with_name("cmdline").read_bytes().replace(b"\0", b" ")
                yield int(path.parent.name), command.decode(errors="replace").strip()


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--first", type=int, default=60)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("build/soak"))
    return parser.parse_args()


def main() -> int:
    """Read the command line, and go through all kills and starts."""
    given = _read_arguments()
    logging.disable(logging.CRITICAL)
    # No power is lost here, and waiting for the disk would take most of the time.
    harmbench.storage.sync = lambda path: None
    adopt_orphans()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        manifest = make_cohort(place / "scans")
        run_once(manifest, place / "clean")
        soak = Soak(manifest, place, Folder(place / "clean"), random.Random(given.seed))
        for mode in given.mode or MODES:
            soak.before_changes(mode, given.first)
            if given.kills:
                soak.at_random(mode, given.kills)
        if given.starts:
            soak.starts(given.starts)
    for text in soak.problems:
        print(text)
    seconds = round(time.monotonic() - start)
    found = {"counts": soak.counts, "problems": soak.problems, "seconds": seconds}
    given.keep.mkdir(parents=True, exist_ok=True)
    (given.keep / "kills.json").write_text(json.dumps(found, indent=2) + "\n")
    return 1 if soak.problems else 0


if __name__ == "__main__":
    sys.exit(main())
