"""Programs of other projects: each runs in a process group of its own that ends with harmbench."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from harmbench.errors import ProgramError

__all__ = ["end_programs", "run_program"]

_running: set[subprocess.Popen[bytes]] = set()

_LINES_SHOWN = 2
_CHARACTERS_SHOWN = 300


def run_program(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> str:
    """Run a program to its end; an interrupt ends it too, and whatever it started.

    Args:
        command: the program's path and its arguments.
        environment: its environment variables; those of this process where `None`.
        timeout_s: seconds after which it is ended.

    Returns:
        The last lines that it printed, on one line.

    Raises:
        ProgramError: it cannot be started, was ended by a signal, did not end in time, or ended
            with another exit code than 0; the message has its own last words.
    """
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
            # A group of its own can be ended as a whole, a shell script's children with it.
            start_new_session=True,
        )
    except OSError as error:
        raise ProgramError(f"{command[0]} cannot be started: {error.strerror or error}") from error
    _running.add(process)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise ProgramError(f"did not end within {timeout_s:g} s", timed_out=True) from error
    except BaseException:
        _end(process)
        raise
    finally:
        _running.discard(process)
    words = _last_words(out, err)
    if process.returncode:
        told = f": {words}" if words else ""
        raise ProgramError(f"{_how(process.returncode)}{told}", process.returncode)
    return words


def end_programs() -> None:
    """End every program that this process has running, without waiting for it.

    This may be called while a signal is handled: what it interrupted may hold the lock that waiting
    for a program needs.
    """
    for process in list(_running):
        _kill(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill(process)
    process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _how(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was ended by signal {-code} ({name})"


def _last_words(*streams: bytes) -> str:
    """Return the last lines of each stream as one line, errors last."""
    found: list[str] = []
    for stream in streams:
        lines = [" ".join(line.split()) for line in stream.decode(errors="replace").splitlines()]
        found += [line for line in lines if line][-_LINES_SHOWN:]
    return "; ".join(dict.fromkeys(found))[-_CHARACTERS_SHOWN:]
