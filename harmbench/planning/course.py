"""The course of a run: what has a known cost first, then trainings, sized or estimated."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

from harmbench.config import Experiment
from harmbench.discovery import load_method
from harmbench.errors import HarmbenchError
from harmbench.planning.durations import in_words
from harmbench.planning.estimate import (
    advice,
    cell_size,
    is_current,
    learns,
    paper_line,
    rest_of,
    seconds_of,
    trains,
    trial_of,
)
from harmbench.planning.machine import with_settings
from harmbench.planning.plan import MethodPlan, Plan
from harmbench.planning.sizing import Sized, cells_s, size
from harmbench.planning.trial import Measure, measure_apart, rough_apart
from harmbench.progress import Remaining
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell
from harmbench.runner.invocations import write_plan
from harmbench.runner.run_record import MethodRecord

__all__ = ["Course", "RunCells"]

_AIM = 0.94
"""Share of the time left that trainings are sized to, since estimates have errors."""
_MOST_OFF = 3.0


Ends = tuple[dict[str, str], dict[str, str]]
"""Why cells failed, and why cells are incomplete, by cell."""


class RunCells(Protocol):
    """Runs cells."""

    def __call__(
        self, context: RunContext, cells: Sequence[Cell], *, left: Remaining | None
    ) -> Ends:
        """Run `cells`; `left` knows the time left for the whole run."""


@dataclass(slots=True)
class Course:
    """Runs the cells of a run in the order that lets trainings be sized and estimated.

    Attributes:
        plan: what was chosen so far.
        budget_s: seconds that the run may take; `None` without a budget.
        say: called with each status line.
        run: runs cells.
        describe: returns what `run.json` keeps of an experiment's methods.
        started: when the run began, as `clock` has it.
        measure: returns what a training costs.
        measure_roughly: the same from less, for trainings that are long.
        clock: seconds from any time on.
        off: by which factor cells took longer than estimated.
    """

    plan: Plan
    budget_s: float | None
    say: Callable[[str], None]
    run: RunCells
    describe: Callable[[Experiment], Mapping[str, MethodRecord]]
    started: float
    measure: Measure = measure_apart
    measure_roughly: Measure = rough_apart
    clock: Callable[[], float] = time.monotonic
    off: float = 1.0

    def follow(self, context: RunContext, cells: Sequence[Cell]) -> Ends:
        """Run all cells, those that train last; return why those did not end well that did not."""
        methods = context.experiment.all_methods()
        known = {label for label, (uses, own) in methods.items() if trains(uses, own, label)}
        others = [cell for cell in cells if cell.method not in known]
        groups = _by_method(cell for cell in cells if cell.method in known)
        if self.plan.level == "small" and not self.plan.has_paper_line and groups:
            self._say_paper(context, groups)
        for label in dict.fromkeys(cell.method for cell in others):
            if label in context.experiment.methods and learns(methods[label][0]):
                self.say(f"{label}: its time is not estimated, it does not tell its training steps")
        ends: Ends = ({}, {})
        self._run(context, others, {}, ends)
        if self.budget_s is None and groups:
            later = [cell for cell in cells if cell.method in known]
            self._run(context, later, self._estimate(context, groups), ends)
        for number, label in enumerate(groups if self.budget_s is not None else ()):
            waiting = list(groups.values())[number:]
            context, expected = self._size(context, label, waiting)
            beyond_s = max(0.0, self._left_s() * (1 - _share(context, waiting)))
            begun = self.clock()
            self._run(context, groups[label], expected, ends, beyond_s)
            if expected:
                # Later methods are sized by what this one showed of the estimates.
                off = (self.clock() - begun) / cells_s(list(expected.values()), _lanes(context))
                self.off = min(_MOST_OFF, max(1 / _MOST_OFF, self.off * off))
        return ends

    def _run(
        self,
        context: RunContext,
        cells: Sequence[Cell],
        expected: Mapping[str, float],
        ends: Ends,
        beyond_s: float = 0.0,
    ) -> None:
        if not cells:
            return
        left = Remaining(expected, context.experiment.jobs, beyond_s) if expected else None
        for known, new in zip(ends, self.run(context, cells, left=left), strict=True):
            known.update(new)

    def _say_paper(self, context: RunContext, groups: Mapping[str, Sequence[Cell]]) -> None:
        uses = {label: context.experiment.all_methods()[label][0] for label in groups}
        if self.budget_s is None:
            self.say("Estimating the time of the paper's settings ...")
            line = paper_line(context, groups, uses, self.measure_roughly)
        else:
            line = paper_line(context, groups, uses)  # measuring would take from the budget
        self.say(line)
        self.plan = self.plan.saying(line).model_copy(update={"has_paper_line": True})
        self._record(context)

    def _record(self, context: RunContext) -> None:
        write_plan(context, self.plan, self.describe(context.experiment))

    def _left_s(self) -> float:
        return (self.budget_s or 0.0) - (self.clock() - self.started)

    def _pending(self, context: RunContext, cells: Sequence[Cell]) -> list[Cell]:
        settings = self.describe(context.experiment)[cells[0].method].settings
        return [cell for cell in cells if not is_current(context, cell, settings)]

    def _estimate(
        self, context: RunContext, groups: Mapping[str, Sequence[Cell]]
    ) -> dict[str, float]:
        """Measure what trainings cost that are to be done, and say what the run takes."""
        expected: dict[str, float] = {}
        unknown = []
        for label, cells in groups.items():
            pending = self._pending(context, cells)
            if not pending:
                continue
            try:
                seconds = self._measured_s(context, label, pending)
            except HarmbenchError as error:
                unknown.append(f"{label} cannot be estimated ({error})")
                continue
            expected |= {str(cell): seconds for cell in pending}
        if not expected and not unknown:
            self.say("every training is current")
            return {}
        total = cells_s(list(expected.values()), _lanes(context))
        parts = [f"about {in_words(total)} for {len(expected)} trainings"] if expected else []
        self.say(f"Estimated from measured steps: {'; '.join([*parts, *unknown])}.")
        shorter = advice(total, context.device)
        if shorter:
            self.say(shorter)
        self._record(context)
        return expected

    def _measured_s(self, context: RunContext, label: str, cells: Sequence[Cell]) -> float:
        uses, settings = context.experiment.all_methods()[label]
        own = self.plan.methods.get(label) or MethodPlan(
            uses=str(uses), level=self.plan.level, given=settings, settings=settings
        )
        trial = trial_of(context, cells, uses, settings)
        if own.cost is None or dict(own.settings) != dict(settings):
            update = {"settings": settings, "cost": self.measure(trial)}
            own = own.model_copy(update=update)
            self.plan = self.plan.with_method(label, own)
        assert own.cost is not None
        return seconds_of(trial, cell_size(context, cells), rest_of(context.folder), own.cost)

    def _size(
        self, context: RunContext, label: str, waiting: Sequence[Sequence[Cell]]
    ) -> tuple[RunContext, dict[str, float]]:
        """Size a method's training to its share of the time left, unless that was done before."""
        cells = waiting[0]
        uses, given = context.experiment.all_methods()[label]
        known = self.plan.methods.get(label)
        if known is not None and known.budget_s == self.budget_s:
            if known.cost is None:
                return context, {}
            trial, rest = trial_of(context, cells, uses, known.settings), rest_of(context.folder)
            seconds = seconds_of(trial, cell_size(context, cells), rest, known.cost)
            return context, {str(cell): seconds for cell in self._pending(context, cells)}
        level = self.plan.level
        own = MethodPlan(
            uses=str(uses), level=level, given=given, settings=given, budget_s=self.budget_s
        )
        try:
            sized = self._sized(context, label, waiting)
        except HarmbenchError as error:
            # The smallest settings, where the user chose none.
            sizes = () if level == "given" else load_method(uses).sizes
            settings = {**(sizes[-1] if sizes else {}), **given}
            said = f"{label} cannot be sized to the budget ({error})."
            own = own.model_copy(update={"settings": settings, "said": said})
            expected: dict[str, float] = {}
        else:
            sized_run = with_settings(context.experiment, label, sized.settings)
            parameters = self.describe(sized_run)[label].parameters
            total_s = cells_s([sized.seconds] * len(cells), _lanes(context))
            late_s = total_s - self._left_s()
            line = _budget_line(label, parameters, sized, len(cells), total_s, late_s)
            said = f"Budget of {in_words(self.budget_s or 0)}: {line}"
            settings = dict(sized.settings)
            own = own.model_copy(update={"settings": settings, "cost": sized.cost, "said": said})
            expected = {str(cell): sized.seconds for cell in cells}
        self.plan = self.plan.with_method(label, own)
        context = replace(context, experiment=with_settings(context.experiment, label, settings))
        self.say(said)
        self._record(context)
        return context, expected

    def _sized(self, context: RunContext, label: str, waiting: Sequence[Sequence[Cell]]) -> Sized:
        cells = waiting[0]
        uses, given = context.experiment.all_methods()[label]
        kind = load_method(uses)
        rounds = ceil(len(cells) / _lanes(context))
        share = _share(context, waiting)
        return size(
            kind,
            label,
            given,
            [{}] if self.plan.level == "given" or not kind.sizes else kind.sizes,
            cell_size(context, cells),
            rest_of(context.folder),
            lambda: _AIM * self._left_s() * share / rounds,
            lambda settings: self.measure(trial_of(context, cells, uses, settings)).times(self.off),
        )


def _budget_line(
    label: str,
    parameters: Mapping[str, int],
    sized: Sized,
    cells: int,
    total_s: float,
    late_s: float,
) -> str:
    """Say what a budget gives a method, and by how much it is exceeded.

    Args:
        label: of the method.
        parameters: number of parameters by network.
        sized: its settings.
        cells: number of trainings.
        total_s: seconds of all of them.
        late_s: seconds beyond the budget; 0 or less where it is kept.
    """
    counts = " and ".join(f"{number:,}" for number in parameters.values())
    late = f" The budget is exceeded by about {in_words(late_s)}." if late_s > 0 else ""
    return (
        f"{label} ({counts} parameters) is trained in {sized.steps:,} steps, about "
        f"{in_words(total_s)} for {cells} trainings.{late}"
    )


def _by_method(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.method, []).append(cell)
    return groups


def _counts(parameters: Mapping[str, int]) -> str:
    return " and ".join(f"{number:,}" for number in parameters.values())


def _lanes(context: RunContext) -> int:
    """Cells that advance at full speed at the same time; those on one GPU share it."""
    cores = os.cpu_count() or 1
    return min(context.experiment.jobs, cores) if context.device == "cpu" else 1


def _share(context: RunContext, waiting: Sequence[Sequence[Cell]]) -> float:
    """The first method's share of the time: rounds of cells count the same, whatever the method."""
    rounds = [ceil(len(cells) / _lanes(context)) for cells in waiting]
    return rounds[0] / sum(rounds)
