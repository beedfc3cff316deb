"""Time and memory of a training step of `dm`: a plain loop against harmbench's, in one run.

    python benchmarks/train_step.py                       # small, for a CPU: a minute or two
    python benchmarks/train_step.py --size paper          # the paper's network and slices: a GPU
    python benchmarks/train_step.py --size paper --compile

Plain is how such a loop is usually written: eager, float32, contiguous tensors, torch's default Adam
and running average, a batch copied from main memory at each step; once on whole slices, as in the
code released with the paper, and once on the slices that harmbench cuts. On a GPU, torch rounds the
convolutions of a plain loop to TF32, so that a third plain row has it switched off. The network and the
batch size are the same in all rows. Each row is measured in a process of its own, on simulated scans.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import UNet2DModel
from tabulate import tabulate

from harmbench.cohorts.base import load_scan
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.methods.dm import DiffusionModel, DiffusionSettings
from harmbench.methods.dm.diffusion import Chain, diffusion_loss
from harmbench.slices import training_slices
from harmbench.task import Direction, Pair, Task
from harmbench.training import resolve_device

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"channels": 4, "norm_groups": 2, "levels": 2, "blocks_per_level": 1},
    "small": {"channels": 32, "norm_groups": 8, "levels": 3, "blocks_per_level": 1},
    "paper": {},
}
"""Settings of the network, by size; `tiny` tries the code and measures nothing."""
SPACING_MM = {"tiny": 4.0, "small": 2.0, "paper": 1.0}
WAY = Direction("3T", "1.5T")
WHOLE = "plain, whole slices"


class Step(NamedTuple):
    """A training step: milliseconds, and peak MiB of the GPU, or of the process beyond its start."""

    ms: float
    peak_mib: float


@lru_cache(maxsize=1)
def simulated_pairs(subjects: int, spacing_mm: float) -> list[Pair]:
    """Pairs of simulated scans, 3 T as the source."""
    cohort = make_phantom(PhantomSettings(subjects=subjects, spacing_mm=spacing_mm))
    return [
        Pair(
            subject=subject,
            group="",
            source=load_scan(cohort.scans[subject, WAY.source]),
            target=load_scan(cohort.scans[subject, WAY.target]),
        )
        for subject in cohort.subjects
    ]


def plain(size: str, device: torch.device, steps: int, *, whole: bool, tf32: bool = True) -> float:
    """Milliseconds per step of the plain loop; torch's own choice is TF32 in convolutions."""
    torch.backends.cudnn.allow_tf32 = tf32
    config = settings(size)
    slices = training_slices(
        simulated_pairs(2, SPACING_MM[size]),
        axis=0,
        multiple=config.multiple,
        crop=not whole,
        margin=config.margin,
    )
    network = UNet2DModel(
        in_channels=2,
        out_channels=2,
        block_out_channels=(config.channels,) * config.levels,
        layers_per_block=config.blocks_per_level,
        down_block_types=("DownBlock2D",) * config.levels,
        up_block_types=("UpBlock2D",) * config.levels,
        attention_head_dim=config.channels,
        norm_num_groups=config.norm_groups,
    ).to(device)
    average = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    chain = Chain.from_settings(config, device)
    random = np.random.default_rng(0)
    warm_up, start = steps // 5, 0.0
    for step in range(steps):
        if step == warm_up:
            start = now(device)
        chosen = random.integers(len(slices), size=config.batch_size)
        source, image = (
            torch.from_numpy(stack[chosen])[:, None].to(device) * 2 - 1
            for stack in (slices.source, slices.target)
        )
        index = torch.randint(len(chain), (config.batch_size,), device=device)
        noise = torch.randn_like(image)
        noisy = chain.add_noise(image, noise, index)
        output = network(torch.cat((noisy, source), dim=1), index, return_dict=False)[0]
        answer = (output[:, :1], output[:, 1:])
        loss = diffusion_loss(chain, config, image, noise, index, answer)["loss"]
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), network.parameters(), strict=True):
                old.mul_(config.ema_decay).add_(new, alpha=1 - config.ema_decay)
    return 1000 * (now(device) - start) / (steps - warm_up)


def ours(size: str, device: torch.device, steps: int, **changes: Any) -> float:
    """Milliseconds per step of `DiffusionModel.fit`."""
    config = settings(size).model_copy(update={"iterations": steps, **changes})
    with tempfile.TemporaryDirectory() as folder:
        task = Task(WAY, device=str(device), folder=Path(folder))
        DiffusionModel(config).fit(simulated_pairs(2, SPACING_MM[size]), task)
        return float(json.loads(Path(folder, "training.json").read_text())["ms_per_step"])


def settings(size: str) -> DiffusionSettings:
    """The paper's settings, or a smaller network."""
    return DiffusionSettings(**SIZES[size])


def name_of(device: torch.device) -> str:
    """What the device is called in a table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads"


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(kind: str, size: str, device: str, steps: int, changes: dict[str, Any]) -> Step:
    """Measure one kind of loop in this process."""
    found = torch.device(device)
    simulated_pairs(2, SPACING_MM[size])
    before = resident_mb()
    work = plain if kind == "plain" else ours
    ms = work(size, found, steps, **changes)
    if found.type == "cuda":
        return Step(ms, torch.cuda.max_memory_allocated(found) / 2**20)
    return Step(ms, resident_mb() - before)


def ways(device: torch.device, *, compiled: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """The rows of the table: the kind of loop and its arguments, by name."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {WHOLE: ("plain", {"whole": True})}
    if device.type == "cuda":
        rows[f"{WHOLE}, no TF32"] = ("plain", {"whole": True, "tf32": False})
    rows |= {
        "plain, the same slices": ("plain", {"whole": False}),
        "harmbench, float32": ("ours", {"precision": "float32"}),
        "harmbench, bf16": ("ours", {"precision": "bf16"}),
    }
    if compiled:
        rows["harmbench, bf16, compiled"] = ("ours", {"precision": "bf16", "compile": True})
    return rows


def measured(
    size: str, device: torch.device, steps: int, *, compiled: bool
) -> Iterator[tuple[str, Step]]:
    """Measure each row in a process of its own."""
    simulated_pairs(2, SPACING_MM[size])
    for row, (kind, changes) in ways(device, compiled=compiled).items():
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield row, pool.submit(measure, kind, size, str(device), steps, changes).result()


def resident_mb() -> float:
    """Highest resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=[*SIZES], default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=50, help="of which a fifth warms up")
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile as well")
    options = parser.parse_args()
    device, size = resolve_device(options.device), options.size
    found = dict(measured(size, device, options.steps, compiled=options.compile))
    first = found[WHOLE]
    batch = settings(size).batch_size
    print(f"Training step of dm, {size} size, batch {batch}, {name_of(device)}, ", end="")
    print(f"torch {torch.__version__}")
    default = "bf16" if device.type == "cuda" else "float32"
    print(f"Simulated scans at {SPACING_MM[size]:g} mm. Default here: {default}.\n")
    rows = [
        [row, ms, first.ms / ms, 1000 * batch / ms, mib, mib / first.peak_mib]
        for row, (ms, mib) in found.items()
    ]
    heads = ["", "ms per step", "times as fast", "slices per s", "peak MiB", "share of memory"]
    formats = ("", ".0f", ".2f", ".1f", ".0f", ".2f")
    print(tabulate(rows, heads, tablefmt="github", floatfmt=formats))


if __name__ == "__main__":
    main()
