"""What this installation can do: software, device, caches."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmbench import __version__
from harmbench.catalogue import describe_installed, source_file
from harmbench.errors import HarmbenchError, ProgramError, UnavailableError
from harmbench.external.fsl import fsl_version
from harmbench.external.packages import package_versions
from harmbench.external.programs import run_program
from harmbench.guard import method_call
from harmbench.plugins import SEGMENTERS
from harmbench.storage import cache_root

__all__ = ["VGG16_FILE", "Finding", "examine"]

VGG16_FILE = "vgg16-397923af.pth"
"""Name that torchvision gives the weights of VGG16 trained on ImageNet."""

State = Literal["ok", "found", "absent", "broken"]

_DRIVER = Path("/proc/driver/nvidia/gpus")
_ASK_DRIVER = ("--query-gpu=name", "--format=csv,noheader")
_ASK_DRIVER_S = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: `ok`: tried, it works. `found`: it is there, and was not tried. `absent`: it is not
            there, which is fine for what is optional. `broken`: it is not there or fails, and a run
            may need it.
        detail: its version or place, or what is wrong.
    """

    what: str
    state: State
    detail: str


def examine(*, full: bool = False) -> list[Finding]:
    """Look at everything that a run may need.

    Args:
        full: also try segmenters and methods, and ask torch for a GPU: imports all of them, which
            takes seconds.
    """
    return [
        Finding("harmbench", "ok", f"{__version__}, Python {platform.python_version()}"),
        _gpu_of_torch() if full else _gpu_of_driver(),
        _fsl(),
        *(_tried_segmenters() if full else _segmenters()),
        *(_tried_methods() if full else _methods()),
        _weights(),
        _cache(),
        *_packages(),
    ]


def _gpu_of_driver() -> Finding:
    names = []
    for file in sorted(_DRIVER.glob("*/information")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    program = None if names else shutil.which("nvidia-smi")
    if program is not None:
        try:
            names = [run_program([program, *_ASK_DRIVER], timeout_s=_ASK_DRIVER_S)]
        except ProgramError as error:
            return Finding("GPU", "broken", f"{program}: {error}")
    if names:
        return Finding("GPU", "found", f"{', '.join(names)}, by its driver; torch was not asked")
    return Finding("GPU", "absent", f"no NVIDIA driver; {_on_the_cpu()}")


def _gpu_of_torch() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", "absent", f"torch sees no CUDA device; {_on_the_cpu()}")
    index = torch.cuda.current_device()
    memory = torch.cuda.get_device_properties(index).total_memory / 2**30
    return Finding("GPU", "ok", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")


def _on_the_cpu() -> str:
    return f"methods run on the CPU ({os.cpu_count()} cores)"


def _fsl() -> Finding:
    try:
        return Finding("FSL", "ok", fsl_version("fast", "FAST"))
    except UnavailableError as error:
        return Finding("FSL", "absent", str(error))


def _segmenters() -> Iterator[Finding]:
    for name, point in sorted(SEGMENTERS.installed().items()):
        if source_file(point.module) is None:
            yield Finding(f"segmenter {name}", "broken", f"{point.module}: no such module")
        else:
            yield Finding(f"segmenter {name}", "found", point.value)


def _tried_segmenters() -> Iterator[Finding]:
    from harmbench.segmentation import make_segmenter

    for name in sorted(SEGMENTERS.installed()):
        try:
            yield Finding(f"segmenter {name}", "ok", make_segmenter(name).version)
        except UnavailableError as error:
            yield Finding(f"segmenter {name}", "absent", str(error))
        except HarmbenchError as error:
            yield Finding(f"segmenter {name}", "broken", str(error))
    yield Finding("segmenter auto", "ok", f"chooses {make_segmenter('auto').name}")


def _methods() -> Iterator[Finding]:
    for method in describe_installed():
        if method.problem:
            yield Finding(f"method {method.name}", "broken", method.problem)
        elif method.maps == "volumes":
            yield Finding(f"volume correction {method.name}", "found", _size(0))
        elif method.parameters is None:
            yield Finding(f"method {method.name}", "found", "declares no number of parameters")
        else:
            size = _size(sum(method.parameters.values()))
            yield Finding(f"method {method.name}", "found", size)


def _tried_methods() -> Iterator[Finding]:
    from harmbench.discovery import (
        available_corrections,
        available_methods,
        load_correction,
        load_method,
    )

    for name in sorted(available_methods()):
        try:
            kind = load_method(name)
            with method_call("parameter_counts"):
                counts = kind().parameter_counts()
            yield Finding(f"method {name}", "ok", _size(sum(counts.values())))
        except UnavailableError as error:
            yield Finding(f"method {name}", "absent", str(error))
        except HarmbenchError as error:
            yield Finding(f"method {name}", "broken", str(error))
    for name in sorted(available_corrections()):
        try:
            load_correction(name)
            yield Finding(f"volume correction {name}", "ok", _size(0))
        except HarmbenchError as error:
            yield Finding(f"volume correction {name}", "broken", str(error))


def _size(parameters: int) -> str:
    return f"{parameters:,} parameters" if parameters else "no parameters"


def _weights() -> Finding:
    """Look for the weights that a perceptual loss needs, where torch keeps what it downloads."""
    # As `torch.hub.get_dir()`, without torch.
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(caches) / "torch").expanduser()
    path = home / "hub" / "checkpoints" / VGG16_FILE
    if path.is_file():
        return Finding("weights VGG16", "found", str(path))
    return Finding("weights VGG16", "absent", f"{path}: downloaded when a method first asks for it")


def _cache() -> Finding:
    folder = cache_root()
    existing = folder
    while not existing.exists():
        existing = existing.parent
    writable = os.access(existing, os.W_OK)
    return Finding("cache", "ok" if writable else "broken", str(folder))


def _packages() -> Iterator[Finding]:
    for name, version in package_versions().items():
        if version == "absent":
            yield Finding(name, "broken", "not installed")
        else:
            yield Finding(name, "found", version)
