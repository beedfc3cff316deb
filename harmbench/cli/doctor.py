"""What this installation can do: software, device, caches."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harmbench import __version__
from harmbench.cohorts.phantom import PhantomSettings, cache_folder
from harmbench.discovery import available_methods, load_method
from harmbench.errors import HarmbenchError, UnavailableError
from harmbench.guard import method_call
from harmbench.runner.provenance import package_versions
from harmbench.segmentation import SEGMENTERS, make_segmenter

__all__ = ["VGG16_FILE", "Finding", "examine"]

VGG16_FILE = "vgg16-397923af.pth"
"""Name that torchvision gives the weights of VGG16 trained on ImageNet."""

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `absent` is fine for what is optional; `broken` is not."""

    what: str
    state: State
    detail: str


def examine() -> list[Finding]:
    """Look at everything that a run may need."""
    findings = [
        Finding("harmbench", "ok", f"{__version__}, Python {platform.python_version()}"),
        _device(),
    ]
    for name in SEGMENTERS:
        try:
            findings.append(Finding(f"segmenter {name}", "ok", make_segmenter(name).version))
        except UnavailableError as error:
            findings.append(Finding(f"segmenter {name}", "absent", str(error)))
    findings.append(Finding("segmenter auto", "ok", f"chooses {make_segmenter('auto').name}"))
    for name in available_methods():
        try:
            kind = load_method(name)
            with method_call("parameter_counts"):
                counts = kind().parameter_counts().values()
            size = f"{sum(counts):,} parameters" if counts else "no parameters"
            findings.append(Finding(f"method {name}", "ok", size))
        except HarmbenchError as error:
            findings.append(Finding(f"method {name}", "broken", str(error)))
    findings.append(_weights())
    folder = cache_folder(PhantomSettings()).parent
    existing = folder
    while not existing.exists():
        existing = existing.parent
    writable = os.access(existing, os.W_OK)
    findings.append(Finding("cache", "ok" if writable else "broken", str(folder)))
    findings += [
        Finding(name, "broken" if found == "absent" else "ok", found)
        for name, found in package_versions().items()
    ]
    return findings


def _weights() -> Finding:
    """Look for the weights that a perceptual loss needs, where torch keeps what it downloads."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / VGG16_FILE
    if path.is_file():
        return Finding("weights VGG16", "ok", str(path))
    return Finding("weights VGG16", "absent", f"{path}: downloaded when a method first asks for it")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        index = torch.cuda.current_device()
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        return Finding("GPU", "ok", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    cores = os.cpu_count()
    return Finding("GPU", "absent", f"no CUDA device; methods run on the CPU ({cores} cores)")
