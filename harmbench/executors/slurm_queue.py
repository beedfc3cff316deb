"""SLURM's queue: what jobs ask for, which are ours, and where they stand."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.errors import RunError
from harmbench.storage import read_json

__all__ = ["JOBS", "Needs", "QueueState", "SlurmJobs", "cancel_jobs", "queue_states", "read_jobs"]

JOBS: Final = "jobs.json"
"""File in the folder of a run's jobs; see `SlurmJobs`."""

_COMMAND_S = 120


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
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str = ""
    jobs: dict[str, str] = {}
    submissions: dict[str, int] = {}


def read_jobs(folder: Path) -> SlurmJobs:
    """Read a folder's `jobs.json`; no jobs where it is absent or damaged."""
    try:
        return SlurmJobs.model_validate(read_json(folder / JOBS) or {})
    except (OSError, ValueError, ValidationError):
        return SlurmJobs()


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

    Raises:
        RunError: SLURM does not answer.
    """
    queued = queue_states()
    ours = [job for job in read_jobs(folder).jobs.values() if job in queued]
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
