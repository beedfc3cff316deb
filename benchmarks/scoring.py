"""What it takes to segment and score a volume, beside the targets, and what a study takes by that.

    python benchmarks/scoring.py                          # simulated scans at 1 mm, 2 threads
    python benchmarks/scoring.py --spacing 2 --no-study   # a quick look

Four parts, on the scans of simulated subjects:

- `hmrf` with one thread and with several, whose labels are compared, and its version for GPUs;
- all metrics of one volume, and the structural similarity beside scikit-image's, which it replaced;
- `harmbench segment` as a command, beside the segmentation in it;
- `harmbench rescore` of a small part of a study, whose labels and scores are removed before: from that,
  an **estimate** of 40 subjects, both directions, six methods. It counts the start of the command, and
  the ceiling's scores, once for every part, so it is high.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.metrics import structural_similarity
from tabulate import tabulate

from harmbench.cohorts.base import load_scan
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.metrics.ssim import mean_ssims
from harmbench.metrics.suite import score_image, score_tissues
from harmbench.segmentation.hmrf import hmrf, hmrf_batch
from harmbench.volume import Volume

SUBJECTS, DIRECTIONS, METHODS = 40, 2, 6
"""The study of the estimate."""
VERSIONS = 3
"""How many volumes of each subject and direction are scored in the part of it that is measured."""


@dataclass(frozen=True)
class Cost:
    """Seconds that pass, and of all processors."""

    wall_s: float
    cpu_s: float


def cpu_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


def cost_of(work: Callable[[], object], repeats: int = 1) -> Cost:
    """Return the mean cost of some work, which has been done once before."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(repeats):
        work()
    return Cost((time.perf_counter() - wall) / repeats, (cpu_seconds() - cpu) / repeats)


def line(what: str, cost: Cost, target: str = "") -> list[str]:
    return [what, f"{cost.wall_s:.2f}", f"{cost.cpu_s:.2f}", target]


def segmentation(one: Volume, threads: int, repeats: int) -> Iterable[list[str]]:
    found = {}
    for count in dict.fromkeys((1, threads)):

        def work(count: int = count) -> None:
            found[count] = hmrf(one.data, one.spacing_mm, threads=count).labels

        target = "1.5 s of wall time" if count == threads else ""
        yield line(f"hmrf, threads: {count}", cost_of(work, repeats), target)
    before = cost_of(lambda: hmrf_batch([one.data], [one.spacing_mm], device="cpu"))
    yield line("hmrf by torch, which is for GPUs and segmented real scans before", before)
    differ = sum(int(np.count_nonzero(labels != found[1])) for labels in found.values())
    print(f"labels that depend on the number of threads: {differ}")


def metrics(one: Volume, other: Volume, repeats: int) -> Iterable[list[str]]:
    brain = other.data > 0
    labels = [hmrf(volume.data, volume.spacing_mm).labels for volume in (one, other)]

    def image() -> None:
        score_image(one.data, other.data, one.data, brain, spacing_mm=one.spacing_mm)

    def tissues() -> None:
        score_tissues(*labels, spacing_mm=one.spacing_mm)

    def peer() -> None:
        structural_similarity(
            one.data,
            other.data,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )

    def ours() -> None:
        mean_ssims(one.data, other.data, (None, brain))

    for work in (image, tissues, ours):
        work()
    costs = [cost_of(work, repeats) for work in (image, tissues)]
    yield line("metrics of the image", costs[0])
    yield line("metrics of tissues", costs[1])
    both = Cost(sum(c.wall_s for c in costs), sum(c.cpu_s for c in costs))
    yield line("all metrics", both, "1.5 s of wall time")
    yield line("of them structural similarity", cost_of(ours, repeats))
    yield line("scikit-image's structural similarity", cost_of(peer))


def command(scan: Path, volume: Volume, threads: int) -> Iterable[list[str]]:
    """`harmbench segment`, after a first call that compiles."""
    inside = cost_of(lambda: hmrf(volume.data, volume.spacing_mm, threads=threads))
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-m", "harmbench", "segment", str(scan)]
        program += [str(Path(folder) / "labels.nii.gz"), "--segmenter", "hmrf"]

        def work() -> None:
            subprocess.run(program, check=True, stdout=subprocess.DEVNULL)

        work()
        whole = cost_of(work)
    yield line("harmbench segment", whole)
    beyond = Cost(whole.wall_s - inside.wall_s, whole.cpu_s - inside.cpu_s)
    yield line("... beyond the segmentation", beyond, "2 s of wall time")


def study(spacing: float, subjects: int, jobs: int) -> Iterable[list[str]]:
    """Score stored volumes from nothing but the volumes and the real scans; and the estimate."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        program = [sys.executable, "-m", "harmbench", "run", "--out", str(run)]
        program += ["--set", f"data.phantom.subjects={subjects}", "--fold", "all"]
        program += ["--set", f"data.phantom.spacing_mm={spacing}", "--direction", "both"]
        program += ["--set", "controls=[]", "--set", "volume_controls=[]"]
        program += ["--set", f"seeds={list(range(VERSIONS))}", "--method", "histogram_matching"]
        program += ["--segmenter", "hmrf", "--jobs", str(jobs)]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
        size = sum(file.stat().st_size for file in run.rglob("volumes/*.nii.gz")) / 2**20
        count = _forget_scores(run)
        again = [sys.executable, "-m", "harmbench", "rescore", str(run), "--jobs", str(jobs)]

        def work() -> None:
            subprocess.run(again, check=True, stdout=subprocess.DEVNULL)

        every = cost_of(work)
        nothing = cost_of(work)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    yield line(f"rescore: {count} volumes, {2 * subjects} real scans", every)
    yield line("... again, with nothing to do", nothing)
    times = SUBJECTS * DIRECTIONS * METHODS / count
    minutes, busy = times * every.wall_s / 60, times * every.cpu_s / 60
    print(
        f"Stored volumes: {size / count:.1f} MiB each. "
        f"Estimate for {SUBJECTS} subjects x {DIRECTIONS} directions x {METHODS} methods, {jobs} jobs: "
        f"{minutes:.0f} minutes ({busy:.0f} of the processors); target 25. "
        f"Largest process: {peak:.2f} GiB, so at most {peak * (jobs + 1):.1f} GiB; target 4."
    )


def _forget_scores(run: Path) -> int:
    """Remove all labels and scores of a run; return how many harmonized volumes are left."""
    for folder in list(run.rglob("segmentations")):
        shutil.rmtree(folder)
    for scores in list(run.rglob("scores.csv")):
        scores.unlink()
    return sum(1 for _ in run.rglob("volumes/*.nii.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--spacing", type=float, default=1.0, help="of the simulated scans, in mm")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=4, help="of the part of a study")
    parser.add_argument("--study", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    phantom = PhantomSettings(subjects=options.subjects, spacing_mm=options.spacing)
    cohort = make_phantom(phantom)
    scans = [cohort.scans[cohort.subjects[0], scanner] for scanner in ("3T", "1.5T")]
    one, other = (load_scan(scan) for scan in scans)
    hmrf(one.data, one.spacing_mm)  # compiles
    rows = [
        *segmentation(one, options.threads, options.repeats),
        *metrics(one, other, options.repeats),
        *command(scans[0].path, one, options.threads),
    ]
    if options.study:
        rows += study(options.spacing, options.subjects, options.threads)
    print(f"Simulated scans at {options.spacing:g} mm, shape {one.shape}; seconds:\n")
    heads = ["", "wall s", "CPU s", "at most"]
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
