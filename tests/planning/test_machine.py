"""Settings where the user gave none, and that those the user gave stay."""

from __future__ import annotations

from typing import Any

import pytest

from harmbench.cli.options import config_path
from harmbench.config import Experiment, load_experiment, select_methods
from harmbench.discovery import load_method, make_settings, usable_methods
from harmbench.planning.machine import fit_to_machine
from harmbench.planning.plan import MethodPlan, Plan


def _fit(*overrides: str, **options: Any) -> tuple[Experiment, Plan]:
    experiment = select_methods(load_experiment(None, overrides), ["unet"])
    values = {"configured": False, "on_gpu": False, **options}
    return fit_to_machine(experiment, **values)


def _own(experiment: Experiment) -> dict[str, Any]:
    uses, values = experiment.all_methods()["unet"]
    return make_settings(load_method(uses), values, "unet").model_dump()


def test_without_a_gpu_cohort_and_networks_are_small() -> None:
    experiment, plan = _fit()
    assert experiment.data.phantom.subjects == 8
    assert experiment.data.phantom.spacing_mm == 2.0
    assert _own(experiment)["iterations"] == load_method("unet").sizes[-1]["iterations"]
    assert plan.level == "small"
    assert plan.said[0].startswith("No --config: settings for a machine without a GPU")


def test_on_a_gpu_settings_are_the_papers() -> None:
    experiment, plan = _fit(on_gpu=True)
    assert experiment == select_methods(load_experiment(), ["unet"])
    assert plan.level == "full"


def test_a_configuration_is_taken_as_it_is() -> None:
    for name in ("demo", "fast", "paper"):
        before = load_experiment(config_path(name))
        after, plan = fit_to_machine(before, configured=True, on_gpu=False)
        assert after == before
        assert plan.said == ()


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("data.phantom.subjects=12", "subjects"),
        ("data.phantom.spacing_mm=1.0", "spacing_mm"),
        ("data.phantom.seed=3", "seed"),
    ],
)
def test_a_given_cohort_stays(override: str, name: str) -> None:
    given = getattr(load_experiment(None, [override]).data.phantom, name)
    for options in ({}, {"budget_s": 60.0}, {"on_gpu": True}):
        experiment, _ = _fit(override, **options)
        assert getattr(experiment.data.phantom, name) == given


@pytest.mark.parametrize("jobs", [1, 3])
def test_given_jobs_stay(jobs: int) -> None:
    assert _fit(f"jobs={jobs}")[0].jobs == jobs


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("methods.unet.iterations=7000", "iterations", 7000),
        ("methods.unet.channels=[64,64]", "channels", (64, 64)),
        ("methods.unet.pixel_loss=l1", "pixel_loss", "l1"),
    ],
)
def test_given_settings_of_a_method_stay(override: str, name: str, value: object) -> None:
    assert _own(_fit(override)[0])[name] == value


def test_own_scans_are_not_replaced_by_a_cohort(tmp_path) -> None:
    experiment, _ = _fit(f"data.path={tmp_path}")
    assert experiment.data.phantom.subjects == 40
    assert experiment.data.path == tmp_path


def test_a_rerun_takes_the_recorded_choice_on_another_machine_too() -> None:
    first, plan = _fit()
    again, after = _fit(on_gpu=True, before=plan)
    assert again == first
    assert after.methods == plan.methods
    assert any("earlier run" in line for line in after.said)


def test_a_rerun_with_the_same_budget_takes_the_recorded_size_and_with_another_does_not() -> None:
    sized = MethodPlan(
        uses="unet",
        level="small",
        given={},
        settings={"iterations": 777, "warmup": 5},
        budget_s=60.0,
    )
    plan = Plan(level="small", methods={"unet": sized})
    assert _own(_fit(budget_s=60.0, before=plan)[0])["iterations"] == 777
    assert _own(_fit(before=plan)[0])["iterations"] == 777
    assert "unet" not in _fit(budget_s=120.0, before=plan)[1].methods
    changed, _ = _fit("methods.unet.iterations=9", "methods.unet.warmup=1", before=plan)
    assert _own(changed)["iterations"] == 9


def test_a_configuration_does_not_take_what_the_machine_chose() -> None:
    _, plan = _fit()
    given, after = _fit(configured=True, before=plan)
    assert given == select_methods(load_experiment(), ["unet"])
    assert "unet" not in after.methods


def test_plans_of_methods_that_a_run_leaves_alone_are_kept() -> None:
    other = MethodPlan(uses="dm", level="small", given={}, settings={"iterations": 5})
    plan = Plan(level="small", methods={"dm": other})
    assert _fit(before=plan)[1].methods["dm"] == other


@pytest.mark.parametrize("name", sorted(usable_methods()))
def test_every_size_of_every_method_is_valid_and_sized_settings_are_taken(name: str) -> None:
    kind = load_method(name)
    for values in kind.sizes:
        method = kind(make_settings(kind, values, name))
        assert method.training_steps(1000) > 0
        for steps in (20, 123, 100_000):
            resized = kind(make_settings(kind, {**values, **method.sized(steps)}, name))
            assert resized.training_steps(1000) == steps


def test_the_smallest_sizes_are_those_of_the_demo() -> None:
    for label, values in load_experiment(config_path("demo")).methods.items():
        small = dict(load_method(label).sizes[-1])
        # The demo counts epochs; sizes count steps, so that the time does not grow with the cohort.
        for name in ("iterations", "epochs", "decay_epochs", "checkpoint_every"):
            small.pop(name, None)
            values.pop(name, None)
        assert {n: list(v) if isinstance(v, tuple) else v for n, v in small.items()} == values
