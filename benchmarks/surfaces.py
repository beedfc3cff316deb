"""Compare surface distances with their peers: seconds and agreement, in one run.

    python benchmarks/surfaces.py                            # a simulated pair at 1 mm
    python benchmarks/surfaces.py LABELS.nii.gz REFERENCE.nii.gz

Every tool computes Dice, HD, HD95 and ASSD of three tissues (1 CSF, 2 GM, 3 WM) of one pair of label
maps. medpy is called as its users call it, one score at a time on the whole volume. Peers that are
not installed are left out; `pip install "harmbench[bench]"` installs them all: SimpleITK, MONAI,
surface-distance.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from harmbench.cohorts.base import load_scan
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.metrics.overlap import dice, surface_distances
from harmbench.segmentation import TISSUES, make_segmenter
from harmbench.volume import read

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Scores = tuple[float, float, float, float]
Tool = Callable[[Mask, Mask, Spacing], Scores]


def harmbench_scores(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    found = surface_distances(mask, reference, spacing_mm=spacing)
    return dice(mask, reference), found.hd_mm, found.hd95_mm, found.assd_mm


def medpy_scores(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    from medpy.metric import binary

    return (
        binary.dc(mask, reference),
        binary.hd(mask, reference, voxelspacing=spacing),
        binary.hd95(mask, reference, voxelspacing=spacing),
        binary.assd(mask, reference, voxelspacing=spacing),
    )


def simpleitk_scores(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    import SimpleITK as sitk

    images = []
    for array in (mask, reference):
        image = sitk.GetImageFromArray(array.transpose().astype(np.uint8))
        image.SetSpacing(spacing)
        images.append(image)
    surfaces = [sitk.LabelContour(image, fullyConnected=False) for image in images]
    distances = []
    for one, other in ((0, 1), (1, 0)):
        field = sitk.SignedMaurerDistanceMap(
            surfaces[other], squaredDistance=False, useImageSpacing=True
        )
        values = np.abs(sitk.GetArrayViewFromImage(field))
        distances.append(values[sitk.GetArrayViewFromImage(surfaces[one]) > 0])
    both = np.concatenate(distances)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    percentile = float(np.percentile(both, 95))
    return overlap.GetDiceCoefficient(), float(both.max()), percentile, float(both.mean())


def monai_scores(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    one, other = (torch.from_numpy(array)[None, None].float() for array in (mask, reference))
    options = {"include_background": True, "spacing": list(spacing)}
    hd = compute_hausdorff_distance(one, other, **options)
    hd95 = compute_hausdorff_distance(one, other, percentile=95, **options)
    assd = compute_average_surface_distance(one, other, symmetric=True, **options)
    shared = 2 * float((one * other).sum() / (one.sum() + other.sum()))
    return shared, float(hd), float(hd95), float(assd)


def surface_distance_scores(mask: Mask, reference: Mask, spacing: Spacing) -> Scores:
    import surface_distance as sd

    found = sd.compute_surface_distances(mask, reference, spacing)
    average = float(np.mean(sd.compute_average_surface_distance(found)))
    return (
        float(sd.compute_dice_coefficient(mask, reference)),
        float(sd.compute_robust_hausdorff(found, 100)),
        float(sd.compute_robust_hausdorff(found, 95)),
        average,
    )


TOOLS: dict[str, tuple[str, Tool]] = {
    "harmbench": ("harmbench", harmbench_scores),
    "SimpleITK": ("SimpleITK", simpleitk_scores),
    "MONAI": ("monai", monai_scores),
    "surface-distance": ("surface_distance", surface_distance_scores),
    "medpy": ("medpy", medpy_scores),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", nargs="*", type=Path, help="two label maps")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    labels, reference, spacing = load_pair(options.labels)
    box = "x".join(map(str, labels.shape))
    print(f"{box} voxels of {spacing} mm; {options.repeats} repeats, median\n")
    results: dict[str, list[Scores]] = {}
    seconds: dict[str, float] = {}
    for name, (module, tool) in TOOLS.items():
        if importlib.util.find_spec(module) is None:
            print(f"{name}: not installed, left out")
            continue
        warm_up(tool, spacing)
        times = []
        for _ in range(1 if name == "medpy" else options.repeats):
            started = time.perf_counter()
            scores = [tool(labels == k, reference == k, spacing) for k in TISSUES.values()]
            times.append(time.perf_counter() - started)
        results[name], seconds[name] = scores, statistics.median(times)
    peer = results["medpy"]
    rows = []
    for name, scores in results.items():
        gaps = np.abs(np.array(scores) - np.array(peer)).max(axis=0)
        speed = seconds["medpy"] / seconds[name]
        rows.append([name, seconds[name], speed, *gaps])
    headers = ["tool", "seconds", "times medpy", "|Dice gap|", "|HD gap| mm"]
    print(tabulate(rows, [*headers, "|HD95 gap| mm", "|ASSD gap| mm"], "github", floatfmt=".3g"))
    return 0


def warm_up(tool: Tool, spacing: Spacing) -> None:
    """Let a tool import and compile before it is timed."""
    mask = np.zeros((12, 12, 12), bool)
    mask[3:8, 3:8, 3:8] = True
    tool(mask, np.roll(mask, 1, axis=0), spacing)


def load_pair(paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Spacing]:
    if len(paths) == 2:
        one, other = (read(path, kind="label") for path in paths)
        return one.data, other.data, one.spacing_mm
    cohort = make_phantom(PhantomSettings(subjects=1, spacing_mm=1.0))
    segmenter = make_segmenter("hmrf")
    scans = [load_scan(cohort.scans["sub-01", session]) for session in cohort.sessions]
    one, other = (segmenter.segment(scan) for scan in scans)
    return one.data, other.data, one.spacing_mm


if __name__ == "__main__":
    raise SystemExit(main())
