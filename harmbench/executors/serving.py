"""What a server of workers does: it starts them, and ends them with all that they started."""

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
from multiprocessing.reduction import recv_handle
from typing import Final, Literal, NoReturn

import psutil

from harmbench.processes import adopt_orphans, die_with

__all__ = [
    "GRACE_S",
    "End",
    "Ended",
    "Order",
    "Preload",
    "Start",
    "StartMethod",
    "Target",
    "nothing",
    "serve_orders",
    "start_method",
]

StartMethod = Literal["fork", "spawn"]
Target = Callable[[Connection], None]

GRACE_S: Final = 5.0
"""How long a process may take to end when it is asked to."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: its exit code, `None` where it had to be ended."""

    code: int | None


@dataclass(frozen=True, slots=True)
class Preload:
    """Load pickled objects, which imports what they need; call the first."""

    warm_up: bytes
    shared: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Start a worker, whose end of a pipe follows; `environment` has variables for it."""

    target: Target
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class End:
    """End a worker that has not ended after `wait_s` seconds."""

    pid: int
    wait_s: float


Order = Preload | Start | End


def start_method() -> StartMethod:
    """Return how this process may start others: by a fork only where that is safe."""
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and bool(torch.cuda.is_initialized())
    return "fork" if sys.platform == "linux" and not on_gpu else "spawn"


def serve_orders(control: Connection, start: StartMethod | None) -> None:
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


def nothing() -> None:
    """Warm nothing up."""


def _leave(*_: object) -> NoReturn:
    raise SystemExit(1)


@dataclass(slots=True)
class _Workers:
    """The workers of a server.

    Attributes:
        control: the server's end of the pipe that orders come by.
        start: how workers are started; what is safe where `None`.
        alive: by process id.
        warm: the warm-ups that are done, pickled.
    """

    control: Connection
    start: StartMethod | None
    alive: dict[int, BaseProcess] = field(default_factory=dict)
    warm: set[bytes] = field(default_factory=set)

    def follow(self, order: Order) -> object:
        """Do what is asked, and return the answer."""
        if isinstance(order, Preload):
            self.preload(order)
            return None
        if isinstance(order, Start):
            return self.begin(order)
        return self.end(order)

    def preload(self, order: Preload) -> None:
        """Import for the workers to come; a new interpreter would have nothing of it."""
        if (self.start or start_method()) == "spawn":
            return
        # What fails here fails in the worker too, which says why.
        with suppress(Exception):
            pickle.loads(order.shared)
        with suppress(Exception):
            if order.warm_up not in self.warm:
                self.warm.add(order.warm_up)
                pickle.loads(order.warm_up)()

    def begin(self, order: Start) -> int | None:
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

    def end(self, order: End) -> Ended:
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


def _end_tree(process: BaseProcess, grace_s: float = GRACE_S) -> None:
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
    ends = time.monotonic() + GRACE_S
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
