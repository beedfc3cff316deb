"""How the cells of a run stand, while it goes on and after it; and ending it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmbench.errors import RunError
from harmbench.executors.slurm_queue import QueueState, cancel_jobs, queue_states, read_jobs
from harmbench.planning.durations import in_words
from harmbench.runner.cell_folder import CellFolder
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.executor import SLURM
from harmbench.runner.folder import RunFolder
from harmbench.runner.progress_file import (
    CellProgress,
    is_alive,
    is_process,
    read_planned,
    read_progress,
)

__all__ = ["CellState", "cancel_run", "run_status"]


@dataclass(frozen=True, slots=True)
class CellState:
    """How a cell stands.

    Attributes:
        cell: which.
        state: `waiting`, `running`, `stopped` (its process is gone), or how it ended; of a job of SLURM
            that does not run, its state in the queue.
        node: where it runs.
        progress: such as `training 120/1000`.
        left: time that its stage, or its job, still has.
        error: why it failed, the first line.
    """

    cell: str
    state: str
    node: str = ""
    progress: str = ""
    left: str = ""
    error: str = ""


def run_status(root: Path) -> list[CellState]:
    """Return the state of every cell of a run folder: those of its last invocation, and earlier ones.

    Raises:
        ReportError: not a run folder.
        RunError: SLURM does not answer, where the run has jobs there.
    """
    folder = RunFolder(root.absolute())
    folder.read_record()
    records = dict(folder.cells())
    places = read_planned(folder.root) | {str(cell): cell.path for cell in records}
    known = {str(cell): record for cell, record in records.items()}
    jobs = read_jobs(folder.root / SLURM).jobs
    queued = queue_states() if jobs else {}
    return [
        _state(name, folder.root / place, known.get(name), queued.get(jobs.get(name, "")))
        for name, place in places.items()
    ]


def _state(cell: str, place: Path, record: CellRecord | None, job: QueueState | None) -> CellState:
    progress = read_progress(CellFolder(place).progress)
    error = record.error.partition("\n")[0] if record is not None else ""
    if progress is None:
        known = "waiting" if record is None or record.status == "running" else record.status
        state = job.state.lower() if job is not None else known
        return CellState(
            str(cell), state, job.node if job else "", "", job.left if job else "", error
        )
    node = job.node if job is not None and job.node else progress.host
    running = is_alive(progress) if job is None else job.state == "RUNNING"
    gone = "stopped" if job is None else job.state.lower()
    return CellState(
        cell=cell,
        state="running" if running else gone,
        node=node,
        progress=f"{progress.stage} {progress.done}/{progress.total}",
        left=_left(progress) if running else "",
        error=error,
    )


def _left(progress: CellProgress) -> str:
    return "" if progress.left_s is None else in_words(progress.left_s)


def cancel_run(root: Path) -> Mapping[str, Sequence[str]]:
    """End what works on a run: its jobs in SLURM's queue, and runs on this machine.

    Returns:
        `jobs` and `processes` that were ended; a later run goes on from what they left.

    Raises:
        ReportError: not a run folder.
        RunError: SLURM does not answer, or the run goes on on another machine.
    """
    folder = RunFolder(root.absolute())
    folder.read_record()
    jobs = cancel_jobs(folder.root / SLURM) if read_jobs(folder.root / SLURM).jobs else []
    parents: set[int] = set()
    elsewhere: set[str] = set()
    for path in folder.root.glob("cells/*/*/fold-*/seed-*/progress.json"):
        progress = read_progress(path)
        if progress is None or jobs or not is_alive(progress):
            continue
        if progress.host != socket.gethostname():
            elsewhere.add(progress.host)
        elif is_process(progress.parent, progress.parent_born_s) and progress.isolated:
            parents.add(progress.parent)
        else:
            parents.add(progress.pid)
    for pid in parents:
        os.kill(pid, signal.SIGTERM)
    if elsewhere:
        raise RunError(
            f"{root}: the run goes on on {', '.join(sorted(elsewhere))}; cancel it there"
        )
    return {"jobs": jobs, "processes": [str(pid) for pid in sorted(parents)]}
