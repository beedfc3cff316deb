"""The fitted method of a cell in a run folder of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from harmbench.config import Experiment
from harmbench.discovery import available_methods, load_method, saved_settings
from harmbench.errors import RunError
from harmbench.guard import method_call
from harmbench.method import Method
from harmbench.runner.folder import Cell, RunFolder
from harmbench.runner.pieces import require_model
from harmbench.task import Progress, Task

__all__ = ["FittedMethod", "load_fitted_cell"]


@dataclass(frozen=True, slots=True)
class FittedMethod:
    """The method of a cell as it was fitted, and what it is asked for."""

    method: Method
    task: Task


def load_fitted_cell(
    run: RunFolder, experiment: Experiment, cell: Cell, device: str, progress: Progress
) -> FittedMethod:
    """Load the stored fit of a cell in a run folder, as the run does that goes on there.

    Args:
        run: the run folder.
        experiment: its settings.
        cell: which one.
        device: torch device name.
        progress: told about long work.

    Raises:
        RunError: the settings of the run do not name the method, and it is not an installed one; or
            the model is damaged.
    """
    folder = run.cell(cell)
    record = folder.read_record()
    if record is None or record.settings is None:
        raise RunError(f"{folder.root}: the cell has no fitted method")
    named = experiment.all_methods().get(cell.method)
    uses = named[0] if named else record.uses
    if named is None and uses not in available_methods():
        raise RunError(
            f"{folder.root}: {cell.method} is not an installed method, and the run's config.yaml does "
            "not name it; measure other methods with --method"
        )
    kind = load_method(uses or cell.method)
    settings = saved_settings(kind, record.settings, cell.method)
    require_model(record, folder)
    with method_call():
        method = kind.load(folder.model, settings)
    return FittedMethod(method, Task(cell.direction, cell.fold, cell.seed, device, None, progress))
