"""Processes that work on one item after another, and how each item ended."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import TextIOBase
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from typing_extensions import override

from harmbench.executors.base import Died
from harmbench.executors.server import WorkerServer
from harmbench.executors.serving import Ended
from harmbench.guard import left_threads
from harmbench.processes import Report, end_with_parent

if TYPE_CHECKING:  # it would bring in scipy and nibabel
    from harmbench.task import Progress

__all__ = ["Begun", "Done", "Raised", "Worker", "how_it_ended", "serve"]

_GRACE_S: Final = 5.0
"""How long a process may take to end by itself before it is killed."""
_LONGEST_LINE: Final = 4000

# A method's code has another `os._exit` while it runs (`harmbench.guard`).
_leave = os._exit

_log = logging.getLogger("harmbench.printed")


@dataclass(frozen=True, slots=True)
class Begun:
    """Work on an item begins: what it needs has been imported."""


@dataclass(frozen=True, slots=True)
class Done:
    """An item's result; `last`: the process takes no more items."""

    result: Any
    last: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """What work on an item raised, and its traceback as text."""

    error: BaseException
    trace: str


class Worker:
    """A process of its own session, which ends with this process and takes along what it started.

    Args:
        server: starts it.
        kin: of the items that it works on.
        place: the number of its place in its executor.
        environment: variables that it gets.

    Attributes:
        busy: whether it has an item.
        began_s: when work on the item began, by `time.monotonic`; `None` where it has not.
    """

    def __init__(
        self,
        server: WorkerServer,
        kin: object,
        place: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kin, self.place, self.busy = kin, place, False
        self.began_s: float | None = None
        self._server = server
        self._pid, self._pipe = server.start(serve, environment or {})
        self._ended: Ended | None = None
        self._death = _death_of(self._pid)

    def signs(self) -> list[int]:
        """Return descriptors of which one is readable when there is a message, or the process died.

        What the process forked may hold its pipe open after its death, which has a descriptor of its own.
        """
        return [self._pipe.fileno(), *([] if self._death is None else [self._death])]

    def give(self, work: Callable[[Any, Progress], Any], item: Any) -> None:
        """Let the process work on an item; it must have ended the one before."""
        self.busy, self.began_s = True, None
        with suppress(BrokenPipeError):  # it has died, which `receive` says
            self._pipe.send((work, item))

    def receive(self) -> Begun | Report | Done | Raised | Died:
        """Return what the process says next; call this when one of `signs` is readable."""
        try:
            if not self._pipe.poll():
                raise EOFError  # it is dead, and what it forked is not
            message: Begun | Report | Done | Raised = self._pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self._ended = self._server.end(self._pid, _GRACE_S)
            return Died(how_it_ended(self._ended.code))
        if isinstance(message, Begun):
            self.began_s = time.monotonic()
        elif not isinstance(message, Report):
            self.busy, self.began_s = False, None
        return message

    def end(self) -> None:
        """End the process, now where it works on an item."""
        with suppress(OSError):
            self._pipe.send(None)
        self._pipe.close()
        if self._death is not None:
            os.close(self._death)
            self._death = None
        if self._ended is None:
            self._ended = self._server.end(self._pid, 0.0 if self.busy else _GRACE_S)


def _death_of(pid: int) -> int | None:
    """Return a descriptor that is readable when a process has ended; `None` where there is no such thing."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.pidfd_open(pid)
    return None


def how_it_ended(code: int | None) -> str:
    """Say how a process ended that did not give a result, by its exit code."""
    if code is None:
        return "its process closed its connection, without a result"
    if code >= 0:
        return f"its process ended with exit code {code}, without a result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    if name == "SIGKILL":
        return "its process was killed (out of memory?)"
    return f"its process crashed ({name})"


def serve(pipe: Connection) -> None:
    """Work on items until there are no more, or this process is not fit for another; then end it."""
    end_with_parent()
    # An interrupt is the parent's, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    teller, threads = _Teller(pipe), set(threading.enumerate())
    with suppress(EOFError, OSError):
        while (order := pipe.recv()) is not None:
            work, item = order
            teller.send(Begun())
            try:
                out, err = (cast(TextIO, _Printed(one)) for one in (sys.stdout, sys.stderr))
                with redirect_stdout(out), redirect_stderr(err):
                    result = work(item, teller)
                end: Done | Raised = Done(result, last=bool(left_threads(threads)))
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                end = Raised(error, traceback.format_exc())
            teller.send(_portable(end))
    # Threads that foreign code left behind would hold this process up for ever.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    _leave(0)


def _portable(end: Done | Raised) -> Done | Raised:
    """Return how work ended in a form that another process can read."""
    try:
        pickle.loads(pickle.dumps(end))
    except Exception as error:  # noqa: BLE001 - classes of foreign code fail in any way
        trace = end.trace if isinstance(end, Raised) else traceback.format_exc()
        what = end.error if isinstance(end, Raised) else error
        return Raised(RuntimeError(f"{type(what).__name__}, which cannot be sent on"), trace)
    return end


class _Teller:
    """Sends reports and results to the parent, from any thread, but from no forked process.

    Args:
        pipe: to the parent.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock, self._owner = pipe, threading.Lock(), os.getpid()

    def __call__(self, stage: str, done: int, total: int, **values: float) -> None:
        """Report progress; see `harmbench.task.Progress`."""
        self.send(Report(stage, int(done), int(total), {k: float(v) for k, v in values.items()}))

    def send(self, message: Begun | Report | Done | Raised) -> None:
        """Send one message."""
        if os.getpid() == self._owner:
            with self._lock:
                self._pipe.send(message)


class _Printed(TextIOBase):
    """Writes what code prints into the log of the cell, or through where no log is open.

    Args:
        through: where it goes otherwise.
    """

    def __init__(self, through: TextIO) -> None:
        self._through, self._line = through, ""

    @override
    def write(self, text: str, /) -> int:
        if not logging.getLogger("harmbench").handlers:
            return self._through.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            # A bar that is drawn anew on its line is kept as it was last.
            if shown := line.rstrip("\r").rpartition("\r")[2].rstrip():
                _log.info("%s", shown)
        self._line = self._line[-_LONGEST_LINE:].rpartition("\r")[2]
        return len(text)

    @override
    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._through.flush()

    @override
    def writable(self) -> bool:
        return True
