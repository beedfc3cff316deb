"""From an experiment to scored cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from harmbench.cohorts.data import simulation_line
from harmbench.config import Experiment, with_absolute_paths
from harmbench.discovery import load_method, make_settings
from harmbench.errors import ConfigError, MethodError, RunError
from harmbench.executors import Executor, LocalExecutor
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.planning.course import Course
from harmbench.planning.machine import fit_to_machine
from harmbench.planning.trial import Measure, measure_apart, rough_apart
from harmbench.results import CEILING, REAL_SCANS, RESCAN
from harmbench.runner.checks import (
    check_file_names,
    check_same_data,
    check_writable,
    old_keys_line,
)
from harmbench.runner.context import RunContext
from harmbench.runner.corrections import correct_volumes, describe_corrections
from harmbench.runner.executor import begin_server, has_gpus, make_executor, on_devices
from harmbench.runner.grid import (
    collect,
    damaged_cells,
    damaged_scores,
    finished_cells,
    make_cells,
    run_cells,
)
from harmbench.runner.invocations import (
    begin_run,
    end_invocation,
    new_invocation,
    note_tables,
    read_plan,
    write_plan,
)
from harmbench.runner.leftovers import sweep
from harmbench.runner.opening import first_lines, open_run
from harmbench.runner.progress_file import write_planned
from harmbench.runner.run_record import MethodRecord
from harmbench.runner.tables import write_tables
from harmbench.segmentation import choose_segmenter

__all__ = ["Summary", "conclude", "describe_methods", "run_experiment", "torch_device"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended.

    Attributes:
        out: the run folder.
        cells: number of cells that were asked for.
        failed: cells that failed, each with its reason.
        incomplete: cells with volumes that have no scores of tissues, each with the reason.
    """

    out: Path
    cells: int
    failed: Mapping[str, str]
    incomplete: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every score that was asked for is there."""
        return not self.failed and not self.incomplete


def run_experiment(
    experiment: Experiment,
    out: Path,
    say: Say = print,
    *,
    configured: bool = True,
    budget_s: float | None = None,
) -> Summary:
    """Run every cell of an experiment that is not current, and bring the results together.

    Everything is checked before any work starts and before anything is written: methods and their
    settings, folds, the segmenter, the device, and every scan.

    Args:
        experiment: what to run.
        out: the run folder; an earlier run on the same scans and folds is added to.
        say: called with each status line.
        configured: whether settings that the experiment does not give are the defaults; otherwise
            they are chosen to fit the machine, or as an earlier run in the folder chose them.
        budget_s: seconds that the run may take; trainings are sized to it.

    Raises:
        HarmbenchError: something is not usable; nothing was written.
    """
    started = time.monotonic()
    # A method may change the working directory: paths are absolute from here on.
    root, experiment = out.absolute(), on_devices(with_absolute_paths(experiment))
    server = begin_server(experiment)
    device = _device(experiment, budget_s)
    check_writable(out)
    experiment, plan = fit_to_machine(
        experiment,
        configured=configured,
        on_gpu=has_gpus(experiment) if experiment.executor == "slurm" else device != "cpu",
        budget_s=budget_s,
        before=read_plan(out),
    )
    methods = {**describe_methods(experiment), **describe_corrections(experiment)}
    choose_segmenter(experiment.scoring.segmenter)
    simulated = simulation_line(experiment.data)
    _say_each(say, [*plan.lines, *([simulated] if simulated else [])])
    opened = open_run(experiment, out, device)
    invocation = new_invocation(device, experiment)
    context = replace(opened.context, invocation=invocation.id)
    check_same_data(context)
    check_file_names(context, [*methods, *REAL_SCANS])
    cells = make_cells(experiment, context.splits, context.rescanned_places())
    _say_each(say, first_lines(opened, len(cells), old_keys_line(context.folder, cells)))
    sweep(root)
    begun = (context, invocation, opened.cohort, methods | _rescans(context), opened.directions)
    _say_each(say, begin_run(*begun, opened.notes, opened.split_words))
    write_plan(context, plan, methods)
    write_planned(root, {str(cell): cell.path for cell in cells})
    executor = make_executor(experiment, root, server)
    corrected = correct_volumes(context, executor, say)
    run = partial(run_cells, say=say, executor=executor)
    course = Course(plan, budget_s, say, run, describe_methods, started, *_measures(executor))
    # What a training costs on a cluster cannot be measured here.
    ends = corrected.joined((run if executor.remote else course.follow)(context, cells))
    return conclude(context, out, len(cells) + corrected.named, ends, say)


def _measures(executor: Executor) -> tuple[Measure, Measure]:
    """Return what measures trials, in processes of the run's executor, which has imported already."""
    own = executor if isinstance(executor, LocalExecutor) else None
    return partial(measure_apart, executor=own), partial(rough_apart, executor=own)


def _say_each(say: Say, lines: Iterable[str]) -> None:
    for line in lines:
        say(line)


def conclude(
    context: RunContext,
    out: Path,
    cells: int,
    ends: tuple[Mapping[str, str], Mapping[str, str]],
    say: Say,
) -> Summary:
    """Bring the scores of a run folder together, and note how the run or the rescoring ended.

    Args:
        context: what the cells shared.
        out: the run folder as the user named it.
        cells: number of cells that were asked for.
        ends: why cells failed, and why others are incomplete.
        say: called with each status line.

    Raises:
        RunError: the folder was removed meanwhile.
    """
    folder = context.folder
    if not folder.is_run:
        raise RunError(
            f"{out}: the folder was removed while the run went on; remove what is left, and run it again"
        )
    failed, incomplete = ends
    with folder.locked():
        finished = finished_cells(folder)
        tables = collect(folder, finished)
        # The sums come first, so that a run that is killed leaves no table whose sum is not known.
        note_tables(folder, context.invocation, tables)
        write_tables(folder, tables)
        end_invocation(
            folder,
            context.invocation,
            cells=cells,
            failed=len(failed),
            incomplete=len(incomplete),
        )
    again = "the run's own command makes the cell again"
    _say_each(say, [f"{sentence}; {again}" for sentence in damaged_cells(folder)])
    _say_each(say, damaged_scores(finished))
    return Summary(out, cells, failed, incomplete)


def describe_methods(experiment: Experiment) -> dict[str, MethodRecord]:
    """Return what `run.json` says of an experiment's methods, by label.

    Raises:
        MethodError: a method cannot be loaded, or does not accept several sources where a scanner is
            left out of the training.
        ConfigError: settings are not valid, or a label is that of a control.
    """
    described = {}
    for label, (uses, values) in experiment.all_methods().items():
        if label in REAL_SCANS:
            raise ConfigError(f"methods.{label}: the name is taken by a control")
        kind = load_method(uses)
        if experiment.split.leave_scanner_out and not kind.several_sources:
            raise MethodError(
                f"{label} does not declare that it learns from several source scanners "
                "(several_sources), which leaving a scanner out needs; choose other methods"
            )
        settings = make_settings(kind, values, label)
        described[label] = MethodRecord(
            uses=str(uses),
            # A label of the user's own tells two variants of one method apart.
            title=kind.title if label == uses.name and kind.title else label,
            reference=kind.reference,
            settings=settings.model_dump(mode="json"),
            parameters=_parameter_counts(kind, settings, label),
        )
    if experiment.ceiling:
        described[CEILING] = MethodRecord(
            uses=CEILING,
            title="Target (ceiling)",
            reference="the reference scored against itself",
            settings={},
            parameters={},
        )
    return described


def _rescans(context: RunContext) -> dict[str, MethodRecord]:
    """Return what `run.json` says of rescans, where the run scores some."""
    if not (context.experiment.ceiling and context.rescanned_places()):
        return {}
    return {
        RESCAN: MethodRecord(
            uses=RESCAN,
            title="Rescan",
            reference="another scan on the target scanner, scored against the reference",
        )
    }


def _parameter_counts(kind: type[Method], settings: BaseModel, label: str) -> dict[str, int]:
    with method_call(f"methods.{label}"):
        return dict(kind(settings).parameter_counts())


def _device(experiment: Experiment, budget_s: float | None) -> str:
    """Return the device of a run's cells; jobs of a cluster find their own by the name.

    Raises:
        ConfigError: a setting does not apply to a cluster.
        MethodError: the device is unknown, or there is no such GPU here.
    """
    if experiment.executor == "local":
        return torch_device(experiment.device)
    if budget_s is not None:
        raise ConfigError("--budget: for executor local; trainings are not measured on a cluster")
    if experiment.device not in {"auto", "cpu", "cuda"}:
        raise ConfigError(f"device '{experiment.device}': a cluster's jobs have auto, cpu or cuda")
    return experiment.device


def torch_device(name: str) -> str:
    """Return the device that `name` (`auto`, `cpu`, `cuda`, ...) stands for on this machine."""
    # torch takes seconds to import: only a run pays for it.
    from harmbench.training import resolve_device

    return str(resolve_device(name))
