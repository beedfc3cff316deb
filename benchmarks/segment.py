"""Compare the segmenters: seconds, memory, and how far their labels agree.

    python benchmarks/segment.py                          # ICBM152 template, hmrf against Atropos
    python benchmarks/segment.py SCAN.nii.gz ...          # skull-stripped scans in [0, 1]
    python benchmarks/segment.py template A_T1w.nii.gz --golden FOLDER --pictures FOLDER

Each segmenter runs in a process of its own, all in one invocation, so the ratios hold for one
machine in one state; FAST takes part where FSL is installed. `hmrf, torch` is the code for a GPU; it
runs on one if there is one. `--golden` names a folder with label maps to compare with: for a scan
`A_T1w.nii.gz`, `A_seg.nii.gz` (hard labels) and, for partial volumes, `A_pveseg.nii.gz`; for the
template, A is `mni152`. Without it FAST's labels, or else hmrf's, are what the others are compared
with.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from tabulate import tabulate

from harmbench.errors import HarmbenchError, SegmentationError
from harmbench.metrics.overlap import dice
from harmbench.segmentation import TISSUES, make_segmenter
from harmbench.segmentation.hmrf import hmrf, hmrf_batch
from harmbench.training import resolve_device
from harmbench.volume import Volume, read, write

TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
BRAIN_ABOVE = 0.2
"""Where nilearn's brain mask of the template begins."""

SHARES = "hmrf, partial volumes"
TORCH = "hmrf, torch"
HEADERS = [
    "scan",
    "segmenter",
    "wall s",
    "CPU s",
    "peak MiB",
    "wall / hmrf",
    "compared with",
    *(f"Dice {tissue}" for tissue in TISSUES),
    *(f"volume {tissue} %" for tissue in TISSUES),
]
COLOURS = ListedColormap(["black", "#3b6fb6", "#b9b9b9", "#f6f1dd"])


@dataclass(frozen=True)
class Case:
    """A scan on disk and the label maps to compare with, by segmenter."""

    name: str
    path: Path
    golden: dict[str, Path]


@dataclass(frozen=True)
class Measured:
    """What one segmenter took: medians over its runs, the peak over all, and its labels."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    labels: Path


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="harmbench-segment-") as name:
        folder = Path(name)
        rows = []
        for scan in options.scans or ["template"]:
            case = find_case(scan, options.golden, folder)
            rows += compare(case, options.segmenters, options.repeats, folder, options.pictures)
        print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", nargs="*", help="NIfTI files, or `template`")
    parser.add_argument("--golden", type=Path, help="folder with label maps to compare with")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each scan")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each segmenter")
    parser.add_argument(
        "--segmenters",
        nargs="+",
        default=["hmrf", SHARES, TORCH, "fast", "atropos"],
        metavar="NAME",
    )
    return parser.parse_args(arguments)


def find_case(scan: str, golden: Path | None, folder: Path) -> Case:
    if scan == "template":
        name, path = "mni152", folder / "mni152_T1w.nii.gz"
        volume = read(Path(str(files("nilearn.datasets") / "data" / TEMPLATE)))
        data = volume.data / np.float32(255)
        write(volume.with_data(np.where(data > BRAIN_ABOVE, data, 0)), path)
    else:
        path = Path(scan)
        name = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_T1w")
    maps = {}
    if golden is not None:
        hard, soft = golden / f"{name}_seg.nii.gz", golden / f"{name}_pveseg.nii.gz"
        maps = {key: file for key, file in (("hard", hard), (SHARES, soft)) if file.is_file()}
    return Case(name, path, maps)


def compare(
    case: Case, segmenters: Sequence[str], repeats: int, folder: Path, pictures: Path | None
) -> list[list[str]]:
    measured: dict[str, Measured] = {}
    for segmenter in segmenters:
        labels = folder / f"{case.name}_{segmenters.index(segmenter)}.nii.gz"
        # A process of its own, so that its peak memory is its own.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                found = pool.submit(measure, segmenter, case.path, labels, repeats).result()
            except HarmbenchError as error:
                print(f"{case.name}: {segmenter} left out: {error}", file=sys.stderr)
                continue
        measured[segmenter] = found
    first = next((name for name in ("fast", "hmrf") if name in measured), None)
    rows = []
    for segmenter, found in measured.items():
        reference, title = case.golden.get(segmenter, case.golden.get("hard")), "golden"
        if reference is None and first is not None and segmenter != first:
            reference, title = measured[first].labels, first
        base = measured.get("hmrf")
        rows.append(
            [
                case.name,
                segmenter,
                f"{found.wall_s:.1f}",
                f"{found.cpu_s:.1f}",
                f"{found.peak_mib:.0f}",
                f"{found.wall_s / base.wall_s:.1f}" if base else "",
                title if reference else "",
                *(agreement(found.labels, reference) if reference else [""] * 6),
            ]
        )
    if pictures is not None and "hmrf" in measured and "hard" in case.golden:
        draw(case, measured["hmrf"].labels, pictures / f"{case.name}.png")
    return rows


def measure(segmenter: str, scan: Path, labels: Path, repeats: int) -> Measured:
    """Segment a scan `repeats` times, after a small one that pays for imports and compilation."""
    volume = read(scan)
    segment(segmenter, small_volume())
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        result = segment(segmenter, volume)
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds() - cpu)
    write(result, labels)
    peak = max(resource.getrusage(who).ru_maxrss for who in WHO) / 1024
    return Measured(statistics.median(walls), statistics.median(cpus), peak, labels)


WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def cpu_seconds() -> float:
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, WHO))


def small_volume() -> Volume:
    axis = np.arange(24) - 11.5
    radius = np.sqrt(sum(np.square(a) for a in np.meshgrid(axis, axis, axis)))
    noise = np.random.default_rng(0).normal(0, 0.03, radius.shape)
    data = np.where(radius < 11, 0.2 + 0.3 * (radius < 9.5) + 0.3 * (radius < 7) + noise, 0)
    return Volume(data.clip(0), np.eye(4))


def segment(segmenter: str, volume: Volume) -> Volume:
    if segmenter == TORCH:
        # On the processor too, where there is no GPU: slower there than the compiled loops.
        (found,) = hmrf_batch(
            [volume.data], [volume.spacing_mm], device=str(resolve_device("auto"))
        )
        if isinstance(found, SegmentationError):
            raise found
        return volume.with_data(found.labels, kind="label")
    if segmenter != SHARES:
        return make_segmenter(segmenter).segment(volume)
    shares = hmrf(volume.data, volume.spacing_mm, partial_volumes=True).partial_volumes
    assert shares is not None
    labels = np.where(shares.any(axis=0), shares.argmax(axis=0) + 1, 0)
    return volume.with_data(labels.astype(np.uint8), kind="label")


def agreement(labels: Path, reference: Path) -> list[str]:
    one, other = read(labels, kind="label").data, read(reference, kind="label").data
    overlaps = [dice(one == k, other == k) for k in TISSUES.values()]
    volumes = [np.sum(one == k) / np.sum(other == k) - 1 for k in TISSUES.values()]
    return [*(f"{value:.5f}" for value in overlaps), *(f"{100 * v:+.3f}" for v in volumes)]


def draw(case: Case, labels: Path, path: Path) -> None:
    """Draw scan, hmrf, the golden map and where they differ, in three planes."""
    scan = read(case.path)
    one, other = read(labels, kind="label").data, read(case.golden["hard"], kind="label").data
    differ = one != other
    brain = np.argwhere(scan.data > 0)
    middle = (brain.min(axis=0) + brain.max(axis=0)) // 2 + np.array([8, 0, 4])
    low, high = brain.min(axis=0), brain.max(axis=0) + 1
    heights = [high[1] - low[1], high[2] - low[2], high[2] - low[2]]
    figure, axes = plt.subplots(
        3, 4, figsize=(9.2, 7.2), facecolor="black", layout="constrained", height_ratios=heights
    )
    titles = ["scan", "hmrf", "FAST 6.0.0", f"differ: {differ.sum():,} of {len(brain):,} voxels"]
    for row, (axis, plane) in enumerate([(2, "axial"), (1, "coronal"), (0, "sagittal")]):
        rest = [i for i in range(3) if i != axis]
        window = tuple(slice(low[i], high[i]) for i in rest)

        def cut(data: Any, axis: int = axis, window: Any = window) -> Any:
            return np.take(data, middle[axis], axis=axis)[window].T

        extent = {"origin": "lower", "interpolation": "nearest"}
        axes[row, 0].imshow(cut(scan.data), cmap="gray", vmin=0, vmax=1, **extent)
        for column, data in ((1, one), (2, other)):
            axes[row, column].imshow(cut(data), cmap=COLOURS, vmin=0, vmax=3, **extent)
        axes[row, 3].imshow(cut(scan.data), cmap="gray", vmin=0, vmax=2.5, **extent)
        # All slices, since any one of them may have none.
        spots = np.argwhere(differ.any(axis=axis)[window])
        axes[row, 3].scatter(*spots.T, s=5, c="#ff5a36", linewidths=0)
        axes[row, 0].set_ylabel(f"{plane}, {'xyz'[axis]} = {middle[axis]}", color="white")
    for axes_of_one, title in zip(axes[0], titles, strict=True):
        axes_of_one.set_title(title, color="white", fontsize=10)
    for one_axes in axes.flat:
        one_axes.set(xticks=[], yticks=[], facecolor="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
