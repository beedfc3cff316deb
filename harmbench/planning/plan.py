"""What a run chose instead of its user, on record: a rerun does the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from harmbench.config import write_experiment
from harmbench.errors import RunError
from harmbench.planning.trial import Cost
from harmbench.runner.context import Bench
from harmbench.runner.folder import RunFolder
from harmbench.settings import Settings
from harmbench.storage import read_json

__all__ = ["Level", "MethodPlan", "Plan", "read_plan", "write_plan"]

Level = Literal["given", "full", "small"]
"""Which settings count where the user gave none: those of the configuration that was given, the
methods' defaults (the paper's), or those for a machine without a GPU."""


class MethodPlan(Settings):
    """The settings that were chosen for a method.

    Attributes:
        uses: the method's name.
        level: where settings come from that the user did not give.
        given: the settings that the user gave.
        settings: those that it runs with, `given` among them.
        budget_s: the run's budget that they were sized to; `None` where there was none.
        cost: what a trial found; `None` where none was needed.
        said: what the user was told of the choice.
    """

    uses: str
    level: Level
    given: Mapping[str, Any]
    settings: Mapping[str, Any]
    budget_s: float | None = None
    cost: Cost | None = None
    said: str = ""


class Plan(Settings):
    """What a run chose.

    Attributes:
        level: where settings come from that the user did not give.
        data: dotted name to value, of settings outside of methods.
        methods: by label.
        said: what the user was told of the choice, and of the paper's settings.
        has_paper_line: whether it was said how to run with the paper's settings.
    """

    level: Level = "given"
    data: Mapping[str, Any] = {}
    methods: Mapping[str, MethodPlan] = {}
    said: tuple[str, ...] = ()
    has_paper_line: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """All that the user was told."""
        return (*self.said, *(own.said for own in self.methods.values() if own.said))

    def with_method(self, label: str, own: MethodPlan) -> Plan:
        """Return the plan with the settings of one more method."""
        return self.model_copy(update={"methods": {**self.methods, label: own}})

    def saying(self, *lines: str) -> Plan:
        """Return the plan with what else was said."""
        return self.model_copy(update={"said": tuple(dict.fromkeys((*self.said, *lines)))})


def read_plan(out: Path) -> Plan | None:
    """Return the plan that a run folder records, `None` where it records none.

    Raises:
        RunError: it is damaged.
    """
    path = RunFolder(out).record
    try:
        record = read_json(path)
        found = record.get("plan") if isinstance(record, dict) else None
        return None if found is None else Plan.model_validate(found)
    except (ValueError, OSError, ValidationError) as error:
        raise RunError(f"{path}: the plan of the run is damaged; choose another --out") from error


def write_plan(bench: Bench, plan: Plan, methods: Mapping[str, Any]) -> None:
    """Record a plan, and what follows from it: the settings of the run and of its methods."""
    write_experiment(bench.experiment, bench.folder.config)

    def note(run: dict[str, Any]) -> None:
        run["plan"] = plan.model_dump(mode="json")
        run["methods"] = {**run.get("methods", {}), **methods}
        for entry in run.get("invocations", []):
            if entry.get("id") == bench.invocation:
                entry["config"] = bench.experiment.model_dump(mode="json")

    bench.folder.update_record(note)
