"""Disks that fill up, folders that are read-only or vanish, and clocks that jump.

Each ends in one clear message, and leaves a folder from which the next run ends as a clean one does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from harmbench.results import read_results

Run = Callable[..., tuple[int, str, str]]


@contextmanager
def _mounted(folder: Path, kilobytes: int) -> Iterator[Callable[[str], None]]:
    """Give a small disk of its own, and a function that changes its options."""
    folder.mkdir()

    def mount(options: str, *more: str) -> None:
        command = ["mount", *more, "-o", options, "tmpfs", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    try:
        mount(f"size={kilobytes}k", "-t", "tmpfs")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here; it needs root")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def run(call, thresholds, make_manifest) -> Run:
    settings = ("data.direction=A-to-B", "folds={k: 2, run: '0'}", "controls=[]", "ceiling=false")
    sets = [word for one in (*settings, "volume_controls=[]") for word in ("--set", one)]
    words = ("--data", make_manifest(2), "--device", "cpu", "--segmenter", "thresholds", *sets)

    def start(out: Path, *more: str, method: object = "histogram_matching"):
        return call("run", "--method", method, "--out", out, "--no-isolate", *words, *more)

    return start


@pytest.fixture
def clean(run: Run, tmp_path: Path) -> Path:
    out = tmp_path / "clean"
    assert run(out)[0] == 0
    return out


def _bits(out: Path) -> pd.DataFrame:
    found = read_results(out / "results.csv")
    return found.assign(value=[f"{value!r}" for value in found["value"]])


def _same(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(_bits(one), _bits(other))


def _temporary(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".tmp-")]
