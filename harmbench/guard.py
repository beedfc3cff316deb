"""Calls into a method's code: how they may end, and what they leave as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harmbench.errors import MethodError

__all__ = ["method_call"]


@contextmanager
def method_call() -> Iterator[None]:
    """Run a method's code inside the block.

    Exceptions come out as they are, and so does `KeyboardInterrupt`: it is the user's. Whatever else
    would end the program (`sys.exit`, exceptions that are none) becomes an error. The working directory
    is afterwards what it was.

    Raises:
        MethodError: the code raised `SystemExit`, `GeneratorExit` or another `BaseException`.
    """
    before = _working_directory()
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise MethodError(
            f"sys.exit({'' if error.code is None else repr(error.code)}) was called; a method that "
            "cannot go on raises an exception, it never ends the program"
        ) from error
    except BaseException as error:
        text = f": {error}" if str(error) else ""
        raise MethodError(f"{type(error).__name__} was raised{text}") from error
    finally:
        if before is not None and _working_directory() != before:
            with suppress(OSError):
                os.chdir(before)


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None
