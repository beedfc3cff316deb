"""Tools of an installed FSL, called through fslpy."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmbench.errors import UnavailableError

__all__ = ["fsl_version", "fsl_wrapper"]


def fsl_version(tool: str, what: str) -> str:
    """Version of the FSL installation.

    Args:
        tool: program that must be in its `bin`, such as `fast`.
        what: who asks, put before the message.

    Raises:
        UnavailableError: FSLDIR is unset or holds no such program.
    """
    folder = os.environ.get("FSLDIR", "")
    if not folder or not (Path(folder) / "bin" / tool).is_file():
        where = f"FSLDIR is {folder}, which holds no bin/{tool}" if folder else "FSLDIR is not set"
        raise UnavailableError(
            f"{what}: {where}; install FSL (fsl.fmrib.ox.ac.uk) and set FSLDIR, or choose another"
        )
    file = Path(folder) / "etc" / "fslversion"
    text = file.read_text(encoding="utf-8").strip() if file.is_file() else "of unknown version"
    return f"FSL {text}"


def fsl_wrapper(tool: str) -> Callable[..., Any]:
    """Return fslpy's function for a tool.

    fslpy looks for FSL when it is imported: FSLDIR must be known by then.
    """
    # An empty FSLOUTPUTTYPE makes FSL write files without a suffix.
    if not os.environ.get("FSLOUTPUTTYPE"):
        os.environ["FSLOUTPUTTYPE"] = "NIFTI_GZ"
    found: Callable[..., Any] = getattr(importlib.import_module("fsl.wrappers"), tool)
    return found
