"""Calls into a method's code: how they may end, and what they leave as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from harmbench.errors import HarmbenchError, MethodError

__all__ = ["method_call"]


@contextmanager
def method_call(what: str = "") -> Iterator[None]:
    """Run a method's code inside the block.

    An interrupt comes out as it is: it is the user's. Whatever else would end the program, such as
    `sys.exit` or `os._exit`, becomes an error. Afterwards the working directory is what it was before.

    Args:
        what: names the code in messages, such as `method 'dm'`. With it, exceptions of Python become
            errors too; without, the caller sees them as they are.

    Raises:
        MethodError: the code raised `SystemExit`, `GeneratorExit` or a class of its own that derives
            from `BaseException` alone; with `what`, any exception but those of the system.
    """
    begin = f"{what}: " if what else ""
    before = _working_directory()
    try:
        with _no_hard_exit():
            yield
    except (HarmbenchError, OSError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        code = "" if error.code is None else repr(error.code)
        raise MethodError(
            f"{begin}{_exit_name(error)}({code}) was called; a method that cannot go on raises an "
            "exception, it never ends the program"
        ) from error
    except Exception as error:
        if not what:
            raise
        raise MethodError(f"{begin}{type(error).__name__}: {error}") from error
    except BaseException as error:
        text = f": {error}" if str(error) else ""
        raise MethodError(f"{begin}{type(error).__name__} was raised{text}") from error
    finally:
        if before is not None and _working_directory() != before:
            with suppress(OSError):
                os.chdir(before)


class _HardExit(SystemExit):
    """What `os._exit` raises inside a method's code."""


def _exit_name(error: SystemExit) -> str:
    return "os._exit" if isinstance(error, _HardExit) else "sys.exit"


@contextmanager
def _no_hard_exit() -> Iterator[None]:
    """Let `os._exit` raise in this process: it would end harmbench, with any exit code, at once.

    Processes that the code forks end by it as they should.
    """
    leave, owner = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != owner:
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
