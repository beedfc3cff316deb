"""Which executor the settings of an experiment ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harmbench.config import Experiment, Resources
from harmbench.executors import Executor, LocalExecutor
from harmbench.executors.slurm import SlurmExecutor
from harmbench.executors.slurm_queue import Needs
from harmbench.storage import key_of

__all__ = ["SLURM", "make_executor"]

SLURM: Final = "slurm"
"""Folder of the jobs in a run folder."""

_NOT_THE_WORK: Final = {"executor", "isolate", "jobs", "name", "resources"}


def make_executor(experiment: Experiment, root: Path) -> Executor:
    """Return the executor of a run.

    Args:
        experiment: the settings.
        root: the run folder.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    if experiment.executor == "local":
        return LocalExecutor(
            experiment.jobs, isolated=bool(experiment.isolate), limit_s=experiment.cell_limit_s
        )
    return SlurmExecutor(
        root / SLURM,
        {label: _needs(own) for label, own in experiment.resources.items()},
        key_of(experiment.model_dump(mode="json", exclude=_NOT_THE_WORK)),
        limit_s=experiment.cell_limit_s,
    )


def _needs(resources: Resources) -> Needs:
    return Needs(
        minutes=max(1, round(60 * resources.time)),
        gpus=resources.gpus,
        cpus=resources.cpus,
        mem_gb=resources.mem,
        partition=resources.partition,
        account=resources.account,
        extra=resources.extra,
    )
