"""A method that fails where it is told to, and runs of it on four tiny subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harmbench.config import load_experiment
from harmbench.runner.experiment import Summary, run_experiment

ADAPTER = '''
import json
from pathlib import Path

from pydantic import Field

from harmbench.method import Method, Settings

CALLS = Path(__file__).with_name("calls.txt")


class TricksSettings(Settings):
    gain: float = Field(1.0)
    fail: str = ""


class Tricks(Method):
    """Fails where it is told to, and notes what it was asked to do."""

    Config = TricksSettings

    def _note(self, what):
        with CALLS.open("a") as file:
            file.write(what + "\\n")

    def fit(self, pairs, task):
        self._note("fit " + str(task.direction) + " " + str(task.fold))
        assert all(pair.source.same_grid(pair.target) for pair in pairs)
        (task.folder / "subjects.json").write_text(json.dumps([p.subject for p in pairs]))
        if self.config.fail.startswith("raise "):
            raise eval(self.config.fail.removeprefix("raise "))
        if self.config.fail == "interrupt":
            import signal

            signal.raise_signal(signal.SIGINT)
        if self.config.fail == "chdir":
            import os

            os.chdir("/")
        if self.config.fail == "fit":
            raise ValueError("no gradient")

    def harmonize(self, source, task):
        self._note("harmonize")
        if self.config.fail == "harmonize" and source.data[3, 12, 10] > 0.5:
            raise ValueError("too bright")
        if self.config.fail == "dark":
            return source.with_data(source.data * 0.1)
        if self.config.fail == "exit":
            raise SystemExit
        if self.config.fail.startswith("keep "):
            for name in self.config.fail.removeprefix("keep ").split("|"):
                task.keep(name, source)
        if self.config.fail == "keep":
            task.keep("half of it", source.with_data(source.data * 0.5))
        return source.with_data(source.data * self.config.gain)
'''


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "tricks.py"
    path.write_text(ADAPTER)
    return path


@pytest.fixture
def calls(adapter: Path) -> Callable[[], list[str]]:
    """Return a function that lists what the method was asked to do so far."""

    def read() -> list[str]:
        path = adapter.with_name("calls.txt")
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def start(make_manifest, adapter: Path, tmp_path: Path) -> Callable[..., Summary]:
    """Run an experiment on four tiny subjects in two folds."""
    manifest = make_manifest(4)

    def run(*overrides: str, out: str = "out", **tricks: object) -> Summary:
        methods = {"tricks": {"uses": f"{adapter}:Tricks", **tricks}} if tricks else {}
        changes = {"data.path": manifest, "methods": methods, "folds.k": 2}
        defaults = [
            "scoring.segmenter=thresholds",
            "device=cpu",
            "controls=[identity]",
            "volume_controls=[]",
        ]
        experiment = load_experiment(None, [*defaults, *overrides], changes)
        if any(override.startswith("folds.k") for override in overrides):
            del changes["folds.k"]
            experiment = load_experiment(None, [*defaults, *overrides], changes)
        return run_experiment(experiment, tmp_path / out, say=lambda _: None)

    return run
