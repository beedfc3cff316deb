"""Processes that train one network together, each on its share of every batch.

With one device there is one process, and everything here does nothing. With more, `together` starts
a process for each; Accelerate sets up their communication (NCCL between GPUs, Gloo on a CPU) and
torch's DistributedDataParallel adds their gradients up.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, start_processes

from harmbench.errors import HarmbenchError, MethodError, TrainingError
from harmbench.processes import QueuedProgress, Report
from harmbench.task import NoProgress, Task
from harmbench.training.networks import numerics, resolve_device
from harmbench.training.settings import TrainingSettings

__all__ = ["Team", "together"]

Result = TypeVar("Result")

_POLL_S = 0.05

_Messages = SimpleQueue[tuple[str, Report] | HarmbenchError]


class Team:
    """The processes that train one network together, seen from one of them.

    Args:
        device: where this process computes.
        accelerator: Accelerate's object for this process; `None` for a team of one.
    """

    def __init__(self, device: torch.device | None = None, accelerator: Any = None) -> None:
        self.device = device or torch.device("cpu")
        self._accelerator = accelerator
        self.size = 1 if accelerator is None else int(accelerator.num_processes)
        self.rank = 0 if accelerator is None else int(accelerator.process_index)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and reports progress."""
        return self.rank == 0

    def ready(self, network: nn.Module, *, compiled: bool = False) -> nn.Module:
        """Return what to call in place of `network` while it learns; both share their weights."""
        if self._accelerator is not None:
            network = cast(nn.Module, self._accelerator.prepare_model(network))
        return cast(nn.Module, torch.compile(network)) if compiled else network

    def parts(self, batch_size: int, accumulate: int = 1) -> list[slice]:
        """Return this process's share of a batch, in `accumulate` equal parts."""
        size = batch_size // (self.size * accumulate)
        starts = range(self.rank * accumulate, (self.rank + 1) * accumulate)
        return [slice(start * size, (start + 1) * size) for start in starts]

    def adding_up(self, network: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Return the context of forward and backward pass: gradients travel with the last part only."""
        if self._accelerator is None or last:
            return nullcontext()
        return cast(AbstractContextManager[Any], self._accelerator.no_sync(network))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor, any shape, over all processes."""
        if self._accelerator is None:
            return values
        return cast(Tensor, self._accelerator.reduce(values, reduction="mean"))

    def agree(self, decision: bool) -> bool:
        """Return the first process's decision; clocks differ."""
        if self._accelerator is None:
            return decision
        mine = float(decision and self.first)
        return bool(self.mean(torch.tensor(mine, device=self.device)) > 0)


def together(work: Callable[[Task, Team], Result], task: Task, config: TrainingSettings) -> Result:
    """Return `work(task, team)`, run in `config.devices` processes at once; the first one's result.

    Args:
        work: trains; with more than one process it must be picklable, as must be its result.
        task: its progress reporter gets what the first process reports.
        config: number of devices, and whether algorithms are deterministic.

    Raises:
        MethodError: there are fewer GPUs than wanted, or one was chosen by number.
        TrainingError: a process died.
    """
    device = resolve_device(task.device)
    if config.devices == 1:
        with numerics(deterministic=config.deterministic, precision=config.precision):
            return work(task, Team(device))
    if device.type == "cuda":
        found = torch.cuda.device_count()
        if ":" in task.device or found < config.devices:
            raise MethodError(
                f"devices: {config.devices} GPUs were asked for, torch sees {found} and the device "
                f"is '{task.device}'; use --device cuda and at most as many"
            )
    with tempfile.TemporaryDirectory(prefix="harmbench-team-") as folder:
        _run(work, task, config, device.type, Path(folder))
        # Written by our own process a moment ago.
        return cast(Result, torch.load(Path(folder, "result"), weights_only=False))


def _run(
    work: Callable[[Task, Team], Any],
    task: Task,
    config: TrainingSettings,
    kind: str,
    folder: Path,
) -> None:
    queue: _Messages = torch.multiprocessing.get_context("spawn").SimpleQueue()
    silent = replace(task, progress=NoProgress())
    threads = max(1, torch.get_num_threads() // config.devices) if kind == "cpu" else 1
    group = start_processes(  # type: ignore[no-untyped-call]  # torch has no types here
        _member,
        args=(work, silent, config, kind, _free_port(), threads, folder, queue),
        nprocs=config.devices,
        join=False,
        start_method="spawn",
    )
    failed: HarmbenchError | None = None
    try:
        running = True
        while running:
            try:
                running = not group.join(timeout=_POLL_S)
            except ProcessExitedException as error:
                running = False
                # An error that a process reported explains more than its exit code.
                failed = failed or TrainingError(f"a training process died: {error}")
            while not queue.empty():
                message = queue.get()
                if isinstance(message, HarmbenchError):
                    failed = message
                else:
                    _, report = message
                    task.progress(report.stage, report.done, report.total, **report.values)
    finally:
        for process in group.processes:
            if process.is_alive():
                process.terminate()
    if failed is not None:
        raise failed


def _member(
    rank: int,
    work: Callable[[Task, Team], Any],
    task: Task,
    config: TrainingSettings,
    kind: str,
    port: int,
    threads: int,
    folder: Path,
    queue: _Messages,
) -> None:
    """One process of the team, from its start to its end."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(config.devices),
        "LOCAL_WORLD_SIZE": str(config.devices),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
    }
    torch.set_num_threads(threads)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=kind == "cpu", mixed_precision="no")
    team = Team(accelerator.device, accelerator)
    if team.first:
        task = replace(task, progress=QueuedProgress(queue, "training"))
    try:
        with numerics(deterministic=config.deterministic, precision=config.precision):
            result = work(task, team)
    except HarmbenchError as error:
        queue.put(error)
        raise SystemExit(1) from error
    if team.first:
        torch.save(result, folder / "result")
    accelerator.wait_for_everyone()
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
