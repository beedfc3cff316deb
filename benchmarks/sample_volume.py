"""Seconds per volume and MSE of dm's samplers, with one trained model, in one run.

    python benchmarks/sample_volume.py                     # small, for a CPU: about five minutes
    python benchmarks/sample_volume.py --prediction epsilon --iterations 4000
    python benchmarks/sample_volume.py --size paper --iterations 20000      # a GPU

A network is trained once with the paper's process (T = 1000, all timesteps, learned variance) on
simulated subjects; then held-out subjects are sampled in every way with the same weights. Ratios are
against ancestral sampling in 1000 steps. At the paper's size it predicts the noise, as published; the
small one predicts the image, since in the minutes of this benchmark a small network that predicts noise
does not get below the error of the untreated source, and there is little to compare. The last row trains
the `fast` configuration of `configs/fast.yaml` for as many steps and samples as it says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from train_step import WAY, name_of, simulated_pairs

from harmbench.config import load_experiment
from harmbench.methods.dm import DiffusionModel, DiffusionSettings
from harmbench.task import Pair, Task
from harmbench.training import resolve_device

TRAINING = {"tiny": 2, "small": 4, "paper": 6}
HELD_OUT = {"tiny": 1, "small": 1, "paper": 2}
FAST = Path(__file__).parents[1] / "configs" / "fast.yaml"
SPACING_MM = {"tiny": 4.0, "small": 4.0, "paper": 1.0}
SMALL: Mapping[str, Any] = {
    "channels": 8,
    "norm_groups": 4,
    "levels": 3,
    "blocks_per_level": 1,
    "batch_size": 8,
    "learning_rate": 2e-3,
    "learning_rate_schedule": "cosine",
    "ema_decay": 0.995,
    "ema_warmup": True,
}
# The paper's average of weights would remember its random start for 10,000 steps.
SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {**SMALL, "channels": 4, "levels": 2},
    "small": SMALL,
    "paper": {"ema_warmup": True},
}
WAYS: Sequence[tuple[str, int]] = (
    ("ddpm", 1000),
    ("ddpm", 40),
    ("ddpm", 20),
    *[("ddim", steps) for steps in (40, 20, 10, 5)],
    *[("dpmsolver++", steps) for steps in (40, 20, 10, 5)],
    *[("unipc", steps) for steps in (40, 20, 10, 5)],
)


class Measured(NamedTuple):
    """One way to sample: seconds per volume, MSE over the whole volume and in the brain."""

    sampler: str
    steps: int
    seconds: float
    mse: float
    mse_brain: float


def trained(config: DiffusionSettings, pairs: Sequence[Pair], device: str, folder: Path) -> float:
    """Train, save into `folder`, and return the milliseconds of a step."""
    start = time.perf_counter()
    method = DiffusionModel(config)
    with tempfile.TemporaryDirectory() as notes:
        method.fit(pairs, Task(WAY, device=device, folder=Path(notes)))
        ms = json.loads(Path(notes, "training.json").read_text())["ms_per_step"]
    method.save(folder)
    print(f"trained {config.iterations} steps in {time.perf_counter() - start:.0f} s", flush=True)
    return float(ms)


def sampled(
    folder: Path, config: DiffusionSettings, pairs: Sequence[Pair], device: str
) -> tuple[float, float, float]:
    """Seconds per volume, and MSE over the whole volume and in the brain; means over `pairs`."""
    method = DiffusionModel.load(folder, config)
    seconds, whole, brain = [], [], []
    for pair in pairs:
        start = time.perf_counter()
        made = method.harmonize(pair.source, Task(WAY, device=device))  # ends on the CPU
        seconds.append(time.perf_counter() - start)
        error = (made.data - pair.target.data) ** 2
        whole.append(error.mean())
        brain.append(error[pair.target.data > 0].mean())
    return float(np.mean(seconds)), float(np.mean(whole)), float(np.mean(brain))


def settings_of(
    size: str, prediction: str, iterations: int
) -> tuple[DiffusionSettings, DiffusionSettings]:
    """Return the paper's settings and the fast preset's, for a network of a size."""
    shared: dict[str, Any] = {"iterations": iterations, "sampling_batch": 64, **SIZES[size]}
    fast = dict(load_experiment(FAST).methods["dm"]) | shared
    return DiffusionSettings(**shared, prediction=prediction), DiffusionSettings(**fast)


def measured(
    paper: DiffusionSettings,
    fast: DiffusionSettings,
    train: Sequence[Pair],
    test: Sequence[Pair],
    device: str,
) -> Iterator[Measured]:
    """Train both networks, and yield what each way to sample gives, ancestral sampling first."""
    with tempfile.TemporaryDirectory() as parent:
        one, other = Path(parent, "paper"), Path(parent, "fast")
        trained(paper, train, device, one)
        few = paper.model_copy(update={"sampler": "ddim", "sampling_steps": 2})
        sampled(one, few, test[:1], device)  # warms up
        for sampler, steps in WAYS:
            way = paper.model_copy(update={"sampler": sampler, "sampling_steps": steps})
            yield Measured(sampler, steps, *sampled(one, way, test, device))
        mean = paper.model_copy(update={"sampler": "ddim", "sampling_steps": 10, "n_samples": 4})
        yield Measured("ddim, mean of 4", 10, *sampled(one, mean, test, device))
        trained(fast, train, device, other)
        label = f"fast preset: {fast.sampler}"
        yield Measured(label, fast.sampling_steps, *sampled(other, fast, test, device))


def table_of(rows: Sequence[Measured]) -> str:
    """Format all rows, with ratios to the first."""
    first = rows[0]
    lines = [
        [
            *(row.sampler, row.steps, row.seconds, first.seconds / row.seconds),
            *(1000 * row.mse, row.mse / first.mse),
            *(1000 * row.mse_brain, row.mse_brain / first.mse_brain),
        ]
        for row in rows
    ]
    headers = ["sampler", "steps", "s per volume", "times as fast", "MSE (1e-3)", "ratio"]
    headers += ["MSE in the brain (1e-3)", "ratio"]
    formats = ("", "d", ".2f", ".1f", ".3f", ".3f", ".3f", ".3f")
    return str(tabulate(lines, headers=headers, tablefmt="github", floatfmt=formats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", choices=[*SIZES], default="small")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--iterations", type=int, default=1000, help="training steps of each model")
    parser.add_argument(
        "--prediction",
        choices=["epsilon", "v", "sample"],
        help="what the network predicts: by default the image (sample), the noise at the paper's size",
    )
    options = parser.parse_args()
    device, size = resolve_device(options.device), options.size
    pairs = simulated_pairs(TRAINING[size] + HELD_OUT[size], SPACING_MM[size])
    train, test = pairs[: TRAINING[size]], pairs[TRAINING[size] :]
    prediction = options.prediction or ("epsilon" if size == "paper" else "sample")
    paper, fast = settings_of(size, prediction, options.iterations)
    rows: list[Measured] = []
    for row in measured(paper, fast, train, test, str(device)):
        rows.append(row)
        print(*row, flush=True)
    original = np.mean([((p.source.data - p.target.data) ** 2).mean() for p in test])
    print(f"\nSampling a volume with dm, {size} size, {name_of(device)}, torch {torch.__version__}")
    print(f"The network predicts: {prediction}.")
    print(
        f"Simulated scans at {SPACING_MM[size]:g} mm, shape {test[0].source.shape}: {len(train)} "
        f"subjects for training ({options.iterations} steps), held out: {len(test)}. MSE of the "
        f"untreated source: {1000 * original:.3f}e-3.\n"
    )
    print(table_of(rows))


if __name__ == "__main__":
    main()
