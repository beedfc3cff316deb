"""Time and memory of a training step of `dm`: a plain loop against harmbench's, in one run.

    python benchmarks/train_step.py                       # small, for a CPU: a minute or two
    python benchmarks/train_step.py --size paper          # the paper's network and slices: a GPU
    python benchmarks/train_step.py --size paper --compile

Plain is how such a loop is usually written: eager, float32, contiguous tensors, torch's default Adam
and running average, a batch copied from main memory at each step; once on whole slices, as in the
code released with the paper, and once on the slices that harmbench cuts. The network and the batch
size are the same in all rows. Each row is measured in a process of its own, on simulated scans.
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
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

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

SMALL: Mapping[str, Any] = {"channels": 32, "norm_groups": 8, "levels": 3, "blocks_per_level": 1}
SPACING_MM = {"small": 2.0, "paper": 1.0}
WAY = Direction("3T", "1.5T")


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


def plain(size: str, device: torch.device, steps: int, *, whole: bool) -> float:
    """Milliseconds per step of the plain loop."""
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
    return DiffusionSettings(**(SMALL if size == "small" else {}))


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(
    kind: str, size: str, device: str, steps: int, changes: dict[str, Any]
) -> tuple[float, float]:
    """Milliseconds per step, and peak MiB: of the GPU, or of this process beyond its start."""
    found = torch.device(device)
    simulated_pairs(2, SPACING_MM[size])
    before = resident_mb()
    work = plain if kind == "plain" else ours
    ms = work(size, found, steps, **changes)
    if found.type == "cuda":
        return ms, torch.cuda.max_memory_allocated(found) / 2**20
    return ms, resident_mb() - before


def resident_mb() -> float:
    """Highest resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=["small", "paper"], default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=50, help="of which a fifth warms up")
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile as well")
    options = parser.parse_args()
    device = resolve_device(options.device)
    on_gpu = device.type == "cuda"
    name = (
        torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} CPU threads"
    )
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "plain, whole slices": ("plain", {"whole": True}),
        "plain, the same slices": ("plain", {"whole": False}),
        "harmbench, float32": ("ours", {"precision": "float32"}),
        "harmbench, bf16": ("ours", {"precision": "bf16"}),
    }
    if options.compile:
        rows["harmbench, bf16, compiled"] = ("ours", {"precision": "bf16", "compile": True})
    simulated_pairs(2, SPACING_MM[options.size])
    default = "bf16" if on_gpu else "float32"
    measured = {}
    for row, (kind, changes) in rows.items():
        arguments = (kind, options.size, str(device), options.steps, changes)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            measured[row] = pool.submit(measure, *arguments).result()
    first_ms, first_mb = measured["plain, whole slices"]
    batch = settings(options.size).batch_size
    print(
        f"Training step of dm, {options.size} size, batch {batch}, {name}, torch {torch.__version__}"
    )
    print(f"Simulated scans at {SPACING_MM[options.size]:g} mm. Default here: {default}.\n")
    print(
        tabulate(
            [
                [row, ms, first_ms / ms, 1000 * batch / ms, mb, mb / first_mb]
                for row, (ms, mb) in measured.items()
            ],
            headers=[
                "",
                "ms per step",
                "times as fast",
                "slices per s",
                "peak MiB",
                "share of memory",
            ],
            tablefmt="github",
            floatfmt=("", ".0f", ".2f", ".1f", ".0f", ".2f"),
        )
    )


if __name__ == "__main__":
    main()
