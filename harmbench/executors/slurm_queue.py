"""SLURM's queue: what jobs ask for, which are ours, and where they stand.

Several commands may work on one run folder: whoever changes its list of jobs holds the list's lock.
"""

from __future__ import annotations

import getpass
import pickle
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.errors import RunError
from harmbench.executors.base import Died
from harmbench.locks import Lock
from harmbench.storage import read_json, write_json

__all__ = [
    "JOBS",
    "Needs",
    "QueueState",
    "SlurmJobs",
    "cancel_jobs",
    "locked_jobs",
    "log_of",
    "queue_states",
    "read_jobs",
    "read_result",
    "result_of",
    "take_off_queue",
    "who_cancelled",
    "write_jobs",
]

JOBS: Final = "jobs.json"
"""File in the folder of a run's jobs; see `SlurmJobs`."""

_COMMAND_S = 120
_LONGEST_WAIT_S = 600.0
"""How long a command waits for another one, which may be submitting jobs."""


class Needs(BaseModel):
    """What the jobs of a method ask SLURM for.

    Attributes:
        minutes: that a job may run before it is queued again.
        gpus, cpus: for each job.
        mem_gb: memory in GB; the cluster's default where `None`.
        partition, account: the cluster's defaults where `None`.
        extra: further options of sbatch, without dashes in front.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: int = 60
    gpus: int = 0
    cpus: int = 1
    mem_gb: float | None = None
    partition: str | None = None
    account: str | None = None
    extra: Mapping[str, str] = {}

    def parameters(self) -> dict[str, object]:
        """Return submitit's parameters."""
        given: dict[str, object] = {
            "time": self.minutes,
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "mem": self.mem_gb,
            "partition": self.partition,
            "account": self.account,
        }
        # A job whose node dies is queued again, whatever the cluster's default.
        own = {"requeue": True, **self.extra}
        return {
            **{name: value for name, value in given.items() if value is not None},
            "additional_parameters": own,
            "job_name": "harmbench",
        }


class SlurmJobs(BaseModel):
    """What `jobs.json` says: which job works on which item.

    Attributes:
        fingerprint: of the work; jobs of other work are not taken up again.
        jobs: item to job id, such as `12_3`.
        submissions: item to how many times it was submitted.
        cancelled: item to the job that `harmbench cancel` ended; nobody waits for it any more.
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str = ""
    jobs: dict[str, str] = {}
    submissions: dict[str, int] = {}
    cancelled: dict[str, str] = {}


def read_jobs(folder: Path) -> SlurmJobs:
    """Read a folder's `jobs.json`; no jobs where it is absent or damaged."""
    try:
        return SlurmJobs.model_validate(read_json(folder / JOBS) or {})
    except (OSError, ValueError, ValidationError):
        return SlurmJobs()


def write_jobs(folder: Path, jobs: SlurmJobs) -> None:
    """Write a folder's `jobs.json`; the caller holds the lock, see `locked_jobs`."""
    # An earlier harmbench reads the list too, as long as nothing was cancelled.
    left_out = None if jobs.cancelled else {"cancelled"}
    write_json(folder / JOBS, jobs.model_dump(exclude=left_out))


@contextmanager
def locked_jobs(folder: Path) -> Iterator[SlurmJobs]:
    """Give a folder's list of jobs, which no other command changes in the block.

    Raises:
        RunError: another command has held it for `_LONGEST_WAIT_S` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Lock(folder / "lock.json") as lock:
        holder = lock.wait(_LONGEST_WAIT_S)
        if holder is not None:
            raise RunError(f"{folder}: {holder} has been changing its list of jobs for too long")
        yield read_jobs(folder)


def result_of(folder: Path, job: str) -> Path:
    """Return where submitit puts the result of a job."""
    return folder / f"{job}_0_result.pkl"


def log_of(folder: Path, job: str) -> Path:
    """Return where submitit puts what a job prints as errors."""
    return folder / f"{job}_0_log.err"


def read_result(folder: Path, job: str) -> Any:
    """Return what a job left, `None` where it left nothing that can be read."""
    try:
        with result_of(folder, job).open("rb") as file:
            end, value = pickle.load(file)
        if end == "success":
            return pickle.loads(value) if isinstance(value, bytes) else value
    except (OSError, EOFError, pickle.UnpicklingError, ValueError):
        return None
    last = [text for text in str(value).splitlines() if text.strip()][-1:]
    return Died(f"job {job}: {''.join(last)}; {log_of(folder, job)} says more")


@dataclass(frozen=True, slots=True)
class QueueState:
    """What SLURM's queue says of a job: such as `RUNNING`, on which node, and the time that is left."""

    state: str
    node: str = ""
    left: str = ""


def queue_states() -> dict[str, QueueState]:
    """Return this user's jobs that are in the queue, by id.

    Raises:
        RunError: SLURM does not answer.
    """
    lines = _call(
        *("squeue", "--user", getpass.getuser(), "--array", "--noheader"), "--format=%i|%T|%N|%L"
    )
    found = {}
    for line in lines.splitlines():
        job, state, node, left = line.split("|")
        found[job] = QueueState(state, node, left)
    return found


def cancel_jobs(folder: Path) -> list[str]:
    """Cancel the jobs of a folder that are in the queue; return their ids.

    All jobs without a result are noted as cancelled, so that a command that waits for them ends.

    Raises:
        RunError: SLURM does not answer, or another command keeps the list for too long.
    """
    with locked_jobs(folder) as known:
        # A job that is cancelled may leave a result: that its process was killed.
        going_on = [n for n, job in known.jobs.items() if not result_of(folder, job).is_file()]
        ended = take_off_queue(known.jobs.values())
        for name in going_on:
            known.cancelled[name] = known.jobs.pop(name)
            known.submissions.pop(name, None)
        write_jobs(folder, known)
    return ended


def who_cancelled(folder: Path, fingerprint: str, name: str, job: str) -> str:
    """Say what cancelled the job of an item; empty where nothing did.

    Args:
        folder: of the jobs.
        fingerprint: of the work that the job was submitted for.
        name: of the item.
        job: its id.

    Raises:
        RunError: another command keeps the list for too long.
    """
    # A command that cancels jobs keeps the lock until the list says so.
    with locked_jobs(folder) as known:
        if known.fingerprint not in {"", fingerprint}:  # a list that cannot be read has none
            return "a run with other settings in this folder"
        return "harmbench cancel" if known.cancelled.get(name) == job else ""


def take_off_queue(jobs: Iterable[str]) -> list[str]:
    """Cancel those of these jobs that are in the queue; return their ids.

    Raises:
        RunError: SLURM does not answer.
    """
    queued = queue_states()
    ours = [job for job in jobs if job in queued]
    if ours:
        _call("scancel", *ours)
    return ours


def _call(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_COMMAND_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{command[0]}: SLURM does not answer ({error})") from error
    if done.returncode:
        raise RunError(f"{command[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout
