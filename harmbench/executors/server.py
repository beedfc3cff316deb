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
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from multiprocessing.util import Finalize
from typing import Final

import psutil

from harmbench.errors import RunError
from harmbench.executors.serving import (
    GRACE_S,
    End,
    Ended,
    Order,
    Preload,
    Start,
    StartMethod,
    Target,
    nothing,
    serve_orders,
)

__all__ = ["WorkerServer", "program_of_worker"]

_ANSWER_S: Final = 600.0
"""How long the server may take for an answer: it may import for long on a busy machine."""
_AGAIN_S: Final = (0.1, 0.5, 1.0, 3.0, 5.0)
"""Pauses after which a process is asked for again that the system could not start just now."""


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
        start: how workers are started; what is safe where `None`.
    """

    def __init__(self, start: StartMethod | None = None) -> None:
        self._start_method = start
        self._running: _Running | None = None

    def preload(self, shared: object, warm_up: Callable[[], None] | None = None) -> None:
        """Let the server import what a picklable object needs, for the workers to come.

        Args:
            shared: what they need.
            warm_up: called in the server, once, where that forks; see `LocalExecutor`.
        """
        order = Preload(pickle.dumps(warm_up or nothing), pickle.dumps(shared))
        with suppress(EOFError, OSError):
            self._server().ask(order)

    def begin(self, warm_up: Callable[[], None]) -> None:
        """Start the server, and let it warm up while this process goes on with its own work."""
        with suppress(OSError):
            self._server().tell(Preload(pickle.dumps(warm_up), pickle.dumps(None)))

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
                pid = self._begin(Start(target, environment), theirs)
                if pid is not None:
                    return pid, ours
                ours.close()
                raise _no_process()  # the server and its other workers go on
            ours.close()
            self.close()
        raise _no_process()

    def _begin(self, order: Start, connection: Connection) -> int | None:
        """Return the id of a new process; `None` where the system has none, asked again and again."""
        for pause_s in (*_AGAIN_S, None):
            pid = self._server().ask(order, connection)
            if isinstance(pid, int):
                return pid
            if pause_s is not None:
                time.sleep(pause_s)
        return None

    def end(self, pid: int, wait_s: float) -> Ended:
        """Wait some seconds for a worker's end, then end it; with it ends what it started."""
        if self._running is not None:
            with suppress(EOFError, OSError):
                end = self._running.ask(End(pid, wait_s))
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


def _no_process() -> RunError:
    return RunError("no process can be started for a cell; is there a limit of processes?")


class _Running:
    """A server that runs, until it is closed, collected, or this process ends.

    Args:
        start: how it starts workers.
    """

    def __init__(self, start: StartMethod | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        process = context.Process(target=serve_orders, args=(theirs, start))
        process.start()
        theirs.close()
        self._talk = _Talk()
        # Before Python waits for its processes, which would wait for this.
        ends = (process, self._control, self._talk)
        self.close = Finalize(self, _close, ends, exitpriority=10)

    def tell(self, order: Order) -> None:
        """Give an order whose answer nobody waits for.

        Raises:
            OSError: the server is gone.
        """
        self._talk.orders += 1
        self._control.send((self._talk.orders, order))

    def ask(self, order: Order, connection: Connection | None = None) -> object:
        """Return the server's answer.

        Raises:
            OSError, EOFError: it does not answer.
        """
        self.tell(order)
        if connection is not None:
            send_handle(self._control, connection.fileno(), None)
        wait_s = _ANSWER_S + (order.wait_s if isinstance(order, End) else 0.0)
        while self._control.poll(wait_s):
            number, answer = self._control.recv()
            self._talk.answered = number
            if number == self._talk.orders:  # before it come answers that nobody waited for
                return answer
        raise TimeoutError


@dataclass(slots=True)
class _Talk:
    """The numbers of the last order that a server was given, and of the last one that it answered."""

    orders: int = 0
    answered: int = 0


def _close(process: BaseProcess, control: Connection, talk: _Talk) -> None:
    """End a server: it ends its workers when nobody holds the other end of its pipe."""
    control.close()
    if talk.answered < talk.orders:  # it may be busy, and would not look at its pipe for long
        process.terminate()
    process.join(2 * GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()
