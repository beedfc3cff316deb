"""A process that starts workers, so that each need not import again what all of them need.

On Linux, the server imports once and forks: a worker is there after milliseconds. It runs one thread of
Python, no foreign code and nothing on a GPU, so that a fork is safe. Elsewhere, and where CUDA is in use in
the server, a worker is a new interpreter.

The server also ends its workers: with all that they started, and all of them when this process is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from multiprocessing.util import Finalize
from typing import Final, Literal, NoReturn

import psutil

from harmbench.errors import RunError
from harmbench.processes import adopt_orphans, die_with

__all__ = ["Ended", "StartMethod", "WorkerServer", "program_of_worker", "start_method"]

StartMethod = Literal["fork", "spawn"]
Target = Callable[[Connection], None]

_ANSWER_S: Final = 600.0
"""How long the server may take for an answer: it may import for long on a busy machine."""
_GRACE_S: Final = 5.0
"""How long a process may take to end when it is asked to."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: its exit code, `None` where it had to be ended."""

    code: int | None


@dataclass(frozen=True, slots=True)
class _Preload:
    """Load pickled objects, which imports what they need; call the first."""

    warm_up: bytes
    shared: bytes


@dataclass(frozen=True, slots=True)
class _Start:
    """Start a worker, whose end of a pipe follows; `environment` has variables for it."""

    target: Target
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _End:
    """End a worker that has not ended after `wait_s` seconds."""

    pid: int
    wait_s: float


_Order = _Preload | _Start | _End


def start_method() -> StartMethod:
    """Return how this process may start others: by a fork only where that is safe."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and bool(torch.cuda.is_initialized())
    return "fork" if sys.platform == "linux" and not on_gpu else "spawn"


def program_of_worker() -> psutil.Process | None:
    """Return the process that this worker works for; `None` where this process is no worker."""
    server = multiprocessing.parent_process()
    if server is None or server.pid is None:
        return None
    with suppress(psutil.Error):
        return psutil.Process(server.pid).parent()
    return None


class WorkerServer:
    """This process's side of a server: it starts with the first worker, and ends with this object.

    Its environment is that of this process at the time of the first worker.

    Args:
        warm_up: called once in the server, where that forks; see `LocalExecutor`.
        start: how workers are started; what is safe where `None`.
    """

    def __init__(
        self, warm_up: Callable[[], None] | None = None, start: StartMethod | None = None
    ) -> None:
        self._warm_up, self._start_method = warm_up, start
        self._running: _Running | None = None

    def preload(self, shared: object) -> None:
        """Let the server import what a picklable object needs, for the workers to come."""
        order = _Preload(pickle.dumps(self._warm_up or _nothing), pickle.dumps(shared))
        with suppress(EOFError, OSError):
            self._server().ask(order)

    def start(self, target: Target, environment: Mapping[str, str]) -> tuple[int, Connection]:
        """Start a worker that calls `target` with its end of a pipe.

        Args:
            target: importable; its process ends with it.
            environment: variables that the worker gets beside those of the server.

        Returns:
            The worker's process id, and this process's end of the pipe.

        Raises:
            RunError: no process can be started.
        """
        for _ in range(2):  # a server may have been killed while it had nothing to do
            ours, theirs = multiprocessing.Pipe()
            with theirs, suppress(EOFError, OSError):
                pid = self._server().ask(_Start(target, environment), theirs)
                if isinstance(pid, int):
                    return pid, ours
            ours.close()
            self.close()
        raise RunError("no process can be started for a cell; is there a limit of processes?")

    def end(self, pid: int, wait_s: float) -> Ended:
        """Wait some seconds for a worker's end, then end it; with it ends what it started."""
        if self._running is not None:
            with suppress(EOFError, OSError):
                end = self._running.ask(_End(pid, wait_s))
                if isinstance(end, Ended):
                    return end
        # The server was killed, and its workers with it; what they forked belongs to their session.
        self.close()
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        return Ended(-signal.SIGKILL)

    def close(self) -> None:
        """End the server and its workers; it starts anew where it is needed again."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _server(self) -> _Running:
        if self._running is None:
            self._running = _Running(self._start_method)
        return self._running


class _Running:
    """A server that runs, until it is closed, collected, or this process ends.

    Args:
        start: how it starts workers.
    """

    def __init__(self, start: StartMethod | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, start))
        process.start()
        theirs.close()
        self._orders = 0
        # Before Python waits for its processes, which would wait for this.
        self.close = Finalize(self, _close, (process, self._control), exitpriority=10)

    def ask(self, order: _Order, connection: Connection | None = None) -> object:
        """Return the server's answer.

        Raises:
            OSError, EOFError: it does not answer.
        """
        self._orders += 1
        self._control.send((self._orders, order))
        if connection is not None:
            send_handle(self._control, connection.fileno(), None)
        wait_s = _ANSWER_S + (order.wait_s if isinstance(order, _End) else 0.0)
        while self._control.poll(wait_s):
            number, answer = self._control.recv()
            if number == self._orders:  # an interrupt may have left the answer to an earlier one
                return answer
        raise TimeoutError


def _close(process: BaseProcess, control: Connection) -> None:
    """End a server: it ends its workers when nobody holds the other end of its pipe."""
    control.close()
    process.join(2 * _GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()


def _serve(control: Connection, start: StartMethod | None) -> None:
    """Follow orders until the process that gives them is gone."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's
    signal.signal(signal.SIGTERM, _leave)
    adopt_orphans()
    workers = _Workers(control, start)
    try:
        while True:
            number, order = control.recv()
            control.send((number, workers.follow(order)))
    except (EOFError, OSError):
        pass
    finally:
        workers.end_all()


def _nothing() -> None: ...


def _leave(*_: object) -> NoReturn:
    raise SystemExit(1)


@dataclass(slots=True)
class _Workers:
    """The workers of a server.

    Attributes:
        control: the server's end of the pipe that orders come by.
        start: how workers are started; what is safe where `None`.
        alive: by process id.
        warm: whether the warm-up is done.
    """

    control: Connection
    start: StartMethod | None
    alive: dict[int, BaseProcess] = field(default_factory=dict)
    warm: bool = False

    def follow(self, order: _Order) -> object:
        """Do what is asked, and return the answer."""
        if isinstance(order, _Preload):
            self.preload(order)
            return None
        if isinstance(order, _Start):
            return self.begin(order)
        return self.end(order)

    def preload(self, order: _Preload) -> None:
        """Import for the workers to come; a new interpreter would have nothing of it."""
        if (self.start or start_method()) == "spawn":
            return
        # What fails here fails in the worker too, which says why.
        with suppress(Exception):
            pickle.loads(order.shared)
        with suppress(Exception):
            if not self.warm:
                self.warm = True
                pickle.loads(order.warm_up)()

    def begin(self, order: _Start) -> int | None:
        """Start a worker; return its process id, `None` where the system has no more processes."""
        method = self.start or start_method()
        forks = method == "fork"
        context = (
            multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")
        )
        with Connection(recv_handle(self.control)) as connection, warnings.catch_warnings():
            # Python counts threads of libraries too. OpenBLAS, the one that has some, ends them
            # before a fork and starts them again after it.
            warnings.simplefilter("ignore", DeprecationWarning)
            forked_from = self.control if forks else None
            target = partial(_run, order.target, dict(order.environment), os.getpid())
            process = context.Process(target=target, args=(connection, forked_from))
            try:
                process.start()
            except OSError:
                return None
        assert process.pid is not None
        self.alive[process.pid] = process
        return process.pid

    def end(self, order: _End) -> Ended:
        """End a worker and all that it started."""
        process = self.alive.pop(order.pid, None)
        if process is None:
            return Ended(None)
        process.join(order.wait_s)
        ended = Ended(process.exitcode)
        _end_tree(process)
        if not self.alive:
            _end_strays()
        return ended

    def end_all(self) -> None:
        """End all workers, and what was left by earlier ones."""
        for process in self.alive.values():
            _end_tree(process, grace_s=0.0)
        self.alive.clear()
        _end_strays()


def _run(
    target: Target,
    environment: Mapping[str, str],
    server: int,
    connection: Connection,
    inherited: Connection | None,
) -> None:
    """Be a worker."""
    os.setsid()
    die_with(server)
    if inherited is not None:
        inherited.close()
        _reseed()
    os.environ.update(environment)
    target(connection)


def _reseed() -> None:
    """Give numpy's global generator a state of its own, as a new interpreter would; Python's has one."""
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()  # noqa: NPY002 - foreign code may use it


def _end_tree(process: BaseProcess, grace_s: float = _GRACE_S) -> None:
    """End a worker with all processes below it, and reap it."""
    assert process.pid is not None
    below: list[psutil.Process] = []
    with suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
    if process.is_alive():
        process.terminate()
        process.join(grace_s)
    # What it forked may have lost its parent since, but stays in its session.
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    _kill(below)
    if process.is_alive():
        process.kill()
        process.join()


def _end_strays() -> None:
    """End processes whose parent has ended, a worker or a process below one; this is theirs now."""
    ends = time.monotonic() + _GRACE_S
    while (strays := psutil.Process().children(recursive=True)) and time.monotonic() < ends:
        _kill(strays)
        for stray in strays:
            with suppress(OSError):
                os.waitpid(stray.pid, os.WNOHANG)
        time.sleep(0.01)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
