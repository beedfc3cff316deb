"""Small paired data sets on disk, and a segmenter that takes milliseconds."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from unsealed import unsealed

import harmbench.plugins
from harmbench import cli
from harmbench.config import load_experiment
from harmbench.contract import tiny_pairs
from harmbench.errors import UnsegmentableError
from harmbench.report.figures import drawing
from harmbench.report.figures.selection import planned_figures
from harmbench.runner.experiment import run_experiment
from harmbench.segmentation.base import check_segmentable
from harmbench.volume import Volume, write

# Tests start many processes. Without bytecode on disk, each compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Processes that run beside each other share the cores: OpenMP's threads spin while they wait for one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# In the background of a shell, interrupts are ignored; programs that tests start would ignore them too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RANDOM = '''
from harmbench.method import Method


class Noisy(Method):
    """Multiply the brain by a random factor for each seed."""

    title = "Noisy"

    def harmonize(self, source, task):
        import numpy as np

        gain = np.random.default_rng(task.seed).uniform(0.5, 0.9)
        return source.with_data(source.data * gain)
'''


class Thresholds:
    """Three classes by parts of the brain's range: a stand-in with the protocol's behaviour."""

    name = "thresholds"
    version = "1"
    contrasts = ("T1w",)

    def __init__(self, *, device: str = "cpu", contrast: str = "T1w") -> None:
        pass

    def segment(self, volume: Volume) -> Volume:
        check_segmentable(volume)
        if float(volume.data.max()) < 0.3:
            raise UnsegmentableError("too dark for three classes")
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        labels = np.digitize(volume.data, [1e-6, low + 0.15 * extent, low + 0.35 * extent])
        return volume.with_data(labels.astype(np.uint8), kind="label")


IN_A_FILE = """
import numpy as np


class Halves:
    name, version, contrasts = "halves", "1", ("T1w",)

    def __init__(self, *, device, contrast): ...

    def segment(self, volume):
        brain = volume.data[volume.data > 0]
        low, extent = float(brain.min()), float(np.ptp(brain))
        labels = np.digitize(volume.data, [1e-6, low + 0.15 * extent, low + 0.35 * extent])
        labels = labels.astype(np.uint8)
        return volume.with_data(labels, kind="label")
"""

# Labels by thresholds, written the way FAST names its output; what it was called with is kept.
FAST = """#!{python}
import os, sys
arguments = sys.argv[1:]
if not arguments:
    sys.exit("Usage: fast [options] file(s)")
import nibabel as nib
import numpy as np
open({log!r}, "a").write(" ".join(arguments) + "\\n")
open({log!r}.replace(".txt", ".type"), "w").write(os.environ.get("FSLOUTPUTTYPE", ""))
out = next(a.split("=", 1)[1] for a in arguments if a.startswith("--out="))
image = nib.load(arguments[-1])
labels = np.digitize(image.get_fdata(), [1e-6, 0.15, 0.35]).astype(np.uint8)
{edit}
kind = nib.Nifti1Pair if {suffix!r} == ".img" else nib.Nifti1Image
nib.save(kind(labels, image.affine), out + "_seg" + {suffix!r})
"""


class FakeFsl:
    """A folder that looks like FSL's, whose `bin/fast` does what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "calls.txt"
        self.program = folder / "fsl" / "bin" / "fast"
        self.program.parent.mkdir(parents=True)
        (folder / "fsl" / "etc").mkdir()
        (folder / "fsl" / "etc" / "fslversion").write_text("6.0.0:abc\n")
        self.good()

    def good(self, edit: str = "", suffix: str = ".nii.gz") -> None:
        """Write labels by thresholds; `edit` is a line of Python that may change `labels`."""
        values = {"python": sys.executable, "log": str(self.log), "edit": edit, "suffix": suffix}
        self._write(FAST.format(**values))

    def shell(self, script: str) -> None:
        """Run a shell script; `$out` is the base of output names."""
        lines = ["#!/bin/sh", 'for a in "$@"; do case $a in --out=*) out=${a#--out=};; esac; done']
        self._write("\n".join([*lines, script, ""]))

    def calls(self) -> list[str]:
        """Arguments of each call so far."""
        return self.log.read_text().splitlines() if self.log.is_file() else []

    def _write(self, text: str) -> None:
        self.program.write_text(text)
        self.program.chmod(0o755)


_SLOW = {
    "finished_report": "report",
    "finished_run": "report",
    "head": "head",
    "later": "made",
    "made": "made",
    "anatomies": "made",
    "raw_cohort": "raw_cohort",
    "follow_ups": "follow_ups",
    "place": "place",
}
"""Fixtures that take seconds, with the group of their tests: one process makes each, once."""


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that share a slow fixture one group; `--dist=loadgroup` keeps a group together."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        shared = next((group for name, group in _SLOW.items() if name in used), None)
        if shared is not None:
            item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `harmbench run` run single jobs in the test's process, where its stand-ins are known."""
    monkeypatch.setenv("HARMBENCH_ISOLATE", "0")


@pytest.fixture(autouse=True)
def without_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what tests write in the system's cache; `tests/test_storage.py` tests that it gets further."""
    monkeypatch.setattr("harmbench.storage.sync", lambda path: None)


@pytest.fixture
def fsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFsl:
    """Offer a stand-in of FSL whose FAST labels by thresholds."""
    made = FakeFsl(tmp_path)
    monkeypatch.setenv("FSLDIR", str(tmp_path / "fsl"))
    monkeypatch.delenv("FSLDEVDIR", raising=False)
    return made


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch) -> Thresholds:
    """Offer the stand-in segmenter under the name `thresholds`."""
    group = harmbench.plugins.SEGMENTERS.entry_points
    point = EntryPoint("thresholds", f"{Thresholds.__module__}:Thresholds", group)

    def found(*, group: str) -> EntryPoints:
        return EntryPoints([*entry_points(group=group), *([point] if group == point.group else [])])

    monkeypatch.setattr(harmbench.plugins, "entry_points", found)
    return Thresholds()


@pytest.fixture
def file_segmenter(tmp_path: Path) -> str:
    """Write a segmenter that other processes find too, and return its reference, FILE.py:CLASS."""
    (tmp_path / "halves.py").write_text(IN_A_FILE)
    return f"{tmp_path / 'halves.py'}:Halves"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install a distribution: its modules by name, and its entry points, `GROUP:NAME` to class."""

    def write(modules: dict[str, str], points: dict[str, str]) -> Path:
        place = tmp_path / "site"
        for name, text in modules.items():
            file = place.joinpath(*name.split(".")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        metadata = place / "stand_in-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
        lines = []
        for point, value in points.items():
            group, _, name = point.partition(":")
            lines.append(f"[{group}]\n{name} = {value}\n")
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(place)
        for name in modules:
            top = name.partition(".")[0]
            for loaded in [one for one in sys.modules if one.partition(".")[0] == top]:
                monkeypatch.delitem(sys.modules, loaded)
        return place

    return write


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports make their figures in this process and write blank ones: drawing takes most of the time."""

    def write_blank(_figure: Figure, path: Path, **options: object) -> None:
        if options["format"] == "png":
            Image.new("RGB", (40, 30)).save(path, format="png")
        else:
            path.write_bytes(b"")

    monkeypatch.setattr(Figure, "savefig", write_blank)
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda _: None)
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


@pytest.fixture
def few_figures(blank_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports make their first two figures alone, and blank ones: preparing the others takes seconds."""
    monkeypatch.setattr(drawing, "planned_figures", lambda evidence: planned_figures(evidence)[:2])


@pytest.fixture
def make_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` tiny pairs (sessions A and B) and a manifest that lists them."""

    def make(count: int = 4, name: str = "scans") -> Path:
        folder = tmp_path / name
        lines = ["subject,group,session,path"]
        for number, pair in enumerate(tiny_pairs(count)):
            group = "MS" if number % 2 else "HC"
            for session, volume in (("A", pair.source), ("B", pair.target)):
                write(volume, folder / f"s{number}_{session}.nii.gz")
                lines.append(f"s{number},{group},{session},s{number}_{session}.nii.gz")
        path = folder / "manifest.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command in this process; returns (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harmbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def finished(thresholds, make_manifest, tmp_path: Path) -> Callable[..., Path]:
    """Run controls and a random method on four tiny subjects; returns a method's cell, A to B."""

    def run(
        method: str = "histogram_matching", preparation: object = None, **sidecars: str
    ) -> Path:
        adapter = tmp_path / "noisy.py"
        adapter.write_text(RANDOM)
        manifest = make_manifest(4)
        for session, value in sidecars.items():
            for number in range(4):
                path = manifest.with_name(f"s{number}_{session}.json")
                path.write_text(json.dumps({"MagneticFieldStrength": float(value)}))
        experiment = load_experiment(
            None,
            [
                *("scoring.segmenter=thresholds", "device=cpu", "folds.k=2", "folds.run=0"),
                "volume_controls=[]",
            ],
            {
                "data.path": manifest,
                "data.direction": "A-to-B",
                "methods": {"noisy": {"uses": f"{adapter}:Noisy"}},
            },
        )
        out = tmp_path / "out"
        run_experiment(experiment, out, say=lambda _: None)
        record = unsealed(out / "run.json")
        record["cohort"]["preparation"] = preparation
        (out / "run.json").write_text(json.dumps(record))
        return out / "cells" / method / "A-to-B" / "fold-0" / "seed-0"

    return run
