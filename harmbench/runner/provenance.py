"""What a result was made with: versions, machine, code state."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harmbench import __version__
from harmbench.runner.run_record import Invocation

__all__ = ["PACKAGES", "describe_device", "now", "package_versions", "provenance"]

PACKAGES = (
    "antspyx",
    "diffusers",
    "fslpy",
    "medpy",
    "nibabel",
    "nilearn",
    "numba",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
)


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return installed versions by package name; `absent` for one that is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def describe_device(device: str) -> str:
    """Return a device's name in words: the GPU's, or the processor's."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def provenance(device: str) -> Invocation:
    """Describe what is about to produce results; the entry has no id yet."""
    return Invocation(
        started=now(),
        command=tuple(sys.argv),
        version=__version__,
        python=platform.python_version(),
        packages=package_versions(),
        host=platform.node(),
        system=platform.platform(),
        cores=os.cpu_count(),
        device=device,
        device_name=describe_device(device),
        git=_git_state(),
    )


def _git_state() -> str:
    """Commit of the checkout that harmbench runs from, `+changes` if it was edited."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "not a checkout"
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
