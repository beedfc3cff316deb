"""Whole runs on tiny volumes with a stand-in method whose costs and clock are given."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from unsealed import unsealed

import harmbench.runner.experiment
from harmbench.config import load_experiment
from harmbench.errors import MethodError
from harmbench.planning.course import Course
from harmbench.planning.plan import Cost, Plan
from harmbench.planning.trial import Trial
from harmbench.runner.corrections import Corrected
from harmbench.runner.experiment import run_experiment
from harmbench.runner.invocations import read_plan

pytestmark = pytest.mark.usefixtures("thresholds")

ADAPTER = """
from harmbench.method import Method, Settings


class SlowSettings(Settings):
    width: int = 100
    iterations: int = 10_000_000


class Slow(Method):
    Config = SlowSettings
    sizes = ({}, {"width": 10, "iterations": 1000}, {"width": 1, "iterations": 100})

    def harmonize(self, source, task):
        return source

    def training_steps(self, slices):
        return self.config.iterations

    def sized(self, steps):
        return {"iterations": steps}
"""


class Stand:
    """Runs with costs that are given; notes what was measured and said."""

    def __init__(self, manifest: Path, adapter: Path, out: Path) -> None:
        self.manifest, self.adapter, self.out = manifest, adapter, out
        self.trials: list[Trial] = []
        self.said: list[str] = []
        self.broken = False
        self.now = 0.0

    def measure(self, trial: Trial) -> Cost:
        self.trials.append(trial)
        if self.broken:
            raise MethodError("a trial's process was killed")
        width = trial.settings.get("width", 100)
        return Cost(step_s=width / 100, networks=1, slices=10, pair_s=0, harmonize_s=0)

    def __call__(
        self,
        *overrides: str,
        budget_s: float | None = None,
        configured: bool = False,
        methods: Mapping[str, Any] = {},
        **given: Any,
    ) -> dict[str, Any]:
        self.trials.clear()
        self.said.clear()
        changes = {
            "data.path": self.manifest,
            "folds.k": 2,
            "methods": {"slow": {"uses": f"{self.adapter}:Slow", **given}, **methods},
        }
        defaults = [
            "scoring.segmenter=thresholds",
            "device=cpu",
            "controls=[identity]",
            "volume_controls=[]",
            "jobs=1",
        ]
        experiment = load_experiment(None, [*defaults, *overrides], changes)
        run_experiment(
            experiment, self.out, self.said.append, configured=configured, budget_s=budget_s
        )
        return json.loads((self.out / "run.json").read_text())["methods"]["slow"]["settings"]

    @property
    def plan(self) -> Plan:
        plan = read_plan(self.out)
        assert plan is not None
        return plan


@pytest.fixture
def stand(
    make_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stand:
    adapter = tmp_path / "slow.py"
    adapter.write_text(ADAPTER)
    stand = Stand(make_manifest(4), adapter, tmp_path / "out")
    course = partial(
        Course, measure=stand.measure, measure_roughly=stand.measure, clock=lambda: stand.now
    )

    def begin(plan, budget_s, say, run, describe, started, *_measures):
        return course(plan, budget_s, say, run, describe, 0.0)

    monkeypatch.setattr(harmbench.runner.experiment, "Course", begin)
    return stand


def corrects_nothing(*_: object) -> Corrected:
    """Segment no real scan, and correct no volumes."""
    return Corrected(0, ({}, {}))


@pytest.fixture
def plans_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs plan and record, and run no cell."""
    monkeypatch.setattr(harmbench.runner.experiment, "correct_volumes", corrects_nothing)
    monkeypatch.setattr(harmbench.runner.experiment, "run_cells", lambda *_, **__: ({}, {}))


def _line(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


@pytest.mark.usefixtures("plans_only")
def test_the_time_is_said_before_training_with_the_papers_command(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    settings = stand()
    assert settings == {"width": 1, "iterations": 100}
    paper = _line(stand.said, "The paper's settings")
    assert "`harmbench run --config paper --method slow --data" in paper
    # Two directions, two folds, ten million steps of a second, on one core.
    assert "about 15 months" in paper
    # Four trainings of 100 steps of 0.01 s.
    assert "about 4 s for 4 trainings" in _line(stand.said, "Estimated")
    assert stand.plan.lines == tuple(
        line for line in stand.said if line.startswith(("No --config", "The paper's"))
    )


@pytest.mark.usefixtures("plans_only")
def test_a_run_of_more_than_a_day_says_how_to_make_it_shorter(stand: Stand) -> None:
    stand(configured=True)
    assert "months for 4 trainings" in _line(stand.said, "Estimated")
    advice = _line(stand.said, "To make it shorter")
    for way in ("--budget", "--config fast", "--device cuda", "--folds"):
        assert way in advice


def test_a_run_on_which_nothing_is_left_measures_nothing(stand: Stand) -> None:
    stand()
    stand()
    assert stand.trials == []
    assert "every training is current" in stand.said


@pytest.mark.usefixtures("plans_only")
def test_a_budget_sizes_the_training_and_a_rerun_does_the_same(stand: Stand) -> None:
    settings = stand(budget_s=100.0)
    # Four cells one after the other in 94 s, a step of 0.01 s.
    assert settings == {"width": 1, "iterations": 94 * 100 / 4}
    assert "Budget of 2 min: slow" in "".join(stand.said)
    config = load_experiment(stand.out / "config.yaml")
    assert config.methods["slow"]["iterations"] == settings["iterations"]
    for again in (stand(budget_s=100.0), stand()):
        assert again == settings
        assert stand.trials == []


def test_later_methods_are_sized_by_what_earlier_ones_showed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells take twice as long as estimated: the second method gets half of the steps."""
    monkeypatch.setattr(harmbench.runner.experiment, "correct_volumes", corrects_nothing)

    def run_cells(context, cells, *, left, **_):
        name = cells[0].method
        if name in context.experiment.methods:
            stand.now += 2 * 4 * context.experiment.methods[name]["iterations"] * 0.01
        return {}, {}

    monkeypatch.setattr(harmbench.runner.experiment, "run_cells", run_cells)
    more = {"twin": {"uses": f"{stand.adapter}:Slow"}}
    stand(budget_s=100.0, methods=more)
    methods = json.loads((stand.out / "run.json").read_text())["methods"]
    first = methods["slow"]["settings"]["iterations"]
    assert first == 94 // 2 * 100 / 4
    left_s = 100 - 2 * 47
    assert methods["twin"]["settings"]["iterations"] == max(20, int(0.94 * left_s / 4 / 0.02))
    assert stand.now <= 100


@pytest.mark.usefixtures("plans_only")
def test_another_budget_is_another_size(stand: Stand) -> None:
    small = stand(budget_s=100.0)
    large = stand(budget_s=10_000.0)
    assert large["width"] == 10
    assert small["width"] == 1


@pytest.mark.usefixtures("plans_only")
@pytest.mark.parametrize("budget_s", [None, 100.0])
@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("given", [{"iterations": 30}, {"width": 7, "iterations": 30}])
def test_what_was_given_stays(stand: Stand, budget_s, configured, given) -> None:
    settings = stand(budget_s=budget_s, configured=configured, **given)
    assert {name: settings[name] for name in given} == given


@pytest.mark.usefixtures("plans_only")
def test_a_budget_that_given_settings_exceed_is_said(stand: Stand) -> None:
    stand(budget_s=100.0, iterations=1_000_000)
    assert "The budget is exceeded by about" in _line(stand.said, "Budget of")


@pytest.mark.usefixtures("plans_only")
def test_a_method_that_cannot_be_measured_is_run_all_the_same(stand: Stand) -> None:
    stand.broken = True
    assert stand(budget_s=100.0) == {"width": 1, "iterations": 100}
    assert "cannot be sized to the budget (a trial's process was killed)" in "".join(stand.said)
    stand.out = stand.out.with_name("other")
    stand()
    assert "slow cannot be estimated (a trial's process was killed)" in "".join(stand.said)


@pytest.mark.usefixtures("plans_only")
def test_a_damaged_plan_is_read_from_the_record_of_the_start(stand: Stand) -> None:
    settings = stand()
    path = stand.out / "run.json"
    record = unsealed(path)
    record["plan"] = {"level": "enormous"}
    path.write_text(json.dumps(record))
    assert stand() == settings
    said = "".join(stand.said)
    assert re.search(r"run\.json: damaged \(plan\.level: .*made again from invocations/", said)
