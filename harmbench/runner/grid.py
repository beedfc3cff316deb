"""The grid of cells: which there are, running them, and bringing their scores together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal

import pandas as pd

from harmbench.config import Experiment
from harmbench.discovery import learns, load_method
from harmbench.errors import FoldError
from harmbench.executors import Died, Executor
from harmbench.holders import Watch
from harmbench.progress import Display, Remaining
from harmbench.results import CEILING, RESCAN, merge, results_text, training_sizes_text
from harmbench.runner.cell import abandon_cell, run_cell
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord, MissingLabels
from harmbench.runner.cell_scores import CellScores
from harmbench.runner.columns import columns_of
from harmbench.runner.context import RunContext
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.pairs import CellSplit
from harmbench.runner.sharing import SILENCE_S, Held, Work, alone, wait_for_any
from harmbench.task import Direction, NoProgress, Progress

__all__ = [
    "FinishedCell",
    "collect",
    "damaged_cells",
    "damaged_scores",
    "finished_cells",
    "make_cells",
    "run_cells",
]

FinishedCell = tuple[Cell, CellRecord, CellScores]
"""A cell on disk, its record, and its scores."""


_REASONS_SHOWN = 3
_REMOVED = ": missing"
"""How what `harmbench.runner.pieces` says of a file that is not there ends."""


def make_cells(
    experiment: Experiment,
    splits: Mapping[tuple[Direction, int], CellSplit],
    rescanned: Collection[tuple[Direction, int]] = (),
) -> list[Cell]:
    """List the cells of an experiment, controls first.

    Methods that learn nothing are run once, whatever the numbers of training subjects.

    Args:
        experiment: methods, seeds, and numbers of training subjects.
        splits: by direction and fold, what there is to learn from.
        rescanned: directions and folds in which rescans can be scored.

    Raises:
        FoldError: a number of training subjects is larger than some fold's.
        MethodError: a method cannot be loaded.
    """
    smallest = min(len(split.train_subjects) for split in splits.values())
    sizes = _training_sizes(experiment.train_subjects, smallest)
    learned = {
        label: sizes if learns(load_method(uses)) else (0,)
        for label, (uses, _) in experiment.all_methods().items()
    }
    controls = {CEILING: (0,), RESCAN: (0,)} if experiment.ceiling else {}
    return [
        Cell(label, direction, fold, seed, size)
        for label, own in {**controls, **learned}.items()
        for size in own
        for direction, fold in (rescanned if label == RESCAN else splits)
        for seed in experiment.seeds
    ]


def _training_sizes(chosen: Sequence[int | Literal["all"]], smallest: int) -> tuple[int, ...]:
    """Return numbers of training subjects, 0 for all, the smallest first."""
    numbers = sorted({size for size in chosen if size != "all"})
    too_many = [str(size) for size in numbers if size >= smallest]
    if too_many:
        raise FoldError(
            f"train_subjects: {', '.join(too_many)}: the smallest fold has {smallest} training "
            f"subjects; choose numbers below {smallest}, and all"
        )
    return (*numbers, *((0,) if "all" in chosen else ()))


def run_cells(
    context: RunContext,
    cells: Sequence[Cell],
    say: Callable[[str], None],
    executor: Executor,
    work: Work = run_cell,
    *,
    left: Remaining | None = None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Work on cells; those that another run works on are left to it, and looked at when it is done.

    Args:
        context: what they share.
        cells: which.
        say: called with why cells failed or are incomplete.
        executor: runs them.
        work: what is done with each.
        left: knows the time left for the whole run.

    Returns:
        Why those cells failed that did, and why those are incomplete that are.
    """
    ends: list[tuple[Cell, CellRecord]] = []
    held: list[Cell] = []
    stuck: dict[Cell, str] = {}
    waiting, watch = list(cells), Watch()
    shared = _queued(work, context) if executor.remote else partial(alone, work, context)
    while waiting:
        with Display("cells", len(waiting), left=left) as display:
            for cell, result in executor.run(shared, waiting, display, _line, _kin):
                end = _abandoned(context, cell, result) if isinstance(result, Died) else result
                if isinstance(end, Held):
                    held.append(cell)
                else:
                    ends.append((cell, end))
                    _say_each_damage(cell, end, say)
        if not context.folder.is_run:
            break  # removed meanwhile: nobody holds its cells
        if held:
            say(f"waiting for {len(held)} cells that another run works on")
        waiting = wait_for_any(context, held, watch, stuck)
        held = [cell for cell in held if cell not in waiting and cell not in stuck]
    _say_what_was_removed(ends, say)
    incomplete = {
        str(cell): _why_incomplete(record.unsegmented)
        for cell, record in ends
        if record.status == "incomplete"
    }
    failed = {
        str(cell): record.error
        for cell, record in ends
        if record.status not in {"ok", "incomplete"}
    }
    # No row is written for a cell that cannot be locked: its owner may live.
    failed |= {str(cell): reason for cell, reason in stuck.items()}
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
    for name, reason in incomplete.items():
        say(f"incomplete: {name}: {reason}")
    return failed, incomplete


def _say_each_damage(cell: Cell, record: CellRecord, say: Callable[[str], None]) -> None:
    for sentence in record.mended:
        if not sentence.endswith(_REMOVED):
            say(f"damaged: {cell}: {sentence}")


def _say_what_was_removed(
    ends: Sequence[tuple[Cell, CellRecord]], say: Callable[[str], None]
) -> None:
    """Say in one line which files were not there any more: the user may have freed their space."""
    removed = {
        cell: [sentence for sentence in record.mended if sentence.endswith(_REMOVED)]
        for cell, record in ends
    }
    found = [(cell, names[0].removesuffix(_REMOVED)) for cell, names in removed.items() if names]
    if found:
        cells = "1 cell" if len(found) == 1 else f"{len(found)} cells"
        say(
            f"files of {cells} were removed, and are made again, such as {found[0][1]} of {found[0][0]}"
        )


def _queued(work: Work, context: RunContext) -> Callable[[Cell, Progress], CellRecord | Held]:
    """Return the work of a queue's jobs.

    A queue runs a cell once at a time: where a job finds a lock of its own invocation, that is of a job
    that has ended, perhaps on another machine, and was queued again. For locks of other invocations a
    job waits until it shows whether their processes live.
    """
    there = partial(_on_its_machine, work)
    return partial(alone, there, context, dead=context.invocation, wait_s=SILENCE_S)


def _on_its_machine(
    work: Callable[[RunContext, Cell, Progress], CellRecord],
    context: RunContext,
    cell: Cell,
    progress: Progress,
) -> CellRecord:
    return work(context.on_this_machine(), cell, progress)


def _abandoned(context: RunContext, cell: Cell, died: Died) -> CellRecord | Held:
    """Record a cell whose process died, unless another run has it by now."""

    def abandon(context: RunContext, cell: Cell, _: Progress) -> CellRecord:
        return abandon_cell(context, cell, died.reason)

    return alone(abandon, context, cell, NoProgress(), dead=context.invocation)


def _kin(cell: Cell) -> str:
    """Return what cells have in common that may share a process: the method."""
    return cell.method


def _line(cell: Cell, result: CellRecord | Held | Died) -> str:
    if isinstance(result, Died):
        return f"{cell}: failed, {result.reason}"
    if isinstance(result, Held):
        return f"{cell}: another run works on it ({result.by})"
    seconds = sum(stage.wall_s for stage in result.stages.values())
    if result.status == "ok":
        return f"{cell}: ok ({seconds:.0f} s)"
    if result.status == "incomplete":
        return f"{cell}: incomplete, {_why_incomplete(result.unsegmented)} ({seconds:.0f} s)"
    return f"{cell}: failed, {result.error}"


def _why_incomplete(missing: Mapping[str, MissingLabels]) -> str:
    """Say which subjects of a cell have no scores of tissues; why references have none is known."""
    again = "" if all(one.lasting for one in missing.values()) else "; run it again"
    references = sum(one.what == "reference" for one in missing.values())
    told = [f"{references} for want of the reference's labels"] if references else []
    told += [
        f"subject {subject}: {one.reason}"
        for subject, one in missing.items()
        if one.what != "reference"
    ]
    shown = "; ".join(told[:_REASONS_SHOWN])
    more = f"; {len(told) - _REASONS_SHOWN} more" if len(told) > _REASONS_SHOWN else ""
    subjects = "1 subject" if len(missing) == 1 else f"{len(missing)} subjects"
    return f"no scores of tissues for {subjects} ({shown}{more}){again}"


def collect(folder: RunFolder, finished: Sequence[FinishedCell]) -> dict[str, str | bytes]:
    """Bring the scores of all cells of a run folder together.

    `results.csv` has the cells that learned from every training subject, and `results.parquet` the same
    where it can be written. Where there are others, `training-sizes.csv` has all, with the number of
    training subjects.

    Args:
        folder: the run folder.
        finished: its cells.

    Returns:
        Name of a table to its content; nothing is written.
    """
    found = [(cell, record, scores.trusted()) for cell, record, scores in finished]
    text = results_text(merge([rows for cell, _, rows in found if not cell.train_subjects]))
    tables: dict[str, str | bytes] = {folder.results.name: text}
    if (columns := columns_of(text)) is not None:
        tables[folder.columns.name] = columns
    if any(cell.train_subjects for cell, _, _ in found):
        everyone = len(set(folder.fold_table()["subject"]))
        sized = [
            rows.assign(train_subjects=record.trained_on(everyone)) for _, record, rows in found
        ]
        whole = pd.concat(sized, ignore_index=True)
        tables[folder.training_sizes.name] = training_sizes_text(whole)
    return tables


def damaged_cells(folder: RunFolder) -> list[str]:
    """Say which records of cells cannot be read, each with its path."""
    paths = sorted(folder.root.glob("cells/*/*/fold-*/seed-*/cell.json"))
    found = ((path.parent, CellFolder(path.parent).why_damaged()) for path in paths)
    return [f"{place}/{why}" for place, why in found if why]


def damaged_scores(finished: Iterable[FinishedCell]) -> list[str]:
    """Say of which finished cells of a run folder rows are cut, damaged or not there."""
    found = []
    for cell, record, scores in finished:
        if record.status not in {"ok", "failed"}:
            continue
        lost = [pair.name for pair in record.tested if not scores.is_whole(pair.name)]
        if lost:
            found.append(
                f"{cell}: rows of {', '.join(lost)} are missing or damaged in its scores.csv; run the "
                "cell again, or rescore it"
            )
    return found


def finished_cells(folder: RunFolder) -> list[FinishedCell]:
    """Return the cells of a run folder; the scores of each are read when first asked for, once."""
    return [
        (cell, record, CellScores.of(folder.cell(cell), record))
        for cell, record in folder.all_cells()
    ]
