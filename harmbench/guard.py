"""Calls into a method's code: how they may end, and what they leave as it was."""

from __future__ import annotations

import logging
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from harmbench.errors import HarmbenchError, MethodError, describe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["fingerprint", "left_threads", "method_call"]

_log = logging.getLogger(__name__)

_Handler = Callable[[int, FrameType | None], object]
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def method_call(what: str = "") -> Iterator[None]:
    """Run a method's code inside the block.

    An interrupt by the user comes out as it is. Whatever else would end the program, such as `sys.exit`,
    `os._exit` or a `KeyboardInterrupt` that nobody asked for, becomes an error. Afterwards the working
    directory and what happens on an interrupt are what they were before. Processes that the code forked
    end with the block, and threads that it left behind are named in the log.

    Args:
        what: names the code in messages, such as `method 'dm'`. With it, exceptions of Python become
            errors too; without, the caller sees them as they are.

    Raises:
        MethodError: the code raised `SystemExit`, `GeneratorExit`, `KeyboardInterrupt` by itself or a
            class of its own that derives from `BaseException` alone; with `what`, any exception but
            those of the system.
    """
    begin = f"{what}: " if what else ""
    before, owner, leave = _working_directory(), os.getpid(), os._exit
    threads = set(threading.enumerate())
    with _interrupts() as asked:
        try:
            with _no_hard_exit():
                yield
        except (HarmbenchError, OSError):
            raise
        except SystemExit as error:
            code = "" if error.code is None else repr(error.code)
            raise MethodError(
                f"{begin}{_exit_name(error)}({code}) was called; code that cannot go on raises an "
                "exception, it never ends the program"
            ) from error
        except Exception as error:
            if not what:
                raise
            raise MethodError(f"{begin}{describe(error)}") from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and asked():
                raise
            text = f": {error}" if str(error) else ""
            raise MethodError(f"{begin}{type(error).__name__} was raised{text}") from error
        finally:
            if os.getpid() != owner:
                # A forked process that comes back would do the rest of the work a second time.
                leave(1)
            if before is not None and _working_directory() != before:
                with suppress(OSError):
                    os.chdir(before)
            _name_threads(begin, threads)


def left_threads(before: Iterable[threading.Thread]) -> list[str]:
    """Return the names of threads that were started since and hold a process up at its end."""
    known = set(before)
    return [one.name for one in threading.enumerate() if one not in known and not one.daemon]


def _name_threads(begin: str, before: Iterable[threading.Thread]) -> None:
    if left := left_threads(before):
        _log.warning("%sthreads were left running: %s", begin, ", ".join(left))


def fingerprint(array: NDArray[np.generic]) -> int:
    """Return a checksum of an array's values, to tell whether code that was given it changed them."""
    return zlib.crc32(array.data if array.flags.c_contiguous else array.tobytes())


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether the user interrupted the block; put the handler back after it."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: True  # signals come to the main thread; it is not known here
        return
    seen = threading.Event()
    before = {number: signal.getsignal(number) for number in _INTERRUPTS}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, _noting(handler, seen))
    try:
        yield seen.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noting(handler: _Handler, seen: threading.Event) -> _Handler:
    def note(number: int, frame: FrameType | None) -> object:
        seen.set()
        return handler(number, frame)

    return note


class _HardExit(SystemExit):
    """What `os._exit` raises inside a method's code."""


def _exit_name(error: SystemExit) -> str:
    return "os._exit" if isinstance(error, _HardExit) else "sys.exit"


@contextmanager
def _no_hard_exit() -> Iterator[None]:
    """Let `os._exit` raise in this thread: it would end harmbench, with any exit code, at once.

    Processes that the code forks end by it as they should, and other threads, such as a watchdog's, may
    end the program.
    """
    leave, owner = os._exit, (os.getpid(), threading.get_ident())

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != owner:
            leave(status)
        raise _HardExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None
