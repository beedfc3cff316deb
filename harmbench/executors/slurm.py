"""Run work on a SLURM cluster, by submitit: one job array for the items that need the same.

What is needed to come back stands in a folder of the run: the numbers of the jobs, what they are given,
their results and logs. SLURM's accounting is not asked. A job that runs out of time, or whose node dies,
is queued again and goes on from its last checkpoint; one that is lost is submitted again. An interrupt
detaches: the jobs go on, and the same command takes them up again. Several commands may wait for the
same jobs; one that finds its jobs cancelled ends.
"""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harmbench.errors import RunError, UnavailableError
from harmbench.executors.base import Died, Item, Result
from harmbench.executors.local import LocalExecutor
from harmbench.executors.slurm_queue import (
    Needs,
    SlurmJobs,
    locked_jobs,
    log_of,
    queue_states,
    read_jobs,
    read_result,
    take_off_queue,
    who_cancelled,
    write_jobs,
)
from harmbench.progress import Display

if TYPE_CHECKING:  # it would bring in scipy and nibabel
    from harmbench.task import Progress

__all__ = ["SlurmExecutor"]

_POLL_S = 10.0
_FIRST_POLL_S = 1.0
"""Short runs are not held up; the queue of long ones is asked more rarely, up to every `_POLL_S`."""
_SLOWER = 1.2
_LOST_AFTER_S = 30.0
"""How long a job may be neither in the queue nor have a result: networked disks lag behind."""
_SUBMISSIONS = 3


@dataclass(frozen=True, slots=True)
class _Pickled:
    """Work and its item as bytes, and the item's name."""

    content: bytes
    name: str

    def __str__(self) -> str:
        return self.name


class _Work:
    """What a job does: work on one item in a process of its own; submitit pickles it.

    The job's first process knows the work as bytes alone, so that it need not import what the work needs.

    Args:
        work: what is done.
        item: with what.
        limit_s: seconds that it may take.
    """

    def __init__(
        self, work: Callable[[Any, Progress], Any], item: object, limit_s: float | None
    ) -> None:
        self._pickled = _Pickled(pickle.dumps((work, item)), str(item))
        self._limit_s = limit_s

    def __call__(self) -> bytes | Died:
        """Return the item's result, pickled."""
        executor = LocalExecutor(1, isolated=True, limit_s=self._limit_s)
        with Display(str(self._pickled), 1, Console(stderr=True)) as display:
            ((_, result),) = executor.run(_do, [self._pickled], display)
        return result

    def checkpoint(self) -> Any:
        """Return what goes on when the job runs again; the method's own checkpoints are on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _do(pickled: _Pickled, progress: Progress) -> bytes:
    """Do pickled work; return its pickled result."""
    work, item = pickle.loads(pickled.content)
    return pickle.dumps(work(item, progress))


class SlurmExecutor:
    """Run a function over items as jobs of SLURM. It is an `Executor`.

    Args:
        folder: of the jobs, in the run folder; on a disk that all nodes share.
        needs: by kin of the items; those of `default` count for others.
        fingerprint: of all that the work depends on.
        limit_s: seconds that an item may take in one go.
        requeues: how many times a job that runs out of time is queued again.
        poll_s: most seconds between two looks at the queue.

    Raises:
        UnavailableError: submitit or SLURM is not installed.
    """

    remote = True

    def __init__(
        self,
        folder: Path,
        needs: Mapping[str, Needs],
        fingerprint: str,
        *,
        limit_s: float | None = None,
        requeues: int = 100,
        poll_s: float = _POLL_S,
    ) -> None:
        if shutil.which("sbatch") is None:
            raise UnavailableError("executor slurm: there is no sbatch here; is this a login node?")
        try:
            import submitit  # noqa: F401 - whether it is there
        except ImportError as error:
            text = "executor slurm needs submitit: pip install 'harmbench[slurm]'"
            raise UnavailableError(text) from error
        self._folder, self._needs, self._fingerprint = folder, needs, fingerprint
        self._limit_s, self._requeues, self._poll_s = limit_s, requeues, poll_s
        self._missing_since: dict[str, float] = {}
        self._job_of: dict[str, str] = {}  # another command may take an item off the list

    def run(
        self,
        work: Callable[[Item, Progress], Result],
        items: Sequence[Item],
        display: Display,
        line: Callable[[Item, Result | Died], str] | None = None,
        kin: Callable[[Item], object] | None = None,
    ) -> Iterator[tuple[Item, Result | Died]]:
        """Yield each item with its result, as `Executor.run` does; an interrupt leaves the jobs running.

        Raises:
            RunError: SLURM takes no jobs, or they were cancelled.
        """
        waiting = {str(item): item for item in items}
        self._begin(work, waiting, kin)
        pause_s = min(_FIRST_POLL_S, self._poll_s)
        try:
            while waiting:
                for name, result in self._ended(work, dict(waiting), display, kin):
                    item = waiting.pop(name)
                    display.finish(name, line(item, result) if line else "")
                    self._forget(name)
                    yield item, result
                if waiting:
                    time.sleep(pause_s)
                    pause_s = min(_SLOWER * pause_s, self._poll_s)
        except KeyboardInterrupt:
            display.console.print(
                f"{len(waiting)} jobs go on. The same command takes them up again; `harmbench status` "
                "and `harmbench cancel` with the run folder show and end them.",
                markup=False,
                highlight=False,
            )
            raise

    def _begin(
        self,
        work: Callable[[Item, Progress], Result],
        items: Mapping[str, Item],
        kin: Callable[[Item], object] | None,
    ) -> None:
        """Keep jobs that work on the same already, cancel others, which would interfere, submit the rest."""
        with locked_jobs(self._folder) as listed:
            known = listed
            if known.fingerprint != self._fingerprint:
                take_off_queue(known.jobs.values())
                known = SlurmJobs(fingerprint=self._fingerprint)
                write_jobs(self._folder, known)
            fresh = {name: item for name, item in items.items() if name not in known.jobs}
            self._submit(work, fresh, kin, known)
            self._job_of = {name: known.jobs[name] for name in items}

    def _submit(
        self,
        work: Callable[[Item, Progress], Result],
        items: Mapping[str, Item],
        kin: Callable[[Item], object] | None,
        known: SlurmJobs,
    ) -> None:
        """Submit items, those of the same needs as one array, and list their jobs in `known`."""
        groups: dict[str, list[tuple[str, Item]]] = {}
        for name, item in items.items():
            own = str(kin(item)) if kin is not None else ""
            key = own if own in self._needs else "default"
            groups.setdefault(key, []).append((name, item))
        for key, members in groups.items():
            jobs = self._array(
                self._needs.get(key, Needs()), [_Work(work, i, self._limit_s) for _, i in members]
            )
            for (name, _), job in zip(members, jobs, strict=True):
                known.jobs[name] = job
                known.submissions[name] = known.submissions.get(name, 0) + 1
                known.cancelled.pop(name, None)
            write_jobs(self._folder, known)

    def _array(self, needs: Needs, works: Sequence[_Work]) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError

        executor = submitit.SlurmExecutor(self._folder, max_num_timeout=self._requeues)
        try:
            executor.update_parameters(**needs.parameters())
            with executor.batch():
                jobs = [executor.submit(work) for work in works]
        except (FailedJobError, OSError, ValueError) as error:
            raise RunError(f"the jobs could not be submitted: {error}") from error
        return [str(job.job_id) for job in jobs]

    def _ended(
        self,
        work: Callable[[Item, Progress], Result],
        waiting: Mapping[str, Item],
        display: Display,
        kin: Callable[[Item], object] | None,
    ) -> Iterator[tuple[str, Result | Died]]:
        """Yield the items whose jobs have ended; those of lost jobs are submitted again.

        Raises:
            RunError: jobs were cancelled.
        """
        queued, known = queue_states(), read_jobs(self._folder)
        cancelled, lost = [], []
        for name in waiting:
            if known.fingerprint == self._fingerprint:
                self._job_of[name] = known.jobs.get(name, self._job_of[name])
            job = self._job_of[name]
            if job in queued:
                self._missing_since.pop(job, None)
                state = queued[job]
                where = f" on {state.node}" if state.node else ""
                if where:
                    display.begin(name)
                display.update(name, f"{state.state.lower()}{where}", 0, 1)
                continue
            end = read_result(self._folder, job)
            # What was cancelled may leave a result: that its process was killed.
            whole = end is not None and not isinstance(end, Died)
            if not whole and (by := who_cancelled(self._folder, self._fingerprint, name, job)):
                cancelled.append(by)
            elif end is not None:
                yield name, end
            elif time.monotonic() - self._since(job) >= _LOST_AFTER_S:
                # Another command took an item off the list that is not there: it is not lost.
                if known.submissions.get(name, _SUBMISSIONS) >= _SUBMISSIONS:
                    log = log_of(self._folder, job)
                    yield name, Died(f"job {job} ended without a result; {log} says why")
                else:
                    lost.append(name)
        if cancelled:
            by = f"{len(cancelled)} jobs were cancelled by {cancelled[0]}"
            raise RunError(f"{by}; a rerun goes on from there")
        if lost:
            self._submit_lost(work, {name: waiting[name] for name in lost}, kin)

    def _submit_lost(
        self,
        work: Callable[[Item, Progress], Result],
        items: Mapping[str, Item],
        kin: Callable[[Item], object] | None,
    ) -> None:
        """Submit items again, unless another command has changed what is listed of them meanwhile."""
        with locked_jobs(self._folder) as known:
            if known.fingerprint == self._fingerprint:
                still = [name for name in items if known.jobs.get(name) == self._job_of[name]]
                self._submit(work, {name: items[name] for name in still}, kin, known)

    def _since(self, job: str) -> float:
        return self._missing_since.setdefault(job, time.monotonic())

    def _forget(self, name: str) -> None:
        """Take an item off the list, unless another job is listed for it by now."""
        with locked_jobs(self._folder) as known:
            own = known.fingerprint == self._fingerprint
            if own and known.jobs.get(name) == self._job_of[name]:
                del known.jobs[name]
                known.submissions.pop(name, None)
                write_jobs(self._folder, known)
