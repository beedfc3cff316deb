"""Training `dm` for as long as the time allows, and sampling with it: a part of `gpu.py`.

Two networks: the paper's process (T = 1000, the noise is predicted), and the `fast` preset. Sampling in
1000 steps takes minutes for a volume at the paper's size even on a GPU, so errors are compared on the
middle slices of the held-out volume, as many as the time allows; the time of few steps is that of the
whole volume.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gpu_rows import Notebook
from sample_volume import sampled, settings_of, trained

from harmbench.arrays import foreground
from harmbench.methods.dm import DiffusionSettings
from harmbench.task import Pair
from harmbench.volume import Volume

__all__ = ["Plan", "middle", "plan_of", "train_and_sample"]

WAYS = (("ddim", 10), ("dpmsolver++", 10), ("unipc", 10), ("ddim", 20))
WHOLE = ("ddim", 10)
"""The way that is timed on the whole volume."""
TRIAL_STEPS = 40
"""Training steps that tell how many there is time for."""
TRAINING_SHARE = 0.28
"""Of the time, for each of the two trainings."""
SLAB_SHARE = 0.15
"""Of the time, for sampling in 1000 steps."""
FORWARD_SHARE = 1 / 3
"""Of a training step: one pass forward; the way back costs two."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many training steps, and slices to sample in 1000 steps, fit into the time."""

    iterations: int
    slices: int


def plan_of(seconds: float, ms_per_step: float, batch: int, most_slices: int) -> Plan:
    """Divide the time.

    Args:
        seconds: for all of it.
        ms_per_step: of training.
        batch: images of a training step.
        most_slices: that the volume has.
    """
    iterations = int(TRAINING_SHARE * seconds * 1000 / ms_per_step)
    slice_s = 1000 * FORWARD_SHARE * ms_per_step / batch / 1000
    slices = int(SLAB_SHARE * seconds / slice_s)
    return Plan(max(iterations, 20), min(max(slices, 2), most_slices))


def middle(pair: Pair, slices: int) -> Pair:
    """Return the middle slices of a pair's brain along the first axis."""
    inside = np.flatnonzero(foreground(pair.source.data).any(axis=(1, 2)))
    first = int(inside[0] + inside[-1] + 1 - slices) // 2

    def cut(volume: Volume) -> Volume:
        affine = volume.affine.copy()
        affine[:3, 3] += first * affine[:3, 0]
        return Volume(volume.data[first : first + slices], affine)

    return replace(pair, source=cut(pair.source), target=cut(pair.target))


def train_and_sample(
    notes: Notebook, size: str, device: str, pairs: Sequence[Pair], seconds: float
) -> None:
    """Train both networks on all pairs but the last, and sample that one."""
    ends = time.monotonic() + seconds
    *train, held_out = pairs
    few, _ = settings_of(size, "epsilon", TRIAL_STEPS)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ms = trained(few, train, device, place / "few")
        brain = int(foreground(held_out.source.data).any(axis=(1, 2)).sum())
        # A dry run goes through all lines, and does not fill its time.
        left = ends - time.monotonic() if size == "paper" else min(seconds, 10.0)
        plan = plan_of(left, ms, few.batch_size, brain)
        paper, fast = settings_of(size, "epsilon", plan.iterations)
        images = plan.iterations * paper.batch_size
        fast = fast.model_copy(update={"iterations": images // fast.batch_size})
        slab = [middle(held_out, plan.slices)]
        error = float(((slab[0].source.data - slab[0].target.data) ** 2).mean())
        notes.row(f"untreated source, {plan.slices} slices", "MSE", 1e3 * error, "1e-3")
        _train(notes, "paper's process", paper, train, device, place / "paper")
        ancestral = _sample_slab(notes, paper, slab, device, place / "paper", None)
        for sampler, count in WAYS:
            way = paper.model_copy(update={"sampler": sampler, "sampling_steps": count})
            _sample_slab(notes, way, slab, device, place / "paper", ancestral)
        way = paper.model_copy(update={"sampler": WHOLE[0], "sampling_steps": WHOLE[1]})
        _sample_whole(notes, "paper's process", way, held_out, device, place / "paper")
        _train(notes, "fast preset", fast, train, device, place / "fast")
        _sample_slab(notes, fast, slab, device, place / "fast", ancestral, "fast preset, ")
        _sample_whole(notes, "fast preset", fast, held_out, device, place / "fast")


def _train(
    notes: Notebook,
    name: str,
    config: DiffusionSettings,
    pairs: Sequence[Pair],
    device: str,
    folder: Path,
) -> None:
    began = time.monotonic()
    ms = trained(config, pairs, device, folder)
    setting = f"{name}, {config.iterations} steps of {config.batch_size}"
    notes.row(setting, "trained in", time.monotonic() - began, "s")
    notes.row(setting, "per image and step", ms / config.batch_size, "ms", at_most=15.0)


def _sample_slab(
    notes: Notebook,
    config: DiffusionSettings,
    slab: Sequence[Pair],
    device: str,
    folder: Path,
    ancestral: float | None,
    name: str = "",
) -> float:
    """Note seconds and error on some slices, beside the error in 1000 steps; return the error."""
    seconds, mse, brain = sampled(folder, config, slab, device)
    slices = slab[0].source.shape[0]
    setting = f"{name}{config.sampler}, {config.sampling_steps} steps, {slices} slices"
    notes.row(setting, "time", seconds, "s")
    notes.row(setting, "MSE", 1e3 * mse, "1e-3")
    notes.row(setting, "MSE in the brain", 1e3 * brain, "1e-3")
    if ancestral is not None:
        notes.row(setting, "MSE, of that in 1000 steps", mse / ancestral, at_most=1.02)
    return float(mse)


def _sample_whole(
    notes: Notebook, name: str, config: DiffusionSettings, pair: Pair, device: str, folder: Path
) -> None:
    sampled(folder, config, [pair], device)  # warms up for these shapes
    seconds, mse, _ = sampled(folder, config, [pair], device)
    setting = f"{name}, {config.sampler}, {config.sampling_steps} steps, whole volume"
    notes.row(setting, "time", seconds, "s", at_most=5.0)
    notes.row(setting, "MSE", 1e3 * mse, "1e-3")
