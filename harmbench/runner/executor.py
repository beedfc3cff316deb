"""Which executor the settings of an experiment ask for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from harmbench.config import Experiment, Resources
from harmbench.discovery import learns, load_method
from harmbench.executors import Executor, LocalExecutor
from harmbench.executors.slurm import SlurmExecutor
from harmbench.executors.slurm_queue import Needs
from harmbench.runner.warm_up import BUILT_IN, warm_up
from harmbench.segmentation import choose_segmenter
from harmbench.storage import key_of

__all__ = ["SLURM", "cells_executor", "make_executor"]

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
        return cells_executor(experiment)
    return SlurmExecutor(
        root / SLURM,
        {label: _needs(own) for label, own in experiment.resources.items()},
        key_of(experiment.model_dump(mode="json", exclude=_NOT_THE_WORK)),
        limit_s=experiment.cell_limit_s,
    )


def cells_executor(experiment: Experiment, *, trains: bool = True) -> LocalExecutor:
    """Return the executor of cells on this machine.

    Args:
        experiment: the settings.
        trains: whether methods are run.

    Raises:
        UnavailableError: the segmenter is not installed.
    """
    methods = experiment.all_methods().values() if trains else ()
    # A method itself is foreign code, which each process imports for itself.
    training = any(learns(load_method(uses)) for uses, _ in methods)
    segmenter = choose_segmenter(experiment.scoring.segmenter)
    return LocalExecutor(
        experiment.jobs,
        isolated=trains and bool(experiment.isolate),
        limit_s=experiment.cell_limit_s if trains else None,
        warm_up=partial(warm_up, segmentation=segmenter == BUILT_IN, training=training),
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
