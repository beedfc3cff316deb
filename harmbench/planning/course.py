"""The course of a run: what has a known cost first, then trainings, sized or estimated."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol

from harmbench.bench import Bench
from harmbench.config import Experiment
from harmbench.errors import HarmbenchError
from harmbench.method import load_method
from harmbench.planning.durations import in_words
from harmbench.planning.estimate import (
    advice,
    cell_size,
    is_current,
    paper_line,
    rest_of,
    seconds_of,
    trains,
    trial_of,
)
from harmbench.planning.machine import with_settings
from harmbench.planning.plan import MethodPlan, Plan, write_plan
from harmbench.planning.sizing import Sized, cells_s, size
from harmbench.planning.trial import Measure, measure_apart, rough_apart
from harmbench.runs import Cell

__all__ = ["Course", "RunCells"]

_AIM = 0.94
"""Share of the time left that trainings are sized to: estimates err, and a run has an end to it."""


Reasons = Mapping[str, str]
"""Name of a cell to a reason."""


class RunCells(Protocol):
    """Runs cells and returns why some failed, and why some are incomplete."""

    def __call__(
        self, bench: Bench, cells: Sequence[Cell], expected: Mapping[str, float], beyond_s: float
    ) -> tuple[Reasons, Reasons]:
        """Run `cells`; `expected` seconds by cell, and what comes after them, tell the time left."""


@dataclass(slots=True)
class Course:
    """Runs the cells of a run in the order that lets trainings be sized and estimated.

    Attributes:
        plan: what was chosen so far.
        budget_s: seconds that the run may take; `None` without a budget.
        say: told what happens.
        run: runs cells.
        describe: returns what `run.json` keeps of an experiment's methods.
        started: when the run began, as `clock` has it.
        clock: seconds from any time on.
        measure: returns what a training costs.
        measure_roughly: the same from less, for trainings that are long.
    """

    plan: Plan
    budget_s: float | None
    say: Callable[[str], None]
    run: RunCells
    describe: Callable[[Experiment], Mapping[str, Any]]
    started: float
    clock: Callable[[], float] = time.monotonic
    measure: Measure = measure_apart
    measure_roughly: Measure = rough_apart

    def follow(self, bench: Bench, cells: Sequence[Cell]) -> tuple[dict[str, str], dict[str, str]]:
        """Run all cells, those that train last; return why some failed, and are incomplete."""
        methods = bench.experiment.all_methods()
        known = {label for label, (uses, own) in methods.items() if trains(uses, own, label)}
        others = [cell for cell in cells if cell.method not in known]
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.method in known:
                groups.setdefault(cell.method, []).append(cell)
        if self.plan.level == "small" and not self.plan.has_paper_line and groups:
            self._say_paper(bench, groups)
        failed, incomplete = map(dict, self.run(bench, others, {}, 0.0))
        if not groups:
            return failed, incomplete
        if self.budget_s is None:
            expected = self._estimate(bench, groups)
            later = [cell for cell in cells if cell.method in known]
            more = self.run(bench, later, expected, 0.0)
            return failed | dict(more[0]), incomplete | dict(more[1])
        for number, label in enumerate(groups):
            waiting = list(groups.values())[number:]
            bench, expected = self._size(bench, label, waiting)
            left_s = self._left_s()
            beyond_s = max(0.0, left_s - left_s * _share(bench, waiting))
            more = self.run(bench, groups[label], expected, beyond_s)
            failed |= more[0]
            incomplete |= more[1]
        return failed, incomplete

    def _say_paper(self, bench: Bench, groups: Mapping[str, Sequence[Cell]]) -> None:
        uses = {label: bench.experiment.all_methods()[label][0] for label in groups}
        self.say("Estimating the paper's settings from two training steps ...")
        line = paper_line(bench, groups, uses, self.measure_roughly)
        self.plan = self.plan.model_copy(update={"has_paper_line": True})
        self._note(bench, line)

    def _note(self, bench: Bench, *lines: str) -> None:
        """Say lines, and record them with the plan."""
        for line in lines:
            self.say(line)
        self.plan = self.plan.saying(*lines)
        self._record(bench)

    def _record(self, bench: Bench) -> None:
        methods = self.describe(bench.experiment)
        write_plan(bench.folder, self.plan, bench.experiment, methods, bench.invocation)

    def _left_s(self) -> float:
        return (self.budget_s or 0.0) - (self.clock() - self.started)

    def _pending(self, bench: Bench, cells: Sequence[Cell]) -> list[Cell]:
        settings = self.describe(bench.experiment)[cells[0].method]["settings"]
        return [cell for cell in cells if not is_current(bench, cell, settings)]

    def _estimate(self, bench: Bench, groups: Mapping[str, Sequence[Cell]]) -> dict[str, float]:
        """Measure what trainings cost that are to be done, and say what the run takes."""
        expected: dict[str, float] = {}
        unknown = []
        for label, cells in groups.items():
            pending = self._pending(bench, cells)
            if not pending:
                continue
            try:
                seconds = self._measured_s(bench, label, pending)
            except HarmbenchError as error:
                unknown.append(f"{label} cannot be estimated ({error})")
                continue
            expected |= {str(cell): seconds for cell in pending}
        if not expected and not unknown:
            self.say("every training is current")
            return {}
        total = cells_s(list(expected.values()), _lanes(bench))
        parts = [f"about {in_words(total)} for {len(expected)} trainings"] if expected else []
        lines = [f"Estimated from measured steps: {'; '.join([*parts, *unknown])}."]
        short = advice(total, bench.device)
        self._note(bench, *lines, *([short] if short else []))
        return expected

    def _measured_s(self, bench: Bench, label: str, cells: Sequence[Cell]) -> float:
        uses, settings = bench.experiment.all_methods()[label]
        own = self.plan.methods.get(label) or MethodPlan(
            uses=uses, given=settings, settings=settings
        )
        trial = trial_of(bench, cells, uses, settings)
        if own.cost is None or dict(own.settings) != dict(settings):
            own = MethodPlan(
                uses=uses, given=own.given, settings=settings, cost=self.measure(trial)
            )
            self.plan = self.plan.with_method(label, own)
        assert own.cost is not None
        return seconds_of(trial, cell_size(bench, cells), rest_of(bench.folder), own.cost)

    def _size(
        self, bench: Bench, label: str, waiting: Sequence[Sequence[Cell]]
    ) -> tuple[Bench, dict[str, float]]:
        """Size a method's training to its share of the time left, unless that was done before."""
        cells = waiting[0]
        uses, given = bench.experiment.all_methods()[label]
        known = self.plan.methods.get(label)
        if known is not None and known.budget_s == self.budget_s:
            if known.cost is None:
                return bench, {}
            trial = trial_of(bench, cells, uses, known.settings)
            seconds = seconds_of(trial, cell_size(bench, cells), rest_of(bench.folder), known.cost)
            return bench, {str(cell): seconds for cell in self._pending(bench, cells)}
        try:
            sized = self._sized(bench, label, waiting)
        except HarmbenchError as error:
            self._note(bench, f"{label} cannot be sized to the budget ({error}).")
            return self._as_small(bench, label), {}
        own = MethodPlan(
            uses=uses, given=given, settings=sized.settings, budget_s=self.budget_s, cost=sized.cost
        )
        self.plan = self.plan.with_method(label, own)
        bench = replace(bench, experiment=with_settings(bench.experiment, label, sized.settings))
        self._note(bench, self._budget_line(bench, cells, sized))
        return bench, {str(cell): sized.seconds for cell in cells}

    def _sized(self, bench: Bench, label: str, waiting: Sequence[Sequence[Cell]]) -> Sized:
        cells = waiting[0]
        uses, given = bench.experiment.all_methods()[label]
        kind = load_method(uses)
        rounds = ceil(len(cells) / _lanes(bench))
        share = _share(bench, waiting)
        return size(
            kind,
            label,
            given,
            [{}] if self.plan.level == "given" or not kind.sizes else kind.sizes,
            cell_size(bench, cells),
            rest_of(bench.folder),
            lambda: _AIM * self._left_s() * share / rounds,
            lambda settings: self.measure(trial_of(bench, cells, uses, settings)),
        )

    def _budget_line(self, bench: Bench, cells: Sequence[Cell], sized: Sized) -> str:
        label = cells[0].method
        parameters = self.describe(bench.experiment)[label]["parameters"]
        counts = " and ".join(f"{number:,}" for number in parameters.values())
        total = cells_s([sized.seconds] * len(cells), _lanes(bench))
        over = total - self._left_s()
        late = f" The budget is exceeded by about {in_words(over)}." if over > 0 else ""
        return (
            f"Budget of {in_words(self.budget_s or 0)}: {label} ({counts} parameters) is trained in "
            f"{sized.steps:,} steps, about {in_words(total)} for {len(cells)} trainings.{late}"
        )

    def _as_small(self, bench: Bench, label: str) -> Bench:
        """Give a method that cannot be measured the smallest settings, where the user chose none."""
        uses, given = bench.experiment.all_methods()[label]
        sizes = load_method(uses).sizes
        if self.plan.level == "given" or not sizes:
            return bench
        settings = {**sizes[-1], **given}
        own = MethodPlan(uses=uses, given=given, settings=settings, budget_s=self.budget_s)
        self.plan = self.plan.with_method(label, own)
        bench = replace(bench, experiment=with_settings(bench.experiment, label, settings))
        self._record(bench)
        return bench


def _lanes(bench: Bench) -> int:
    """Cells that advance at full speed at the same time; those on one GPU share it."""
    cores = os.cpu_count() or 1
    return min(bench.experiment.jobs, cores) if bench.device == "cpu" else 1


def _share(bench: Bench, waiting: Sequence[Sequence[Cell]]) -> float:
    """The first method's share of the time: rounds of cells count the same, whatever the method."""
    rounds = [ceil(len(cells) / _lanes(bench)) for cells in waiting]
    return rounds[0] / sum(rounds)
