"""Which executor the settings of an experiment ask for."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Final

from harmbench.config import Experiment, Resources
from harmbench.discovery import learns, load_method
from harmbench.errors import ConfigError, UnavailableError
from harmbench.executors import Executor, LocalExecutor
from harmbench.executors.server import WorkerServer
from harmbench.executors.slurm import SlurmExecutor
from harmbench.executors.slurm_queue import Needs
from harmbench.processes import shared_threads
from harmbench.runner.warm_up import BUILT_IN, warm_up
from harmbench.segmentation import choose_segmenter
from harmbench.storage import key_of

__all__ = [
    "SLURM",
    "begin_server",
    "cells_executor",
    "has_gpus",
    "make_executor",
    "on_devices",
    "places_of",
]

SLURM: Final = "slurm"
"""Folder of the jobs in a run folder."""

_OWN: Final = "harmbench.methods."
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_NOT_THE_WORK: Final = {"executor", "isolate", "jobs", "name", "resources"}


def begin_server(experiment: Experiment) -> WorkerServer | None:
    """Let a server of cells' processes warm up for scoring, while this process simulates the cohort.

    Returns:
        The server, for `make_executor`; `None` where cells need none, or scans are given, whose checks keep
        all cores busy.

    Raises:
        UnavailableError: the segmenter is not installed.
    """
    apart = experiment.jobs > 1 or bool(experiment.isolate) or experiment.cell_limit_s is not None
    if experiment.executor != "local" or experiment.data.path is not None or not apart:
        return None
    segmentation = choose_segmenter(experiment.scoring.segmenter) == BUILT_IN
    server = WorkerServer()
    with shared_threads(experiment.jobs) if experiment.jobs > 1 else nullcontext():
        server.begin(partial(warm_up, segmentation=segmentation, training=False))
    return server


def make_executor(
    experiment: Experiment, root: Path, server: WorkerServer | None = None
) -> Executor:
    """Return the executor of a run.

    Args:
        experiment: the settings.
        root: the run folder.
        server: of the cells' processes on this machine, where one has begun.

    Raises:
        UnavailableError: what it needs is not installed.
    """
    if experiment.executor == "local":
        return cells_executor(experiment, server=server)
    return SlurmExecutor(
        root / SLURM,
        {label: _needs(own) for label, own in experiment.resources.items()},
        key_of(experiment.model_dump(mode="json", exclude=_NOT_THE_WORK)),
        limit_s=experiment.cell_limit_s,
    )


def cells_executor(
    experiment: Experiment, *, trains: bool = True, server: WorkerServer | None = None
) -> LocalExecutor:
    """Return the executor of cells on this machine.

    Args:
        experiment: the settings.
        trains: whether methods are run.
        server: of its processes, where one has begun.

    Raises:
        UnavailableError: the segmenter is not installed.
    """
    methods = experiment.all_methods().values() if trains else ()
    kinds = [load_method(uses) for uses, _ in methods]
    # Other people's methods are foreign code, which each process imports for itself.
    own = sorted({kind.__module__ for kind in kinds if kind.__module__.startswith(_OWN)})
    segmenter = choose_segmenter(experiment.scoring.segmenter)
    return LocalExecutor(
        experiment.jobs,
        isolated=trains and bool(experiment.isolate),
        limit_s=experiment.cell_limit_s if trains else None,
        places=places_of(experiment.devices) if trains else (),
        warm_up=partial(
            warm_up,
            segmentation=segmenter == BUILT_IN,
            training=any(learns(kind) for kind in kinds),
            modules=own,
        ),
        server=server,
    )


def on_devices(experiment: Experiment) -> Experiment:
    """Return the experiment with the device and the number of jobs that its `devices` stand for.

    Raises:
        ConfigError: a device is no GPU's or is named twice, or cells run on a cluster.
        UnavailableError: this machine has no such GPU.
    """
    if not experiment.devices:
        return experiment
    if experiment.executor != "local":
        raise ConfigError("devices: for executor local; jobs of a cluster ask for resources.gpus")
    if wrong := [name for name in experiment.devices if not re.fullmatch(r"cuda:\d+", name)]:
        raise ConfigError(f"devices: '{wrong[0]}': expected GPUs such as cuda:0,cuda:1")
    if len(set(map(_number, experiment.devices))) < len(experiment.devices):
        raise ConfigError("devices: a device is named twice")
    from torch import cuda  # takes seconds to import

    count = cuda.device_count()
    absent = [name for name in experiment.devices if _number(name) >= count]
    if absent:
        raise UnavailableError(f"devices: no {', '.join(absent)} here: {count} GPUs are found")
    # A process sees one GPU alone.
    return experiment.model_copy(update={"device": "cuda", "jobs": len(experiment.devices)})


def has_gpus(experiment: Experiment) -> bool:
    """Whether jobs of a cluster ask for GPUs."""
    return experiment.device != "cpu" and any(r.gpus for r in experiment.resources.values())


def places_of(devices: Sequence[str]) -> list[dict[str, str]]:
    """Return for each GPU the variables of a process that sees no other.

    Numbers count those that this process sees, which may be some of the machine's.
    """
    seen = [name for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    numbers = [_number(name) for name in devices]
    return [{_VISIBLE: seen[number] if seen else str(number)} for number in numbers]


def _number(device: str) -> int:
    return int(device.removeprefix("cuda:"))


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
