"""What a run chose instead of its user, on record: a rerun does the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from harmbench.settings import Settings

__all__ = ["Cost", "Level", "MethodPlan", "Plan"]

Level = Literal["given", "full", "small"]
"""Which settings count where the user gave none: those of the configuration that was given, the
methods' defaults (the paper's), or those for a machine without a GPU."""


class Cost(Settings):
    """What a method costs, for one subject where nothing else is said.

    Attributes:
        step_s: seconds of a training step, while as many cells run as the experiment says.
        networks: networks that are trained one after the other.
        slices: training slices that each of them gets.
        pair_s: seconds to read and cut a training pair for a network.
        harmonize_s: seconds to harmonize a volume.
    """

    step_s: float
    networks: int
    slices: float
    pair_s: float
    harmonize_s: float

    def times(self, factor: float) -> Cost:
        """Return the cost with all times multiplied by a factor."""
        names = ("step_s", "pair_s", "harmonize_s")
        return self.model_copy(update={name: getattr(self, name) * factor for name in names})


class MethodPlan(Settings):
    """The settings that were chosen for a method.

    Attributes:
        uses: which method: its name, or FILE.py:CLASS.
        level: where settings come from that the user did not give.
        given: the settings that the user gave.
        settings: those that it runs with, `given` among them.
        budget_s: the run's budget that they were sized to; `None` where there was none.
        cost: what a trial found; `None` where none was needed.
        said: what the user was told of the choice.
    """

    uses: str
    level: Level
    given: Mapping[str, object]
    settings: Mapping[str, object]
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
    data: Mapping[str, object] = {}
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
