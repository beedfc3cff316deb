"""Disks that fill up, folders that are read-only or vanish, and clocks that jump.

Each ends in one clear message, and leaves a folder from which the next run ends as a clean one does.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from harmbench.results import read_results
from harmbench.runner.status import run_status

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


METHOD = """
import os, shutil
from harmbench.method import Method


class Odd(Method):
    title = "Odd"

    def harmonize(self, source, task):
        shutil.rmtree(os.environ.get("REMOVED", "/nowhere"), ignore_errors=True)
        return source.with_data(source.data * 0.5)
"""


@pytest.fixture
def odd(tmp_path: Path) -> str:
    (tmp_path / "odd.py").write_text(METHOD)
    return f"{tmp_path / 'odd.py'}:Odd"


def test_a_disk_that_is_full_at_twelve_sizes(run: Run, clean: Path, tmp_path: Path) -> None:
    ends = []
    for kilobytes in range(4, 100, 8):
        disk = tmp_path / f"disk-{kilobytes}"
        with _mounted(disk, kilobytes) as change:
            code, _, err = run(disk / "out")
            if code:
                assert re.search(
                    rf"^(system )?error: {disk}.*: No space left on device$", err, re.M
                )
                assert "Traceback" not in err
            ends.append(code)
            change("size=20m")
            assert run(disk / "out")[0] == 0
            _same(disk / "out", clean)
            assert _temporary(disk) == []
    # The smaller disks were too small, for the folder's first file or its last.
    assert ends[0] == ends[-3] == 3


def test_a_disk_that_is_read_only(run: Run, clean: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    more = ("--set", "seeds=[0, 1]")
    with _mounted(disk, 20_000) as change:
        assert run(disk / "out")[0] == 0
        for out in (disk / "out", disk / "new"):
            change("ro")
            code, _, err = run(out, *more)
            assert (code, err.startswith(f"error: {out}: ")) == (2, True), err
            change("rw")
            assert run(out, *more)[0] == 0
            assert run(clean, *more)[0] == 0
            _same(out, clean)
            assert _temporary(disk) == []


def test_a_folder_that_vanishes(run: Run, odd: str, tmp_path: Path, monkeypatch) -> None:
    assert run(tmp_path / "clean", method=odd)[0] == 0
    out = tmp_path / "out"
    monkeypatch.setenv("REMOVED", str(out))
    code, _, err = run(out, method=odd)
    assert code == 2
    assert err.splitlines()[-1] == (
        f"error: {out}: the folder was removed while the run went on; remove what is left, and run it "
        "again"
    )
    monkeypatch.delenv("REMOVED")
    shutil.rmtree(out, ignore_errors=True)  # there may be nothing left
    code, _, err = run(out, method=odd)
    assert code == 0, err
    _same(out, tmp_path / "clean")


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps(run: Run, clean: Path, tmp_path: Path, monkeypatch, jump_s) -> None:
    now, calls = time.time, itertools.count()
    # It jumps back and forth, at every call.
    monkeypatch.setattr(time, "time", lambda: now() + jump_s * (next(calls) % 2))
    assert run(tmp_path / "out")[0] == 0
    assert run(tmp_path / "out")[0] == 0
    _same(tmp_path / "out", clean)
    assert {state.state for state in run_status(tmp_path / "out")} == {"ok"}
