"""Several commands on the jobs of one run folder; the queue and the jobs are stand-ins."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from harmbench.errors import RunError
from harmbench.executors import slurm, slurm_queue
from harmbench.executors.base import Died
from harmbench.executors.slurm import SlurmExecutor
from harmbench.executors.slurm_queue import (
    cancel_jobs,
    locked_jobs,
    read_jobs,
    result_of,
    write_jobs,
)
from harmbench.locks import Lock
from harmbench.progress import Display

pytest.importorskip("submitit", reason="submitit is not installed")


class _Queue:
    """Stands for SLURM: jobs wait until they are cancelled or ended.

    Attributes:
        folder: of the jobs.
        jobs: which are in the queue.
        submitted: how many were submitted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs, self.submitted = folder, list[str](), 0

    def states(self) -> Mapping[str, slurm_queue.QueueState]:
        return {job: slurm_queue.QueueState("RUNNING") for job in self.jobs}

    def submit(self, needs: object, works: list[object]) -> list[str]:
        made = [str(self.submitted + number) for number in range(len(works))]
        self.submitted += len(works)
        self.jobs += made
        return made

    def call(self, command: str, *jobs: str) -> str:
        assert command == "scancel"
        for job in jobs:
            self.end(job, Died("its process was killed"))  # as a job does that is asked to end
        return ""

    def end(self, job: str, value: object) -> None:
        self.jobs.remove(job)
        result_of(self.folder, job).write_bytes(pickle.dumps(("success", pickle.dumps(value))))


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Queue:
    made = _Queue(tmp_path / "slurm")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/sbatch")
    monkeypatch.setattr(slurm, "queue_states", made.states)
    monkeypatch.setattr(slurm_queue, "queue_states", made.states)
    monkeypatch.setattr(slurm_queue, "_call", made.call)
    monkeypatch.setattr(SlurmExecutor, "_array", made.submit)
    monkeypatch.setattr(slurm, "_LOST_AFTER_S", -1.0)
    return made


class _Command:
    """One command that waits for jobs; `look` is what it does between two pauses."""

    def __init__(self, queue: _Queue, fingerprint: str = "same") -> None:
        self._executor = SlurmExecutor(queue.folder, {}, fingerprint, poll_s=0.0)
        self._display = Display("test", 2, Console(quiet=True))
        self._waiting = {"a": "a", "b": "b"}
        self._executor._begin(_nothing, self._waiting, None)

    def look(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, end in self._executor._ended(_nothing, self._waiting, self._display, None):
            self._executor._forget(name)
            found[name] = end
        self._waiting = {name: name for name in self._waiting if name not in found}
        return found


def _nothing(item: str, progress: object) -> str:
    return item


def test_two_commands_wait_for_the_same_jobs(queue: _Queue) -> None:
    first, second = _Command(queue), _Command(queue)
    assert queue.submitted == 2
    assert first.look() == second.look() == {}
    queue.end("0", "found")
    assert first.look() == {"a": "found"}
    assert "a" not in read_jobs(queue.folder).jobs
    assert second.look() == {"a": "found"}
    queue.end("1", "too")
    assert second.look() == first.look() == {"b": "too"}
    assert queue.submitted == 2


def test_an_item_that_another_command_gave_up_is_not_submitted_again(queue: _Queue) -> None:
    command = _Command(queue)
    queue.jobs.remove("0")
    with locked_jobs(queue.folder) as known:
        del known.jobs["a"], known.submissions["a"]
        write_jobs(queue.folder, known)
    (end,) = command.look().values()
    assert isinstance(end, Died)
    assert "job 0 ended without a result" in end.reason
    assert queue.submitted == 2


def test_a_lost_job_is_submitted_again_by_one_of_two_commands(queue: _Queue) -> None:
    first, second = _Command(queue), _Command(queue)
    queue.jobs.remove("0")
    assert first.look() == {}
    # The other one has found the job lost too, and comes to submit it a moment later.
    second._executor._submit_lost(_nothing, {"a": "a"}, None)
    assert second.look() == {}
    assert queue.submitted == 3
    queue.end("2", "found")
    assert first.look() == second.look() == {"a": "found"}


def test_cancelled_jobs_end_the_command_that_waits_for_them(queue: _Queue) -> None:
    command = _Command(queue)
    queue.end("1", "done before")
    assert cancel_jobs(queue.folder) == ["0"]
    with pytest.raises(RunError, match="1 jobs were cancelled by harmbench cancel"):
        command.look()
    assert queue.submitted == 2
    again = _Command(queue)
    queue.end("2", "again")
    assert again.look()["a"] == "again"
    assert not read_jobs(queue.folder).cancelled


def test_a_run_with_other_settings_ends_the_one_whose_jobs_it_cancels(queue: _Queue) -> None:
    first = _Command(queue)
    second = _Command(queue, "other")
    queue.end("2", "of the other settings")
    with pytest.raises(RunError, match="cancelled by a run with other settings"):
        first.look()
    assert second.look() == {"a": "of the other settings"}
    assert queue.submitted == 4


def test_a_list_that_another_command_changes_is_waited_for(
    queue: _Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = _Command(queue)
    monkeypatch.setattr(slurm_queue, "_LONGEST_WAIT_S", 0.0)
    queue.end("0", "found")
    with Lock(queue.folder / "lock.json") as lock:
        assert lock.take() is None
        with pytest.raises(RunError, match="has been changing its list of jobs"):
            command.look()
        with pytest.raises(RunError, match="has been changing its list of jobs"):
            cancel_jobs(queue.folder)
    assert command.look() == {"a": "found"}
