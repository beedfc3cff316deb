"""Run folders under faults: runs that are killed, runs at once, and damage to every kind of file.

Each run is a fork of this process, so that it has a number and an end of its own, and costs no imports.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.runner.experiment import run_experiment
from harmbench.runner.verification import verify_run
from harmbench.volume import write

__all__ = [
    "KILLED",
    "MEANINGLESS",
    "Folder",
    "damage",
    "doomed",
    "fork",
    "kill_at",
    "kind_of",
    "make_cohort",
    "run_once",
    "wait",
]

STAND_INS = Path(__file__).with_name("stand_ins.py")
KILLED = -signal.SIGKILL
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.truncate"}

MEANINGLESS = (
    r"log\.txt",
    # The note on the labels of a real scan: its key is compared; what else it says is for people.
    r"^segmentations/[^/]+\.json",
    # Times and names in the head of a compressed file; labels that no cell has a sum of.
    r"^segmentations/[^/]+\.nii\.gz",
)
"""Files of a run in which a change of a bit may have no meaning."""


def make_cohort(folder: Path, count: int = 2) -> Path:
    """Write tiny pairs, sessions A and B; returns the manifest."""
    lines = ["subject,group,session,path"]
    for number, pair in enumerate(tiny_pairs(count)):
        for session, volume in (("A", pair.source), ("B", pair.target)):
            write(volume, folder / f"s{number}_{session}.nii.gz")
            lines.append(f"s{number},HC,{session},s{number}_{session}.nii.gz")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run_once(manifest: Path, out: Path, *settings: str, said: list[str] | None = None) -> None:
    """Run a small grid: a method that learns, the controls, and a volume correction."""
    experiment = load_experiment(
        None,
        [
            *(f"scoring.segmenter={STAND_INS}:Tertiles", "device=cpu", "controls=[identity]"),
            *("volume_controls=[volume_ratio]", "folds.k=2", "data.direction=A-to-B"),
            *settings,
        ],
        {"data.path": manifest, "methods": {"gain": {"uses": f"{STAND_INS}:Gain"}}},
    )
    lines: list[str] = [] if said is None else said
    summary = run_experiment(experiment, out, say=lines.append)
    if summary.failed:
        raise AssertionError(f"cells failed: {dict(summary.failed)}")


def fork(work: Callable[[], object]) -> int:
    """Start a process that does some work and ends; returns its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    """Wait for a process, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def doomed(number: int, below: Path, work: Callable[[], object]) -> Callable[[], None]:
    """Return some work that kills its own process before its `number`th change below a folder."""

    def watched() -> None:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if _changes(event, arguments, str(below)):
                left -= 1
                if left <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        work()

    return watched


def kill_at(number: int, below: Path, work: Callable[[], object]) -> bool:
    """Do some work in a process that is killed before its `number`th change below a folder.

    Returns:
        Whether it came so far.
    """
    code = wait(fork(doomed(number, below, work)))
    assert code in {0, KILLED}, code
    return code == KILLED


def _changes(event: str, arguments: tuple[object, ...], below: str) -> bool:
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
    elif event not in _CHANGES:
        return False
    return any(str(one).startswith(below) for one in arguments[:2])


class Folder:
    """A finished run folder, as what others are compared with.

    Args:
        root: the run folder.
    """

    def __init__(self, root: Path) -> None:
        self.results = (root / "results.csv").read_bytes()
        self.names = self._names(root)

    @staticmethod
    def _names(root: Path) -> set[str]:
        names = {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()}
        return {name for name in names if not name.startswith("invocations/")}

    def differences(self, root: Path) -> list[str]:
        """Say how another folder differs in its results, and which files it has more or fewer."""
        found = [f"{name} is left over" for name in sorted(self._names(root) - self.names)]
        found += [f"{name} is missing" for name in sorted(self.names - self._names(root))]
        if (root / "results.csv").read_bytes() != self.results:
            found.append("other results")
        invocations = [p.name for p in (root / "invocations").iterdir()]
        found += [
            f"invocations/{n}" for n in invocations if not re.fullmatch(r"\d{4}-\w+\.json", n)
        ]
        return found


def kind_of(name: str) -> str:
    """Return what kind of file of a run folder one is, by its path in the folder."""
    parts = Path(name).parts
    inside = "/".join(("cell", *parts[5:])) if parts[0] == "cells" else name
    return re.sub(r"(s\d_|s\d|\d{4}-)[^/]*?(\.nii\.gz|\.json)$", r"*\2", inside)


def damage(
    good: Path, place: Path, dice: random.Random, *, cut: bool
) -> tuple[Path, dict[str, str]]:
    """Copy a run folder, and damage one file of each kind: a bit, or a cut.

    Of one cell, either its record is damaged or other files are; of the run's record, one of the two
    places where it is written.

    Returns:
        The copy, and kind to the damaged file.
    """
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(good, place)
    by_kind: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.stat().st_size:
            name = path.relative_to(place).as_posix()
            by_kind.setdefault(kind_of(name), []).append(path)
    del by_kind[dice.choice(("run.json", "invocations/*.json"))]
    records = by_kind.pop("cell/cell.json")
    chosen = dice.choice(records)
    hit = {"cell/cell.json": chosen}
    for kind, paths in by_kind.items():
        free = [path for path in paths if not path.is_relative_to(chosen.parent)]
        if free:
            hit[kind] = dice.choice(free)
    for path in hit.values():
        raw = bytearray(path.read_bytes())
        if cut:
            del raw[dice.randrange(len(raw)) :]
        else:
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        path.write_bytes(raw)
    return place, {kind: path.relative_to(place).as_posix() for kind, path in hit.items()}


def judge(
    root: Path, hit: dict[str, str], clean: Folder, manifest: Path
) -> tuple[Counter[str], list[str]]:
    """Verify a damaged folder, run it again, and say which damage was found and what went wrong."""
    found = [f"{one.piece} {one.why}" for one in verify_run(root)]
    counts: Counter[str] = Counter()
    problems = []
    for kind, name in hit.items():
        if any(name in text for text in found):
            counts[f"{kind} found"] += 1
        elif any(re.search(pattern, name) for pattern in MEANINGLESS):
            counts[f"{kind} without meaning"] += 1
        else:
            problems.append(f"{name} was not found")
    if wait(fork(lambda: run_once(manifest, root))):
        problems.append("the run failed")
    problems += clean.differences(root)
    left = [f"{one.piece}: {one.state}, {one.why}" for one in verify_run(root)]
    problems += [text for text in left if not any(re.search(own, text) for own in _STAYS)]
    return counts, problems


_STAYS: Sequence[str] = (r"/training/",)
"""What a rerun leaves as it is: no result depends on it."""
