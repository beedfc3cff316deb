"""What each step of preparation costs, and what it does to the numbers, in one run.

    python benchmarks/preparation.py                          # simulated raw pairs at 1 mm
    python benchmarks/preparation.py --spacing 2 --subjects 1 # a quick look

The scans are **simulated**, so that the truth is known: the brain, the bias field, and where each point
of one session lies in the other. The first table says how near each step comes to it. The second takes
one step away, or changes it, and compares the two sessions of each subject: what a benchmark would call
the untreated row.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from harmbench.cohorts.base import Scan
from harmbench.cohorts.phantom import PhantomSettings, make_phantom
from harmbench.cohorts.phantom.scanner import gradient_distortion
from harmbench.external.antspy import ants_module
from harmbench.preparation import register
from harmbench.preparation.align import PreparedScan, prepare_scans
from harmbench.preparation.scan import CleanScan, clean_scan
from harmbench.preparation.settings import PrepareSettings
from harmbench.preparation.strip import make_stripper
from harmbench.runner.volume_scores import score
from harmbench.settings import validated
from harmbench.volume import Volume, read

FIXED, MOVING = "3T", "1.5T"
POINTS = 4000
LONGER = "... with ANTsPy's iterations"
VARIANTS: Mapping[str, dict[str, Any]] = {
    "affine registration": {},
    "... with ANTsPy's tolerance of N4": {"bias": {"tolerance": 1e-7}},
    LONGER: {},
    "... both sessions halfway": {"registration": {"space": "halfway"}},
    "... no bias correction": {"bias": {"method": "none"}},
    "... cubic interpolation": {"interpolation": "bspline"},
    "... scaled by minimum and maximum": {"normalize": {"percentiles": [0, 100]}},
    "rigid registration": {"registration": {"transform": "rigid"}},
    "deformable registration": {"registration": {"transform": "deformable"}},
    "no registration": {"registration": {"transform": "none"}},
}


@dataclass(frozen=True)
class Truth:
    """What a simulated session knows about itself."""

    brain: NDArray[np.bool_]
    bias: NDArray[np.float32]
    labels: Volume
    transforms: dict[str, Any]


def truth_of(scan: Scan) -> Truth:
    def path(ending: str) -> Path:
        return scan.path.with_name(scan.path.name.replace("T1w.nii.gz", ending))

    return Truth(
        read(path("label-brain_desc-truth_mask.nii.gz"), kind="label").data > 0,
        read(path("desc-truth_biasfield.nii.gz")).data,
        read(path("desc-truth_dseg.nii.gz"), kind="label"),
        json.loads(path("desc-truth_transforms.json").read_text()),
    )


def settings_for(changes: Mapping[str, Any], spacing: float) -> PrepareSettings:
    shape = [8 * round(n / spacing / 8) for n in (160, 224, 224)]
    values: dict[str, Any] = {"spacing_mm": spacing, "crop": {"shape": shape}}
    values |= {k: v for k, v in changes.items() if k != "registration"}
    own = {"transform": "affine", "reference": FIXED, **changes.get("registration", {})}
    return validated(PrepareSettings, {**values, "registration": own})


@contextmanager
def iterations(longer: bool) -> Iterator[None]:
    """Let the linear registration of fine scans go on as ANTsPy's does by default."""
    ours = register._LINEAR_OF_FINE
    with patch.object(register, "_LINEAR_OF_FINE", register._LINEAR if longer else ours):
        yield


def boundary_points(labels: Volume) -> NDArray[np.float64]:
    """Points (3, n) in RAS millimetres on the boundaries of tissues."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(3):
        change = np.diff(labels.data.astype(int), axis=axis) != 0
        part = [slice(None)] * 3
        part[axis] = slice(0, -1)
        edge[tuple(part)] |= change
    index = np.argwhere(edge & (labels.data > 0))
    index = index[np.random.default_rng(0).choice(len(index), POINTS, replace=False)]
    points: NDArray[np.float64] = (labels.affine @ np.c_[index, np.ones(len(index))].T)[:3]
    return points


def moved(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return (matrix @ np.vstack([points, np.ones(points.shape[1])]))[:3]


def misalignment_mm(found: PreparedScan, truth: Mapping[str, Truth]) -> float:
    """Mean distance between where registration and the truth send tissue boundaries."""
    points = boundary_points(truth[FIXED].labels)
    there = moved(np.array(truth[FIXED].transforms["SessionToOther"][MOVING]), points)
    strength = truth[MOVING].transforms["GradientDistortionAt100mm"]
    # The scanner shows at p what lies at p + distortion(p).
    shown = there.copy()
    for _ in range(10):
        shown = there - gradient_distortion(shown.astype(np.float32), strength)
    alignment = found.alignment
    assert alignment is not None
    if alignment.warp is not None:
        frame = pd.DataFrame({"x": -points[0], "y": -points[1], "z": points[2]})
        ants = ants_module()
        at = ants.apply_transforms_to_points(3, frame, [str(alignment.warp)], whichtoinvert=[False])
        points = np.stack([-at.x, -at.y, at.z])
    return float(np.linalg.norm(moved(alignment.linear, points) - shown, axis=0).mean())


def compared(prepared: Mapping[str, PreparedScan]) -> dict[str, float]:
    """Scores of one session against the other, both untreated."""
    one, other = (prepared[session].volume for session in (MOVING, FIXED))
    frame = score(one, other, one, segmenter="hmrf")
    names = zip(frame["metric"], frame["tissue"], strict=True)
    scores = dict(zip(names, frame["value"], strict=True))
    return {
        "MSE 1e-3": 1e3 * scores["mse", ""],
        "AHD 1e5": 1e-5 * scores["ahd", ""],
        "GM ml": 1e-3 * scores["volume_difference_mm3", "GM"],
        "WM ml": 1e-3 * scores["volume_difference_mm3", "WM"],
        "Dice GM": scores["dice", "GM"],
        "Dice WM": scores["dice", "WM"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=2)
    parser.add_argument("--spacing", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=len(VARIANTS), help="of the second table")
    options = parser.parse_args()
    phantom = PhantomSettings(subjects=options.subjects, spacing_mm=options.spacing, product="raw")
    cohort = make_phantom(phantom)
    stripper = make_stripper(PrepareSettings().strip)
    found, rows = [], []
    for subject in cohort.subjects:
        scans = {s: cohort.scans[subject, s] for s in (MOVING, FIXED)}
        truth = {session: truth_of(scan) for session, scan in scans.items()}
        cleaned: dict[str, dict[str, CleanScan]] = {}
        clean_s: dict[str, float] = {}
        for name, changes in list(VARIANTS.items())[: options.rows]:
            settings = settings_for(changes, options.spacing)
            bias = settings.bias.model_dump_json()
            started = time.perf_counter()
            if bias not in cleaned:
                cleaned[bias] = {k: clean_scan(s, stripper, settings) for k, s in scans.items()}
                clean_s[bias] = time.perf_counter() - started
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, iterations(longer=name == LONGER):
                prepared = prepare_scans(cleaned[bias], FIXED, settings, Path(folder))
                seconds = clean_s[bias] + time.perf_counter() - started
                gap = misalignment_mm(prepared[MOVING], truth)
            rows.append({"step": name, "s": seconds, "misalignment mm": gap, **compared(prepared)})
        for session, scan in next(iter(cleaned.values())).items():
            own = truth[session]
            both = own.brain & scan.brain
            dice = 2 * both.sum() / (own.brain.sum() + scan.brain.sum())
            fields = np.corrcoef(scan.bias[both], own.bias[both])[0, 1]
            found.append({"session": session, "mask Dice": dice, "bias correlation": fields})
    print(f"SIMULATED raw scans of {len(cohort.subjects)} subjects, {options.spacing:g} mm")
    print(tabulate(_means(found, "session"), "keys", "github", floatfmt=".3f", showindex=False))
    print()
    print(tabulate(_means(rows, "step"), "keys", "github", floatfmt=".3f", showindex=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of the process: {peak:.0f} MiB")
    return 0


def _means(rows: list[dict[str, Any]], by: str) -> pd.DataFrame:
    return pd.DataFrame(rows).groupby(by, sort=False).mean().reset_index()


if __name__ == "__main__":
    raise SystemExit(main())
