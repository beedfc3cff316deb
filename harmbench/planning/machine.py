"""Settings that fit the machine, where the user gave none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import psutil
from pydantic import BaseModel

from harmbench.config import Experiment
from harmbench.discovery import load_method
from harmbench.errors import MethodError, UnavailableError
from harmbench.planning.plan import Level, MethodPlan, Plan
from harmbench.plugins import Reference

__all__ = ["fit_to_machine", "with_settings"]

Model = TypeVar("Model", bound=BaseModel)

_SMALL_COHORT = {"data.phantom.subjects": 8, "data.phantom.spacing_mm": 2.0}
_MOST_JOBS = 4
_JOB_BYTES = 3 * 2**30
_AGAIN = "Settings that an earlier run in this folder chose are taken again."
_FULL_COHORT_FROM_S = 2 * 3600.0
"""Budget below which the simulated cohort is small: that of the paper takes a while to make."""


def fit_to_machine(
    experiment: Experiment,
    *,
    configured: bool,
    on_gpu: bool,
    budget_s: float | None = None,
    before: Plan | None = None,
) -> tuple[Experiment, Plan]:
    """Choose what the user did not give, and say so in the plan.

    Args:
        experiment: the settings that were given; they stay.
        configured: whether they come from a configuration that is to be taken as it is.
        on_gpu: whether the methods compute on a GPU.
        budget_s: seconds that the run may take.
        before: the plan of an earlier run in the same folder, whose choices are taken again.

    Returns:
        The experiment to run, and its plan; methods that are sized to a budget later, and have not
        been, are not in it.
    """
    level, said = _level(configured=configured, on_gpu=on_gpu, budget_s=budget_s, before=before)
    methods = experiment.all_methods()
    trained = [label for label, (uses, _) in methods.items() if _sizes(uses)]
    data: dict[str, object] = {}
    if before is not None and before.level == level and not configured:
        data = dict(before.data)
    elif level == "small":
        data = dict(_SMALL_COHORT) if experiment.data.path is None else {}
        if not on_gpu and trained:
            data["jobs"] = _jobs()
    data = {name: value for name, value in data.items() if not _is_given(experiment, name)}
    chosen: dict[str, MethodPlan] = {}
    for label, (uses, given) in methods.items():
        known = None if before is None else before.methods.get(label)
        if known is not None and _holds(known, uses, level, given, budget_s):
            chosen[label] = known
        elif level == "small" and budget_s is None and (sizes := _sizes(uses)):
            settings = {**sizes[-1], **given}
            chosen[label] = MethodPlan(uses=str(uses), level=level, given=given, settings=settings)
    if not data and not trained:
        said = ""  # there was nothing to choose
    elif before is not None and (data or chosen):
        said = f"{said} {_AGAIN}".strip()
    plan = Plan(level=level, data=data, methods=chosen)
    fitted = _applied(experiment, plan)
    if before is not None:
        # Of methods that this run leaves alone the plan is kept.
        others = {k: v for k, v in before.methods.items() if k not in experiment.all_methods()}
        plan = before.model_copy(
            update={"level": level, "data": data, "methods": {**others, **chosen}}
        )
    return fitted, plan.saying(said) if said else plan


def _level(
    *, configured: bool, on_gpu: bool, budget_s: float | None, before: Plan | None
) -> tuple[Level, str]:
    if configured:
        return "given", ""
    if before is not None and before.level != "given":
        return before.level, ""
    if on_gpu and budget_s is None:
        return "full", "No --config: the methods' defaults, the paper's settings, on a GPU."
    if on_gpu and budget_s is not None and budget_s >= _FULL_COHORT_FROM_S:
        return "full", "No --config: methods are sized to the budget."
    if budget_s is not None:
        return "small", "No --config: methods are sized to the budget, a simulated cohort is small."
    return "small", (
        "No --config: settings for a machine without a GPU, small networks and short trainings. They "
        "show how the benchmark works; they are not the published methods."
    )


def _holds(
    known: MethodPlan,
    uses: Reference,
    level: Level,
    given: Mapping[str, object],
    budget_s: float | None,
) -> bool:
    same = (known.uses, known.level) == (str(uses), level) and dict(known.given) == dict(given)
    return same and (budget_s is None or budget_s == known.budget_s)


def _is_given(experiment: Experiment, name: str) -> bool:
    """Whether the user gave the setting with this dotted name."""
    place: object = experiment
    for part in name.split("."):
        if not isinstance(place, BaseModel) or part not in place.model_fields_set:
            return False
        place = getattr(place, part)
    return True


def _sizes(uses: Reference) -> Sequence[Mapping[str, object]]:
    try:
        return load_method(uses).sizes
    except (MethodError, UnavailableError):
        return ()  # said when all methods are checked


def _jobs() -> int:
    """Cells at a time: small networks use one core well and several badly."""
    memory = psutil.virtual_memory().available // _JOB_BYTES
    return int(max(1, min(_MOST_JOBS, os.cpu_count() or 1, memory)))


def _applied(experiment: Experiment, plan: Plan) -> Experiment:
    for name, value in plan.data.items():
        experiment = _with(experiment, name.split("."), value)
    for label, own in plan.methods.items():
        experiment = with_settings(experiment, label, own.settings)
    return experiment


def with_settings(experiment: Experiment, label: str, settings: Mapping[str, object]) -> Experiment:
    """Return the experiment with other settings of a method."""
    before = experiment.methods.get(label, {})
    uses = {"uses": before["uses"]} if "uses" in before else {}
    methods = {**experiment.methods, label: {**uses, **settings}}
    return experiment.model_copy(update={"methods": methods})


def _with(place: Model, path: Sequence[str], value: object) -> Model:
    first, *rest = path
    inner = _with(getattr(place, first), rest, value) if rest else value
    return place.model_copy(update={first: inner})
