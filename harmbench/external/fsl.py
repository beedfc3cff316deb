"""Tools of an installed FSL, called through fslpy."""

from __future__ import annotations

import importlib
import os
import signal
from functools import lru_cache
from pathlib import Path
from typing import Any

from harmbench.errors import ProgramError, UnavailableError
from harmbench.external.programs import run_program

__all__ = ["fsl_version", "run_fsl"]

_START_S = 5.0
_CANNOT_EXECUTE = (126, 127)
"""What a shell, or the dynamic loader, says of a program that it cannot execute."""

_FROM_OUTSIDE = tuple(-s for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def fsl_version(tool: str, what: str) -> str:
    """Version of the FSL installation, whose tool has been seen to start.

    Args:
        tool: program that must be in its `bin`, such as `fast`.
        what: who asks, put before the message.

    Raises:
        UnavailableError: FSLDIR is unset, holds no such program, or one that does not start.
    """
    program = _find(tool)
    if program is None:
        folder = os.environ.get("FSLDIR", "")
        where = f"FSLDIR is {folder}, which holds no bin/{tool}" if folder else "FSLDIR is not set"
        raise UnavailableError(
            f"{what}: {where}; install FSL (fsl.fmrib.ox.ac.uk) and set FSLDIR, or choose another"
        )
    problem = _why_not_started(program, program.stat().st_mtime_ns, program.stat().st_mode)
    if problem:
        raise UnavailableError(f"{what}: {program} does not start ({problem})")
    file = Path(os.environ.get("FSLDIR", "")) / "etc" / "fslversion"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else "of unknown version"
    replaced = f", {tool} of FSLDEVDIR {program.parents[1]}" if _is_development(program) else ""
    return f"FSL {text}{replaced}"


def run_fsl(tool: str, *arguments: str, **options: Any) -> str:
    """Run a tool of FSL to its end; what it writes is `.nii.gz`, whatever FSLOUTPUTTYPE says.

    Args:
        tool: a function of `fsl.wrappers`, such as `fast`.
        arguments, options: the function's.

    Returns:
        The last lines that the tool printed, on one line.

    Raises:
        ProgramError: the tool is gone or failed; see `run_program`.
    """
    program = _find(tool)
    if program is None:
        raise ProgramError(f"bin/{tool} is gone")
    wrapper = getattr(importlib.import_module("fsl.wrappers"), tool)
    platform = importlib.import_module("fsl.utils.platform").platform
    # fslpy looks for FSL once, when it is imported.
    if platform.fsldir != os.environ.get("FSLDIR"):
        platform.fsldir = os.environ.get("FSLDIR")
    command = [str(part) for part in wrapper(*arguments, **options, cmdonly=True)]
    environment = {**os.environ, "FSLOUTPUTTYPE": "NIFTI_GZ"}
    return run_program([str(program), *command[1:]], environment=environment)


def _find(tool: str) -> Path | None:
    """Return the program that fslpy would run: FSLDEVDIR comes before FSLDIR."""
    for name in ("FSLDEVDIR", "FSLDIR"):
        folder = os.environ.get(name)
        if folder and (Path(folder) / "bin" / tool).is_file():
            return (Path(folder) / "bin" / tool).absolute()
    return None


def _is_development(program: Path) -> bool:
    folder = os.environ.get("FSLDEVDIR")
    return bool(folder) and program.parents[1] == Path(str(folder)).absolute()


@lru_cache(maxsize=16)
def _why_not_started(program: Path, changed_ns: int, mode: int) -> str:  # noqa: ARG001 - makes a repaired program a new entry
    """Start a program without arguments, once; say why it cannot run, or nothing.

    Tools of FSL then print how they are used and end. Any exit code will do, but for those that
    stand for a program that was not executed; one that was killed from outside proves nothing.
    """
    try:
        run_program([str(program)], timeout_s=_START_S)
    except ProgramError as error:
        started = error.timed_out or (error.code is not None and error.code > 0)
        if started and error.code not in _CANNOT_EXECUTE:
            return ""
        return "" if error.code in _FROM_OUTSIDE else str(error)
    return ""
