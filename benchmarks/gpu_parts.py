"""The parts of `gpu.py`, each of which runs in a process of its own.

    python benchmarks/gpu_parts.py hmrf rows.jsonl --seconds 90 --size paper --device cuda

The script appends what it measures to the file that is named.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import train_step
from gpu_dm import train_and_sample
from gpu_rows import Notebook
from torch.nn import functional

from harmbench import __version__
from harmbench.errors import SegmentationError
from harmbench.runner.cell_record import CellRecord
from harmbench.runner.folder import RunFolder
from harmbench.segmentation.hmrf import HmrfResult, hmrf, hmrf_batch
from harmbench.training import numerics
from harmbench.training.settings import Precision
from harmbench.volume import Volume

SUBJECTS = 4
"""Simulated subjects that the parts share: they are made once."""
TF32_ERROR, FLOAT32_ERROR = 1e-4, 1e-5
"""Relative errors of a product: TF32 keeps 10 bits, and is above the first; float32 is below the second."""
PRECISIONS: Sequence[Precision] = ("float32", "auto")


@dataclass(frozen=True, slots=True)
class Bench:
    """What a part is given: where it writes, the size and device, and the seconds that it has."""

    notes: Notebook
    size: str
    device: torch.device
    seconds: float

    @property
    def on_gpu(self) -> bool:
        """Whether this is the real thing."""
        return self.device.type == "cuda"


def device(bench: Bench) -> None:
    """What computes, whether float32 is float32, and whether `doctor` sees the GPU."""
    notes = bench.notes
    notes.fact("device", train_step.name_of(bench.device))
    if bench.on_gpu:
        own = torch.cuda.get_device_properties(bench.device)
        notes.fact("memory of the device", f"{own.total_memory / 2**30:.0f} GiB")
        notes.fact("compute capability", f"{own.major}.{own.minor}")
    notes.fact("torch", torch.__version__)
    cudnn_version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]  # torch has no types here
    notes.fact("CUDA, cuDNN", f"{torch.version.cuda}, {cudnn_version}")
    notes.fact("Python", f"{platform.python_version()}, {platform.platform()}")
    notes.fact("harmbench", __version__)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = f"products {matmul.allow_tf32}, convolutions {cudnn.allow_tf32}"
    notes.fact("TF32 by torch's choice", flags)
    able = bench.on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    notes.check("bf16", "supported by the device", able)
    _float32_is_float32(bench)
    _doctor(bench)


def _float32_is_float32(bench: Bench) -> None:
    """Compare a convolution and a product in `precision: float32` with double precision."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 64, 64, 64, generator=generator, dtype=torch.float64)
    kernel = torch.randn(64, 64, 3, 3, generator=generator, dtype=torch.float64)
    matrix = torch.randn(512, 512, generator=generator, dtype=torch.float64)
    exact = (functional.conv2d(image, kernel), matrix @ matrix)
    image, kernel, matrix = (t.float().to(bench.device) for t in (image, kernel, matrix))
    for precision in PRECISIONS:
        with numerics(deterministic=False, precision=precision):
            found = (functional.conv2d(image, kernel), matrix @ matrix)
        for name, one, other in zip(("convolution", "product"), exact, found, strict=True):
            error = float((other.cpu().double() - one).norm() / one.norm())
            most = FLOAT32_ERROR if precision == "float32" else None
            detail = "TF32" if error > TF32_ERROR else ""
            setting = f"{name}, precision {precision}"
            bench.notes.row(setting, "relative error", error, at_most=most, detail=detail)


def _doctor(bench: Bench) -> None:
    for options in (["--json"], ["--full", "--json"]):
        answer = subprocess.run(
            [sys.executable, "-m", "harmbench", "doctor", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        found = {one["what"]: one for one in json.loads(answer.stdout)}["GPU"]
        wanted = ("ok" if "--full" in options else "found") if bench.on_gpu else "absent"
        detail = f"{found['state']}: {found['detail']}"
        bench.notes.check(f"doctor {options[0]}", "says the GPU", found["state"] == wanted, detail)


def scans(bench: Bench) -> None:
    """Simulate the scans of the other parts, which find them on the disk."""
    spacing = train_step.SPACING_MM[bench.size]
    began = time.perf_counter()
    pairs = train_step.simulated_pairs(SUBJECTS, spacing)
    seconds = time.perf_counter() - began
    bench.notes.row(f"{len(pairs)} pairs at {spacing:g} mm", "simulated in", seconds, "s")


def segmentation(bench: Bench) -> None:
    """`hmrf` on the device, one volume and four at once, beside the compiled loops."""
    pairs = train_step.simulated_pairs(SUBJECTS, train_step.SPACING_MM[bench.size])
    volumes = [volume for pair in pairs for volume in (pair.source, pair.target)][:4]
    small = volumes[0].with_data(volumes[0].data)
    hmrf(small.data, small.spacing_mm)  # compiles
    began = time.perf_counter()
    loops = hmrf(volumes[0].data, volumes[0].spacing_mm)
    cpu = f"compiled loops on {_threads()} CPU threads"
    bench.notes.row(cpu, "time per volume", time.perf_counter() - began, "s")
    _in_torch(bench, volumes[:1])  # warms up
    for count in (1, len(volumes)):
        seconds, found = _in_torch(bench, volumes[:count])
        setting = f"torch, {count} at once"
        bench.notes.row(setting, "time per volume", seconds / count, "s", at_most=0.3)
        if isinstance(found[0], SegmentationError):
            raise found[0]
        differ = np.count_nonzero(found[0].labels != loops.labels)
        share = differ / np.count_nonzero(loops.labels)
        bench.notes.row(setting, "labels that differ", share, "of the brain", at_most=1e-4)
    if bench.on_gpu:
        peak = torch.cuda.max_memory_allocated(bench.device) / 2**20
        bench.notes.row(f"torch, {len(volumes)} at once", "peak memory of the GPU", peak, "MiB")


def _threads() -> int:
    import numba

    return int(numba.config.NUMBA_NUM_THREADS)


def _in_torch(
    bench: Bench, volumes: Sequence[Volume]
) -> tuple[float, list[HmrfResult | SegmentationError]]:
    """Seconds for all volumes, and what was found; the results end on the CPU."""
    began = time.perf_counter()
    found = hmrf_batch(
        [volume.data for volume in volumes],
        [volume.spacing_mm for volume in volumes],
        device=str(bench.device),
    )
    return time.perf_counter() - began, found


CELLS: Mapping[str, object] = {
    "data": {"phantom": {"subjects": 4, "spacing_mm": 4.0}, "direction": "3T-to-1.5T"},
    "folds": {"k": 2, "run": [0]},
    "controls": ["identity"],
    "volume_controls": [],
    "ceiling": False,
    "methods": {"unet": {"iterations": 20, "warmup": 5, "channels": [8, 16, 32]}},
}


def cells(bench: Bench) -> None:
    """Small runs whose cells compute in processes that are forked: on a device, and on named ones."""
    with tempfile.TemporaryDirectory() as place:
        code, error, records = _run(
            Path(place, "one"), "--device", bench.device.type, "--jobs", "2"
        )
        _judge(bench, f"--device {bench.device.type} --jobs 2", code, error, records)
        code, error, records = _run(Path(place, "other"), "--devices", "cuda:0")
        if bench.on_gpu:
            _judge(bench, "--devices cuda:0", code, error, records)
        else:
            refused = code != 0 and "no cuda:0 here" in error
            bench.notes.check("--devices cuda:0", "refused without a GPU", refused, error[-120:])


def _run(out: Path, *options: str) -> tuple[int, str, Mapping[str, CellRecord]]:
    """Run the cells; return the exit status, the errors, and the records by method."""
    config = out.with_suffix(".yaml")
    config.write_text(json.dumps(CELLS), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "harmbench", "run", "--config", str(config)]
    command += [*options, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, flush=True)
    records = RunFolder(out).all_cells() if RunFolder(out).is_run else ()
    by_method = {record.method: record for _, record in records}
    return done.returncode, " ".join(done.stderr.split()), by_method


def _judge(
    bench: Bench, setting: str, code: int, error: str, records: Mapping[str, CellRecord]
) -> None:
    states = {name: record.status for name, record in records.items()}
    passed = code == 0 and states == {"identity": "ok", "unet": "ok"}
    bench.notes.check(setting, "cells are ok", passed, f"{states} {error[-120:]}")
    fit = records["unet"].stages["fit"]
    bench.notes.row(setting, "training of a small unet", fit.wall_s, "s")
    if bench.on_gpu:
        peak = fit.peak_device_memory_mb or 0.0
        bench.notes.row(setting, "memory of the GPU in the cell", peak, "MiB", at_least=1.0)


def steps(bench: Bench) -> None:
    """A training step of `dm`: plain loops, float32, bf16, compiled."""
    count = 50 if bench.on_gpu else 5
    batch = train_step.settings(bench.size).batch_size
    first: train_step.Step | None = None
    for name, step in train_step.measured(bench.size, bench.device, count, compiled=True):
        first = first or step
        judged = "bf16" in name
        bench.notes.row(
            name, "per image and step", step.ms / batch, "ms", at_most=15.0 if judged else None
        )
        bench.notes.row(
            name,
            f"times as fast as {train_step.WHOLE}",
            first.ms / step.ms,
            at_least=3.0 if judged else None,
        )
        bench.notes.row(name, "peak memory", step.peak_mib, "MiB")


def dm(bench: Bench) -> None:
    """Train `dm` for as long as there is time, and sample."""
    pairs = train_step.simulated_pairs(SUBJECTS, train_step.SPACING_MM[bench.size])
    train_and_sample(bench.notes, bench.size, str(bench.device), pairs, bench.seconds)


PARTS: Mapping[str, Callable[[Bench], None]] = {
    "device": device,
    "scans": scans,
    "hmrf": segmentation,
    "cells": cells,
    "train-step": steps,
    "dm": dm,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=[*PARTS])
    parser.add_argument("rows", type=Path, help="file that rows are appended to")
    parser.add_argument("--seconds", type=float, required=True, help="that the part has")
    parser.add_argument("--size", choices=["tiny", "paper"], required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    options = parser.parse_args()
    notes = Notebook(options.rows, options.part)
    bench = Bench(notes, options.size, torch.device(options.device), options.seconds)
    PARTS[options.part](bench)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
